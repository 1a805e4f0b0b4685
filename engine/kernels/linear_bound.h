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

// Of n directions (unit vectors), and for each an upper end a of lengths along it, b of lengths across it,
// and c of something that is added.
struct DirectionBoxes {
  const float* a = nullptr;  // [n], >= 0
  const float* b = nullptr;  // [n], >= 0
  const float* c = nullptr;  // [n], or null: 0
};
// A query's length, and what its products with directions may be off by.
struct DirectionQuery {
  float square = 0;        // of its length
  float slack_square = 0;  // of the square across
  float slack_length = 0;  // of both lengths
  float scale = 1;         // of the length across: 1 for bounds that hold
};
// For each i, with x = along[i] = <query, direction i>:
//   across[i] = scale (sqrt(max(square - x^2, 0) + slack_square) + slack_length)
//   bounds[i] = a[i] (max(x, 0) + slack_length) + b[i] across[i] + c[i]
//   expected[i] = a[i] x + c[i]
// Thread-safe.
void BoundDirections(const DirectionBoxes& boxes, const DirectionQuery& query, const float* along, size_t n,
                     float* across, float* bounds, float* expected);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_LINEAR_BOUND_H_
