// Dot products over float32 and bf16 rows, compiled for every SIMD target and dispatched at run time
// (Highway).
//
// Convention of all kernels: matrices are row-major, x[i * stride + j], stride in floats and >= dim. Any dim
// >= 1 is right; rows that start on 64-byte boundaries are fastest. The order of additions differs between
// targets, so results agree to about dim * 2^-24 relative to sum(|a_j * b_j|), not to the last bit. On one
// target, though, all functions here add in the same order: a row has the same score, to the last bit,
// whichever of them computed it, and wherever it stands in a block. A row of bf16 has the score of its values
// widened to float32, to the last bit. All functions are thread-safe.
#ifndef SWIFTLET_ENGINE_KERNELS_DOT_H_
#define SWIFTLET_ENGINE_KERNELS_DOT_H_

#include <cstddef>
#include <cstdint>

#include "engine/base/bf16.h"

namespace swiftlet {

// <a, b>. a, b: [dim].
float Dot(const float* a, const float* b, size_t dim);
float Dot(const float* a, const Bf16* b, size_t dim);

// scores[i] = <query, items[i]>, i in [0, num_items).
// query: [dim]. items: [num_items, dim] with row stride `stride`. scores: [num_items], must not overlap the
// inputs.
void DotRows(const float* query, const float* items, size_t num_items, size_t dim, size_t stride,
             float* scores);
void DotRows(const float* query, const Bf16* items, size_t num_items, size_t dim, size_t stride,
             float* scores);

// scores[i] = <query, items[rows[i]]>, i in [0, num_rows): for scattered rows; prefetches ahead.
// rows: [num_rows]. scores: [num_rows].
void DotGather(const float* query, const float* items, const uint32_t* rows, size_t num_rows, size_t dim,
               size_t stride, float* scores);
void DotGather(const float* query, const Bf16* items, const uint32_t* rows, size_t num_rows, size_t dim,
               size_t stride, float* scores);

// scores[i] = <query, rows[i]>, i in [0, num_rows). rows: [num_rows] pointers to [dim] each.
void DotPointers(const float* query, const float* const* rows, size_t num_rows, size_t dim, float* scores);

// scores[i] = scale[i] * scores[i] + bias[i], i in [0, n). scale, bias: [n] each, or null: 1 and 0.
void ScaleAndShift(const float* scale, const float* bias, size_t n, float* scores);

// y += alpha * x. x, y: [dim], must not overlap partially.
void AddScaled(float alpha, const float* x, size_t dim, float* y);

// out[i] = x[i], i in [0, n).
void Widen(const Bf16* x, size_t n, float* out);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_DOT_H_
