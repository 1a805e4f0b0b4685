// Softmax over a short vector.
#ifndef SWIFTLET_ENGINE_KERNELS_SOFTMAX_H_
#define SWIFTLET_ENGINE_KERNELS_SOFTMAX_H_

#include <cstddef>

namespace swiftlet {

// x[i] = exp(x[i] - max x) / sum_j exp(x[j] - max x), in place. x: [n], n >= 1, finite.
// The results are >= 0 and add up to 1 within n * 2^-23. Thread-safe.
void Softmax(float* x, size_t n);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_SOFTMAX_H_
