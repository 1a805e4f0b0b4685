#include "server/allocator_stats.h"

#include <cstddef>

// jemalloc's; missing in processes that were linked without it. Not declared by its header, which would want
// it.
extern "C" __attribute__((weak)) int mallctl(const char* name, void* old_value, size_t* old_length,
                                             void* new_value, size_t new_length);

namespace swiftlet {
namespace {

bool Read(const char* name, uint64_t* value) {
  size_t bytes = 0, length = sizeof(bytes);
  if (mallctl(name, &bytes, &length, nullptr, 0) != 0) return false;
  *value = bytes;
  return true;
}

}  // namespace

std::optional<AllocatorStats> ReadAllocatorStats() {
  if (mallctl == nullptr) return std::nullopt;
  // Numbers are of the moment when the epoch was last advanced.
  uint64_t epoch = 1;
  if (mallctl("epoch", nullptr, nullptr, &epoch, sizeof(epoch)) != 0) return std::nullopt;
  AllocatorStats stats;
  if (!Read("stats.allocated", &stats.allocated) || !Read("stats.active", &stats.active) ||
      !Read("stats.resident", &stats.resident)) {
    return std::nullopt;
  }
  return stats;
}

}  // namespace swiftlet
