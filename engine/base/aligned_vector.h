// A std::vector whose data is aligned to 64 bytes: a cache line, and the widest SIMD register.
#ifndef SWIFTLET_ENGINE_BASE_ALIGNED_VECTOR_H_
#define SWIFTLET_ENGINE_BASE_ALIGNED_VECTOR_H_

#include <cstddef>
#include <new>
#include <vector>

namespace swiftlet {

inline constexpr size_t kRowAlignment = 64;

template <typename T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>&) {}  // NOLINT(google-explicit-constructor)
  T* allocate(size_t n) {
    return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(kRowAlignment)));
  }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(kRowAlignment)); }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) { return true; }
};

template <typename T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

// Floats from one row to the next, so that every row of `dim` floats starts on a 64-byte boundary.
inline constexpr size_t RowStride(size_t dim) { return (dim + 15) / 16 * 16; }

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_BASE_ALIGNED_VECTOR_H_
