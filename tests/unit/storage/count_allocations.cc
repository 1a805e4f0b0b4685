#include "count_allocations.h"

#include <cstdlib>
#include <new>

namespace {
thread_local uint64_t num_allocations = 0;
}

void* operator new(size_t bytes) {
  ++num_allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*bytes*/) noexcept { std::free(memory); }

namespace swiftlet::storage_testing {

uint64_t NumAllocations() { return num_allocations; }

}  // namespace swiftlet::storage_testing
