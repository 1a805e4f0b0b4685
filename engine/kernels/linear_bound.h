// Selection of those out of many upper bounds that reach a threshold.
#ifndef SWIFTLET_ENGINE_KERNELS_LINEAR_BOUND_H_
#define SWIFTLET_ENGINE_KERNELS_LINEAR_BOUND_H_

#include <cstddef>
#include <cstdint>

namespace swiftlet {

// Appends first + i for every a[i] * x + b[i] * y + (c == null ? 0 : c[i]) >= threshold, in order of i, and
// returns how many. a, b, c: [n]. out: room for n. Bounds that are NaN are taken. Thread-safe.
size_t CollectBounds(const float* a, const float* b, const float* c, size_t n, float x, float y,
                     float threshold, uint32_t first, uint32_t* out);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_LINEAR_BOUND_H_
