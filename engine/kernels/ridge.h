// Small ridge regressions in closed form: normal equations and their Cholesky factor, compiled for every SIMD
// target and dispatched at run time (Highway).
//
//   std::fill_n(gram, dim * stride, 0.0f);
//   AddGram(rows, num_rows, dim, stride, gram);
//   for (size_t j = 0; j < dim; ++j) gram[j * stride + j] += ridge;
//   SolveCholesky(gram, dim, stride, x);               // x: right-hand side in, solution out
//
// Convention as in dot.h: row-major, x[i * stride + j]; the order of additions differs between targets.
// Thread-safe.
#ifndef SWIFTLET_ENGINE_KERNELS_RIDGE_H_
#define SWIFTLET_ENGINE_KERNELS_RIDGE_H_

#include <cstddef>

namespace swiftlet {

// gram += sum_i rows[i] rows[i]^T. Numbers of `gram` above the diagonal are left undefined.
// rows: [num_rows, dim], gram: [dim, dim], both with row stride `stride`, which is RowStride(dim); the
// padding of rows holds zeros (or any finite numbers). They must not overlap.
void AddGram(const float* rows, size_t num_rows, size_t dim, size_t stride, float* gram);

// Solves matrix * x = b for a symmetric, positive definite matrix, of which only the lower triangle is read;
// it is overwritten. A pivot that rounding has eaten (below 1e-7 of its diagonal element, or not positive)
// counts as that small, so that nothing is divided by zero.
// matrix: [dim, dim] with row stride `stride` >= dim. x: [dim], b in, x out.
void SolveCholesky(float* matrix, size_t dim, size_t stride, float* x);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_RIDGE_H_
