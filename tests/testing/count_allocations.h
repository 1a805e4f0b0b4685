// Counts what a binary allocates: every operator new of it. To be included by one source of a binary of its
// own.
//
//   const size_t before = testing::NumAllocations();
//   ...
//   EXPECT_EQ(testing::NumAllocations(), before);
#ifndef SWIFTLET_TESTS_TESTING_COUNT_ALLOCATIONS_H_
#define SWIFTLET_TESTS_TESTING_COUNT_ALLOCATIONS_H_

#include <cstddef>
#include <cstdlib>
#include <new>

// GCC sees through one half of the pairs below where it inlines them, and takes free for a mistake.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace swiftlet::testing::internal {

inline thread_local size_t num_allocations = 0;

inline void* Allocate(size_t size, size_t alignment) {
  ++num_allocations;
  void* p = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (p == nullptr) std::abort();
  return p;
}

}  // namespace swiftlet::testing::internal

namespace swiftlet::testing {

// Of this thread so far.
inline size_t NumAllocations() { return internal::num_allocations; }

}  // namespace swiftlet::testing

void* operator new(size_t size) {
  return swiftlet::testing::internal::Allocate(size, alignof(std::max_align_t));
}
void* operator new[](size_t size) {
  return swiftlet::testing::internal::Allocate(size, alignof(std::max_align_t));
}
void* operator new(size_t size, std::align_val_t a) {
  return swiftlet::testing::internal::Allocate(size, static_cast<size_t>(a));
}
void* operator new[](size_t size, std::align_val_t a) {
  return swiftlet::testing::internal::Allocate(size, static_cast<size_t>(a));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return swiftlet::testing::internal::Allocate(size, alignof(std::max_align_t));
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return swiftlet::testing::internal::Allocate(size, alignof(std::max_align_t));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { std::free(p); }

#endif  // SWIFTLET_TESTS_TESTING_COUNT_ALLOCATIONS_H_
