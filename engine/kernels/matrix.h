// Small dense layers over rows of float32: matrix products and the element-wise steps of a transformer,
// compiled for every SIMD target and dispatched at run time (Highway). Conventions are those of dot.h;
// results agree to about (number of terms) * 2^-24 relative to the sum of the terms' absolute values between
// targets. All functions are thread-safe and allocate nothing.
#ifndef SWIFTLET_ENGINE_KERNELS_MATRIX_H_
#define SWIFTLET_ENGINE_KERNELS_MATRIX_H_

#include <cstddef>

namespace swiftlet {

// y[r, j] = bias[j] + sum_k x[r, k] * w[k, j], r in [0, rows), j in [0, out), k in [0, in).
// x: rows of x_stride floats, w: rows of w_stride floats (the transpose of a layer's [out, in] matrix), y:
// rows of y_stride floats, must not overlap the inputs. bias: [out], or null: 0. Any size may be 0.
void MatrixProduct(const float* x, size_t rows, size_t in, size_t x_stride, const float* w, size_t out,
                   size_t w_stride, const float* bias, float* y, size_t y_stride);

// y = (x - mean) / sqrt(variance + epsilon) * weight + bias over each row (Ba et al. 2016, "Layer
// normalization", eq. 4). x, y: [rows, dim]; weight, bias: [dim]. y may be x.
void LayerNorm(const float* x, size_t rows, size_t dim, const float* weight, const float* bias, float epsilon,
               float* y);

// x[i] += sigmoid(gate[i]) * y[i], i in [0, n).
void AddGated(const float* gate, const float* y, size_t n, float* x);

// out[r, j] = silu(ab[r, j]) * ab[r, hidden + j]; ab: [rows, 2 * hidden], out: [rows, hidden].
// silu(a) = a * sigmoid(a).
void Swiglu(const float* ab, size_t rows, size_t hidden, float* out);

// Causal softmax of a block of scores: row r of x (rows of stride floats) becomes softmax(scale * x) over its
// first `first + r + 1` columns, and 0 in the others up to `columns`. Requires first + rows <= columns.
void CausalSoftmax(float scale, size_t first, size_t rows, size_t columns, size_t stride, float* x);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_MATRIX_H_
