// Counts what operator new hands out in the whole test program.
#ifndef SWIFTLET_TESTS_UNIT_STORAGE_COUNT_ALLOCATIONS_H_
#define SWIFTLET_TESTS_UNIT_STORAGE_COUNT_ALLOCATIONS_H_

#include <cstdint>

namespace swiftlet::storage_testing {

// So far, on the calling thread.
uint64_t NumAllocations();

}  // namespace swiftlet::storage_testing

#endif  // SWIFTLET_TESTS_UNIT_STORAGE_COUNT_ALLOCATIONS_H_
