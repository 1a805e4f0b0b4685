#include "engine/base/memory_limit.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace swiftlet {

std::optional<uint64_t> CgroupMemoryLimit(const std::string& root) {
  std::optional<uint64_t> least;
  for (const char* const name : {"/memory.max", "/memory/memory.limit_in_bytes"}) {
    uint64_t limit = 0;
    if (std::ifstream file(root + name); file >> limit && limit > 0) {  // "max" is no number
      least = std::min(least.value_or(limit), limit);
    }
  }
  return least;
}

uint64_t MemoryLimit() {
  const uint64_t machine =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return std::min(machine, CgroupMemoryLimit().value_or(machine));
}

}  // namespace swiftlet
