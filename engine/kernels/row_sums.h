// Sums over one row of an index, in double: what its bounds are checked with.
#ifndef SWIFTLET_ENGINE_KERNELS_ROW_SUMS_H_
#define SWIFTLET_ENGINE_KERNELS_ROW_SUMS_H_

#include <cstddef>
#include <cstdint>

namespace swiftlet {

struct RowSums {
  double square = 0;          // sum of vector[j]^2
  double rotated_square = 0;  // sum of rotated[j]^2
  double along = 0;           // sum of rotated[j] * direction[j]
  double lost = 0;            // sum of (rotated[j] - scale * (codes[j] - 128))^2
};

// vector, rotated, direction: [dim]; codes: [dim]. Each sum agrees with one in order to about dim * 2^-53 of
// the sum of its terms' absolute values. Thread-safe.
RowSums SumRow(const float* vector, const float* rotated, const float* direction, const uint8_t* codes,
               float scale, size_t dim);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_ROW_SUMS_H_
