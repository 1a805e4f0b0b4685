#include "engine/kernels/matrix.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/matrix.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "engine/kernels/float_lanes-inl.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
// kRows rows times two vectors of columns, all sums in registers.
template <size_t kRows>
HWY_INLINE void ProductTile(const float* HWY_RESTRICT x, size_t in, size_t x_stride,
                            const float* HWY_RESTRICT w, size_t w_stride, const float* bias,
                            float* HWY_RESTRICT y, size_t y_stride) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  VF left[kRows], right[kRows];
  const VF bias_left = bias != nullptr ? hn::LoadU(d, bias) : hn::Zero(d);
  const VF bias_right = bias != nullptr ? hn::LoadU(d, bias + lanes) : hn::Zero(d);
  for (size_t r = 0; r < kRows; ++r) {
    left[r] = bias_left;
    right[r] = bias_right;
  }
  for (size_t k = 0; k < in; ++k) {
    const VF w_left = hn::LoadU(d, w + k * w_stride), w_right = hn::LoadU(d, w + k * w_stride + lanes);
    for (size_t r = 0; r < kRows; ++r) {
      const VF value = hn::Set(d, x[r * x_stride + k]);
      left[r] = hn::MulAdd(value, w_left, left[r]);
      right[r] = hn::MulAdd(value, w_right, right[r]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    hn::StoreU(left[r], d, y + r * y_stride);
    hn::StoreU(right[r], d, y + r * y_stride + lanes);
  }
}

void MatrixProductImpl(const float* x, size_t rows, size_t in, size_t x_stride, const float* w, size_t out,
                       size_t w_stride, const float* bias, float* y, size_t y_stride) {
  const F d;
  // Sums of a tile and the two vectors of w fit the registers of every target with 16 or more.
  constexpr size_t kRows = 6;
  const size_t step = 2 * hn::Lanes(d);
  size_t j = 0;
  for (; j + step <= out; j += step) {
    const float* const b = bias != nullptr ? bias + j : nullptr;
    size_t r = 0;
    for (; r + kRows <= rows; r += kRows) {
      ProductTile<kRows>(x + r * x_stride, in, x_stride, w + j, w_stride, b, y + r * y_stride + j, y_stride);
    }
    for (; r + 2 <= rows; r += 2) {
      ProductTile<2>(x + r * x_stride, in, x_stride, w + j, w_stride, b, y + r * y_stride + j, y_stride);
    }
    if (r < rows) {
      ProductTile<1>(x + r * x_stride, in, x_stride, w + j, w_stride, b, y + r * y_stride + j, y_stride);
    }
  }
  for (size_t r = 0; r < rows && j < out; ++r) {
    for (size_t c = j; c < out; ++c) {
      float sum = bias != nullptr ? bias[c] : 0.0f;
      for (size_t k = 0; k < in; ++k) sum += x[r * x_stride + k] * w[k * w_stride + c];
      y[r * y_stride + c] = sum;
    }
  }
}

void LayerNormImpl(const float* x, size_t rows, size_t dim, const float* weight, const float* bias,
                   float epsilon, float* y) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = dim / lanes * lanes;
  const float inverse_dim = 1.0f / static_cast<float>(dim);
  for (size_t r = 0; r < rows; ++r, x += dim, y += dim) {
    VF sums = hn::Zero(d);
    for (size_t i = 0; i < whole; i += lanes) sums = hn::Add(sums, hn::LoadU(d, x + i));
    float sum = hn::GetLane(hn::SumOfLanes(d, sums));
    for (size_t i = whole; i < dim; ++i) sum += x[i];
    const float mean = sum * inverse_dim;
    const VF means = hn::Set(d, mean);
    VF squares = hn::Zero(d);
    for (size_t i = 0; i < whole; i += lanes) {
      const VF centred = hn::Sub(hn::LoadU(d, x + i), means);
      squares = hn::MulAdd(centred, centred, squares);
    }
    float square = hn::GetLane(hn::SumOfLanes(d, squares));
    for (size_t i = whole; i < dim; ++i) square += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / std::sqrt(square * inverse_dim + epsilon);
    const VF scales = hn::Set(d, scale);
    for (size_t i = 0; i < whole; i += lanes) {
      const VF normed = hn::Mul(hn::Sub(hn::LoadU(d, x + i), means), scales);
      hn::StoreU(hn::MulAdd(normed, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
    }
    for (size_t i = whole; i < dim; ++i) y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
  }
}

void AddGatedImpl(const float* gate, const float* y, size_t n, float* x) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    const VF s = Sigmoid(d, LoadSome(d, gate + i, count));
    StoreSome(hn::MulAdd(s, LoadSome(d, y + i, count), LoadSome(d, x + i, count)), d, x + i, count);
  }
}

void SwigluImpl(const float* ab, size_t rows, size_t hidden, float* out) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  for (size_t r = 0; r < rows; ++r, ab += 2 * hidden, out += hidden) {
    for (size_t j = 0; j < hidden; j += lanes) {
      const size_t count = std::min(lanes, hidden - j);
      const VF a = LoadSome(d, ab + j, count);
      StoreSome(hn::Mul(hn::Mul(a, Sigmoid(d, a)), LoadSome(d, ab + hidden + j, count)), d, out + j, count);
    }
  }
}

void CausalSoftmaxImpl(float scale, size_t first, size_t rows, size_t columns, size_t stride, float* x) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const VF scales = hn::Set(d, scale);
  for (size_t r = 0; r < rows; ++r, x += stride) {
    const size_t n = first + r + 1;
    const size_t whole = n / lanes * lanes;
    VF tops = hn::Set(d, scale * x[0]);
    for (size_t i = 0; i < whole; i += lanes) tops = hn::Max(tops, hn::Mul(scales, hn::LoadU(d, x + i)));
    float top = hn::GetLane(hn::MaxOfLanes(d, tops));
    for (size_t i = whole; i < n; ++i) top = std::max(top, scale * x[i]);
    const VF vtop = hn::Set(d, top);
    VF sums = hn::Zero(d);
    float sum = 0;
    for (size_t i = 0; i < n; i += lanes) {
      const size_t count = std::min(lanes, n - i);
      const VF e = hn::Exp(d, hn::MulSub(scales, LoadSome(d, x + i, count), vtop));
      StoreSome(e, d, x + i, count);
      if (count == lanes) {
        sums = hn::Add(sums, e);
      } else {
        for (size_t c = i; c < n; ++c) sum += x[c];
      }
    }
    sum += hn::GetLane(hn::SumOfLanes(d, sums));
    const float inverse = 1.0f / sum;  // sum is about 1 or more: the largest term is about exp(0)
    const VF inverses = hn::Set(d, inverse);
    for (size_t i = 0; i < whole; i += lanes) hn::StoreU(hn::Mul(inverses, hn::LoadU(d, x + i)), d, x + i);
    for (size_t i = whole; i < n; ++i) x[i] *= inverse;
    std::fill(x + n, x + columns, 0.0f);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {

HWY_EXPORT(MatrixProductImpl);
HWY_EXPORT(LayerNormImpl);
HWY_EXPORT(AddGatedImpl);
HWY_EXPORT(SwigluImpl);
HWY_EXPORT(CausalSoftmaxImpl);

void MatrixProduct(const float* x, size_t rows, size_t in, size_t x_stride, const float* w, size_t out,
                   size_t w_stride, const float* bias, float* y, size_t y_stride) {
  HWY_DYNAMIC_DISPATCH(MatrixProductImpl)(x, rows, in, x_stride, w, out, w_stride, bias, y, y_stride);
}
void LayerNorm(const float* x, size_t rows, size_t dim, const float* weight, const float* bias, float epsilon,
               float* y) {
  HWY_DYNAMIC_DISPATCH(LayerNormImpl)(x, rows, dim, weight, bias, epsilon, y);
}
void AddGated(const float* gate, const float* y, size_t n, float* x) {
  HWY_DYNAMIC_DISPATCH(AddGatedImpl)(gate, y, n, x);
}
void Swiglu(const float* ab, size_t rows, size_t hidden, float* out) {
  HWY_DYNAMIC_DISPATCH(SwigluImpl)(ab, rows, hidden, out);
}
void CausalSoftmax(float scale, size_t first, size_t rows, size_t columns, size_t stride, float* x) {
  HWY_DYNAMIC_DISPATCH(CausalSoftmaxImpl)(scale, first, rows, columns, stride, x);
}

}  // namespace swiftlet
#endif  // HWY_ONCE
