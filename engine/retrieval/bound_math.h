// What the builder, the checks and the search of a bound index compute alike. Private to this folder.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_BOUND_MATH_H_
#define SWIFTLET_ENGINE_RETRIEVAL_BOUND_MATH_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "engine/retrieval/bound_index.h"

namespace swiftlet {

// Sum of squares of x[begin, end), in double.
inline double SumSquares(const float* x, size_t begin, size_t end) {
  double s0 = 0, s1 = 0;
  size_t i = begin;
  for (; i + 2 <= end; i += 2) {
    s0 += double{x[i]} * double{x[i]};
    s1 += double{x[i + 1]} * double{x[i + 1]};
  }
  if (i < end) s0 += double{x[i]} * double{x[i]};
  return s0 + s1;
}

inline double DotDouble(const float* x, const float* y, size_t begin, size_t end) {
  double s0 = 0, s1 = 0;
  size_t i = begin;
  for (; i + 2 <= end; i += 2) {
    s0 += double{x[i]} * double{y[i]};
    s1 += double{x[i + 1]} * double{y[i + 1]};
  }
  if (i < end) s0 += double{x[i]} * double{y[i]};
  return s0 + s1;
}

// 1 / |c_t| for the tail c[begin, dim) of a cluster's direction, or 0 where that is too short to give a
// direction.
inline float InverseTailNorm(const float* centre, size_t begin, size_t dim) {
  if (begin >= dim) return 0;
  const double norm = std::sqrt(SumSquares(centre, begin, dim));
  return norm < 0.01 ? 0.0f : static_cast<float>(1 / norm);
}

// A row's place relative to its cluster's direction.
struct AlongAcross {
  float along = 0, across = 0;
};
// x: rotated vector, [dim]. Of the coordinates [begin, dim), with the direction centre * scale.
inline AlongAcross Decompose(const float* x, const float* centre, double scale, size_t begin, size_t dim) {
  const double along = DotDouble(x, centre, begin, dim) * scale;
  double rest0 = 0, rest1 = 0;
  size_t i = begin;
  for (; i + 2 <= dim; i += 2) {
    const double r0 = double{x[i]} - along * scale * double{centre[i]};
    const double r1 = double{x[i + 1]} - along * scale * double{centre[i + 1]};
    rest0 += r0 * r0;
    rest1 += r1 * r1;
  }
  if (i < dim) {
    const double r = double{x[i]} - along * scale * double{centre[i]};
    rest0 += r * r;
  }
  return {static_cast<float>(along), static_cast<float>(std::sqrt(rest0 + rest1))};
}

// Position of a coordinate of row `slot` of a group in the coarse codes.
inline size_t CoarsePosition(size_t group, size_t slot, size_t coordinate) {
  return ((group * kCoarseQuads + coordinate / 4) * kGroupRows + slot) * 4 + coordinate % 4;
}
// Where the fine code of a row begins.
inline size_t FinePosition(size_t group, size_t slot, size_t dim) {
  return (group * kGroupRows + slot) * FineBytes(dim);
}

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_BOUND_MATH_H_
