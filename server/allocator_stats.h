// What the allocator says about the heap: to tell what is used from what it keeps for later.
#ifndef SWIFTLET_SERVER_ALLOCATOR_STATS_H_
#define SWIFTLET_SERVER_ALLOCATOR_STATS_H_

#include <cstdint>
#include <optional>

namespace swiftlet {

// Bytes; jemalloc(3), "stats.*".
struct AllocatorStats {
  uint64_t allocated = 0;  // handed out and not yet freed
  uint64_t active = 0;     // of pages that hold any of it
  uint64_t resident = 0;   // with the allocator's own data and freed pages that were not given back yet
};

// Nothing where the process does not run on jemalloc (sanitizers bring their own allocator). Costs some
// microseconds.
std::optional<AllocatorStats> ReadAllocatorStats();

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_ALLOCATOR_STATS_H_
