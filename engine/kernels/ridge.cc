#include "engine/kernels/ridge.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/ridge.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// <a, b> over n numbers.
HWY_INLINE float DotOf(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, size_t n) {
  size_t i = 0;
  float sum = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 8> d;
  const size_t lanes = hn::Lanes(d);
  if (n >= lanes) {
    auto sums = hn::Zero(d);
    for (; i + lanes <= n; i += lanes) sums = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sums);
    sum = hn::GetLane(hn::SumOfLanes(d, sums));
  }
#endif
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void AddGramImpl(const float* HWY_RESTRICT rows, size_t num_rows, size_t dim, size_t stride,
                 float* HWY_RESTRICT gram) {
  // A tag of at most 16 numbers: whole vectors fit the padded rows.
  const hn::CappedTag<float, 16> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  // Four rows at a time: an element of gram is read and written once for the four.
  for (; i + 4 <= num_rows; i += 4) {
    const float* const x0 = rows + i * stride;
    const float *const x1 = x0 + stride, *const x2 = x1 + stride, *const x3 = x2 + stride;
    for (size_t r = 0; r < dim; ++r) {
      const auto a0 = hn::Set(d, x0[r]), a1 = hn::Set(d, x1[r]), a2 = hn::Set(d, x2[r]),
                 a3 = hn::Set(d, x3[r]);
      float* const out = gram + r * stride;
      for (size_t c = 0; c <= r; c += lanes) {
        auto even = hn::MulAdd(a0, hn::LoadU(d, x0 + c), hn::LoadU(d, out + c));
        auto odd = hn::Mul(a1, hn::LoadU(d, x1 + c));
        even = hn::MulAdd(a2, hn::LoadU(d, x2 + c), even);
        odd = hn::MulAdd(a3, hn::LoadU(d, x3 + c), odd);
        hn::StoreU(hn::Add(even, odd), d, out + c);
      }
    }
  }
  for (; i < num_rows; ++i) {
    const float* const x = rows + i * stride;
    for (size_t r = 0; r < dim; ++r) {
      const auto a = hn::Set(d, x[r]);
      float* const out = gram + r * stride;
      for (size_t c = 0; c <= r; c += lanes) {
        hn::StoreU(hn::MulAdd(a, hn::LoadU(d, x + c), hn::LoadU(d, out + c)), d, out + c);
      }
    }
  }
}

void SolveCholeskyImpl(float* HWY_RESTRICT matrix, size_t dim, size_t stride, float* HWY_RESTRICT x) {
  constexpr float kLeastPivot = 1e-7f, kLeastNumber = 1e-30f;
  // Rows of L over the lower triangle, the diagonal as its inverse.
  for (size_t r = 0; r < dim; ++r) {
    float* const row = matrix + r * stride;
    const float diagonal = row[r];
    for (size_t c = 0; c < r; ++c) {
      const float* const other = matrix + c * stride;
      row[c] = (row[c] - DotOf(row, other, c)) * other[c];
    }
    const float pivot = diagonal - DotOf(row, row, r);
    row[r] = 1.0f / std::sqrt(std::max({pivot, kLeastPivot * diagonal, kLeastNumber}));
    x[r] = (x[r] - DotOf(row, x, r)) * row[r];  // L y = b on the way
  }
  for (size_t r = dim; r-- > 0;) {  // L^T x = y
    const float* const row = matrix + r * stride;
    x[r] *= row[r];
    for (size_t c = 0; c < r; ++c) x[c] -= row[c] * x[r];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {

HWY_EXPORT(AddGramImpl);
HWY_EXPORT(SolveCholeskyImpl);

void AddGram(const float* rows, size_t num_rows, size_t dim, size_t stride, float* gram) {
  HWY_DYNAMIC_DISPATCH(AddGramImpl)(rows, num_rows, dim, stride, gram);
}

void SolveCholesky(float* matrix, size_t dim, size_t stride, float* x) {
  HWY_DYNAMIC_DISPATCH(SolveCholeskyImpl)(matrix, dim, stride, x);
}

}  // namespace swiftlet
#endif  // HWY_ONCE
