// How much memory this process can have.
#ifndef SWIFTLET_ENGINE_BASE_MEMORY_LIMIT_H_
#define SWIFTLET_ENGINE_BASE_MEMORY_LIMIT_H_

#include <cstdint>
#include <optional>
#include <string>

namespace swiftlet {

// Bytes that the control group allows: memory.max below `root` (version 2), or
// memory/memory.limit_in_bytes (version 1). Nothing where neither is a number above 0.
std::optional<uint64_t> CgroupMemoryLimit(const std::string& root = "/sys/fs/cgroup");

// The machine's memory or, where it is less, what the control group (a container's) allows, in bytes.
uint64_t MemoryLimit();

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_BASE_MEMORY_LIMIT_H_
