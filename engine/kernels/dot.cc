#include "engine/kernels/dot.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/dot.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/cache_control.h"
#include "hwy/highway.h"

// Masked loads of floats that touch no memory behind the mask. (AVX2's vmaskmovps does not fault; Highway's
// macro says otherwise because of narrower types.)
#undef SWIFTLET_SAFE_MASKED_LOAD
#if HWY_TARGET != HWY_SCALAR && (HWY_TARGET == HWY_AVX2 || !HWY_MEM_OPS_MIGHT_FAULT)
#define SWIFTLET_SAFE_MASKED_LOAD 1
#else
#define SWIFTLET_SAFE_MASKED_LOAD 0
#endif

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE

// out[0..3] = the sums of the lanes of a, b, c, e.
template <class D, class V>
HWY_INLINE void StoreSums4(D d, V a, V b, V c, V e, float* HWY_RESTRICT out) {
  out[0] = hn::GetLane(hn::SumOfLanes(d, a));
  out[1] = hn::GetLane(hn::SumOfLanes(d, b));
  out[2] = hn::GetLane(hn::SumOfLanes(d, c));
  out[3] = hn::GetLane(hn::SumOfLanes(d, e));
}

#else

// Adds the 128-bit blocks of a vector.
template <class D, class V>
HWY_INLINE auto SumBlocks(D d, V v) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return SumBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// out[0..3] = the sums of the lanes of a, b, c, e: a 4x4 transposition inside each 128-bit block, which takes
// fewer shuffles than four separate sums.
template <class D, class V>
HWY_INLINE void StoreSums4(D d, V a, V b, V c, V e, float* HWY_RESTRICT out) {
  const hn::Repartition<double, D> d64;
  const V ab = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const V ce = hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  const auto ab64 = hn::BitCast(d64, ab);
  const auto ce64 = hn::BitCast(d64, ce);
  const V sums = hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, ab64, ce64)),
                         hn::BitCast(d, hn::InterleaveUpper(d64, ab64, ce64)));
  const hn::FixedTag<float, 4> d4;
  hn::StoreU(SumBlocks(d, sums), d4, out);
}

#endif

// A vector of a row's elements as floats.
template <class D>
HWY_INLINE hn::Vec<D> LoadRow(D d, const float* row) {
  return hn::LoadU(d, row);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadRow(D d, const Bf16* row) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::Rebind<uint32_t, D> d32;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(row));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}

#if SWIFTLET_SAFE_MASKED_LOAD
// The same of the first n elements, n < Lanes(d); zeros behind them.
template <class D>
HWY_INLINE hn::Vec<D> LoadRowEnd(D d, const float* row, size_t n) {
  return hn::MaskedLoad(hn::FirstN(d, n), d, row);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadRowEnd(D d, const Bf16* row, size_t n) {
#if HWY_MEM_OPS_MIGHT_FAULT
  Bf16 end[hn::MaxLanes(D())] = {};
  std::memcpy(end, row, n * sizeof(Bf16));
  return LoadRow(d, end);
#else
  const hn::Rebind<uint16_t, D> d16;
  const hn::Rebind<uint32_t, D> d32;
  const auto bits = hn::MaskedLoad(hn::FirstN(d16, n), d16, reinterpret_cast<const uint16_t*>(row));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
#endif
}
#endif

HWY_INLINE float Value(float x) { return x; }
HWY_INLINE float Value(Bf16 x) { return ToFloat(x); }

// out[j] = <q, rj>. Row: float or Bf16. Every row has two accumulators (even and odd vectors), so that eight
// independent chains hide the latency of the multiply-add. Dot1 adds in the same order.
template <class Row>
HWY_INLINE void Dot4(const float* HWY_RESTRICT q, const Row* HWY_RESTRICT r0, const Row* HWY_RESTRICT r1,
                     const Row* HWY_RESTRICT r2, const Row* HWY_RESTRICT r3, size_t dim,
                     float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto a0 = hn::Zero(d), a1 = hn::Zero(d), a2 = hn::Zero(d), a3 = hn::Zero(d);
  auto b0 = hn::Zero(d), b1 = hn::Zero(d), b2 = hn::Zero(d), b3 = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * lanes <= dim; i += 2 * lanes) {
    const auto qa = hn::LoadU(d, q + i);
    const auto qb = hn::LoadU(d, q + i + lanes);
    a0 = hn::MulAdd(qa, LoadRow(d, r0 + i), a0);
    a1 = hn::MulAdd(qa, LoadRow(d, r1 + i), a1);
    a2 = hn::MulAdd(qa, LoadRow(d, r2 + i), a2);
    a3 = hn::MulAdd(qa, LoadRow(d, r3 + i), a3);
    b0 = hn::MulAdd(qb, LoadRow(d, r0 + i + lanes), b0);
    b1 = hn::MulAdd(qb, LoadRow(d, r1 + i + lanes), b1);
    b2 = hn::MulAdd(qb, LoadRow(d, r2 + i + lanes), b2);
    b3 = hn::MulAdd(qb, LoadRow(d, r3 + i + lanes), b3);
  }
  if (i + lanes <= dim) {
    const auto qa = hn::LoadU(d, q + i);
    a0 = hn::MulAdd(qa, LoadRow(d, r0 + i), a0);
    a1 = hn::MulAdd(qa, LoadRow(d, r1 + i), a1);
    a2 = hn::MulAdd(qa, LoadRow(d, r2 + i), a2);
    a3 = hn::MulAdd(qa, LoadRow(d, r3 + i), a3);
    i += lanes;
  }
#if SWIFTLET_SAFE_MASKED_LOAD
  if (i < dim) {
    const auto qb = LoadRowEnd(d, q + i, dim - i);
    b0 = hn::MulAdd(qb, LoadRowEnd(d, r0 + i, dim - i), b0);
    b1 = hn::MulAdd(qb, LoadRowEnd(d, r1 + i, dim - i), b1);
    b2 = hn::MulAdd(qb, LoadRowEnd(d, r2 + i, dim - i), b2);
    b3 = hn::MulAdd(qb, LoadRowEnd(d, r3 + i, dim - i), b3);
    i = dim;
  }
#endif
  StoreSums4(d, hn::Add(a0, b0), hn::Add(a1, b1), hn::Add(a2, b2), hn::Add(a3, b3), out);
  for (; i < dim; ++i) {
    out[0] += q[i] * Value(r0[i]);
    out[1] += q[i] * Value(r1[i]);
    out[2] += q[i] * Value(r2[i]);
    out[3] += q[i] * Value(r3[i]);
  }
}

template <class Row>
HWY_INLINE float Dot1(const float* HWY_RESTRICT q, const Row* HWY_RESTRICT r, size_t dim) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d), b = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * lanes <= dim; i += 2 * lanes) {
    a = hn::MulAdd(hn::LoadU(d, q + i), LoadRow(d, r + i), a);
    b = hn::MulAdd(hn::LoadU(d, q + i + lanes), LoadRow(d, r + i + lanes), b);
  }
  if (i + lanes <= dim) {
    a = hn::MulAdd(hn::LoadU(d, q + i), LoadRow(d, r + i), a);
    i += lanes;
  }
#if SWIFTLET_SAFE_MASKED_LOAD
  if (i < dim) {
    b = hn::MulAdd(LoadRowEnd(d, q + i, dim - i), LoadRowEnd(d, r + i, dim - i), b);
    i = dim;
  }
#endif
  const auto sum = hn::Add(a, b);
  float out[4];
  StoreSums4(d, sum, sum, sum, sum, out);
  for (; i < dim; ++i) out[0] += q[i] * Value(r[i]);
  return out[0];
}

float DotImpl(const float* a, const float* b, size_t dim) { return Dot1(a, b, dim); }
float DotBf16Impl(const float* a, const Bf16* b, size_t dim) { return Dot1(a, b, dim); }

// row_of(i): pointer to row i; ahead(i): called before row i is read, to prefetch.
template <class RowOf, class Ahead>
HWY_INLINE void DotEach(const float* query, size_t num_rows, size_t dim, float* scores, const RowOf& row_of,
                        const Ahead& ahead) {
  size_t i = 0;
  for (; i + 4 <= num_rows; i += 4) {
    ahead(i);
    Dot4(query, row_of(i), row_of(i + 1), row_of(i + 2), row_of(i + 3), dim, scores + i);
  }
  for (; i < num_rows; ++i) scores[i] = Dot1(query, row_of(i), dim);
}

template <class Row>
HWY_INLINE void DotAllRows(const float* query, const Row* items, size_t num_items, size_t dim, size_t stride,
                           float* scores) {
  DotEach(
      query, num_items, dim, scores, [=](size_t i) { return items + i * stride; }, [](size_t) {});
}

void DotRowsImpl(const float* query, const float* items, size_t num_items, size_t dim, size_t stride,
                 float* scores) {
  DotAllRows(query, items, num_items, dim, stride, scores);
}

void DotRowsBf16Impl(const float* query, const Bf16* items, size_t num_items, size_t dim, size_t stride,
                     float* scores) {
  DotAllRows(query, items, num_items, dim, stride, scores);
}

template <class Row>
HWY_INLINE void DotSomeRows(const float* query, const Row* items, const uint32_t* rows, size_t num_rows,
                            size_t dim, size_t stride, float* scores) {
  constexpr size_t kAhead = 12;  // rows; some 3 KB of floats at dim 64, enough to cover a miss to DRAM
  DotEach(
      query, num_rows, dim, scores, [=](size_t i) { return items + size_t{rows[i]} * stride; },
      [=](size_t i) {
        const size_t end = std::min(i + kAhead + 4, num_rows);
        for (size_t j = i + kAhead; j < end; ++j) {
          const Row* row = items + size_t{rows[j]} * stride;
          for (size_t k = 0; k < dim; k += 64 / sizeof(Row)) hwy::Prefetch(row + k);
        }
      });
}

void DotGatherImpl(const float* query, const float* items, const uint32_t* rows, size_t num_rows, size_t dim,
                   size_t stride, float* scores) {
  DotSomeRows(query, items, rows, num_rows, dim, stride, scores);
}

void DotGatherBf16Impl(const float* query, const Bf16* items, const uint32_t* rows, size_t num_rows,
                       size_t dim, size_t stride, float* scores) {
  DotSomeRows(query, items, rows, num_rows, dim, stride, scores);
}

void DotPointersImpl(const float* query, const float* const* rows, size_t num_rows, size_t dim,
                     float* scores) {
  DotEach(
      query, num_rows, dim, scores, [=](size_t i) { return rows[i]; }, [](size_t) {});
}

template <class D, class V>
HWY_INLINE V ScaledAndShifted(D d, V x, const float* scale, const float* bias) {
  if (scale != nullptr && bias != nullptr) return hn::MulAdd(hn::LoadU(d, scale), x, hn::LoadU(d, bias));
  if (scale != nullptr) return hn::Mul(hn::LoadU(d, scale), x);
  if (bias != nullptr) return hn::Add(x, hn::LoadU(d, bias));
  return x;
}

void ScaleAndShiftImpl(const float* scale, const float* bias, size_t n, float* scores) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(ScaledAndShifted(d, hn::LoadU(d, scores + i), scale == nullptr ? nullptr : scale + i,
                                bias == nullptr ? nullptr : bias + i),
               d, scores + i);
  }
  if (i < n) {
    // The same operation for the rest, so that a row's score does not depend on its place in a block.
    constexpr size_t kMax = HWY_MAX_BYTES / sizeof(float);
    float x[kMax] = {}, s[kMax] = {}, b[kMax] = {};
    const size_t bytes = (n - i) * sizeof(float);
    std::memcpy(x, scores + i, bytes);
    if (scale != nullptr) std::memcpy(s, scale + i, bytes);
    if (bias != nullptr) std::memcpy(b, bias + i, bytes);
    hn::StoreU(
        ScaledAndShifted(d, hn::LoadU(d, x), scale == nullptr ? nullptr : s, bias == nullptr ? nullptr : b),
        d, x);
    std::memcpy(scores + i, x, bytes);
  }
}

void AddScaledImpl(float alpha, const float* x, size_t dim, float* y) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto va = hn::Set(d, alpha);
  size_t i = 0;
  for (; i + lanes <= dim; i += lanes) {
    hn::StoreU(hn::MulAdd(va, hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  }
  for (; i < dim; ++i) y[i] += alpha * x[i];
}

void WidenImpl(const Bf16* x, size_t n, float* out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(LoadRow(d, x + i), d, out + i);
  for (; i < n; ++i) out[i] = ToFloat(x[i]);
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {

HWY_EXPORT(DotImpl);
HWY_EXPORT(DotBf16Impl);
HWY_EXPORT(DotRowsImpl);
HWY_EXPORT(DotRowsBf16Impl);
HWY_EXPORT(DotGatherImpl);
HWY_EXPORT(DotGatherBf16Impl);
HWY_EXPORT(DotPointersImpl);
HWY_EXPORT(ScaleAndShiftImpl);
HWY_EXPORT(AddScaledImpl);
HWY_EXPORT(WidenImpl);

float Dot(const float* a, const float* b, size_t dim) { return HWY_DYNAMIC_DISPATCH(DotImpl)(a, b, dim); }

float Dot(const float* a, const Bf16* b, size_t dim) { return HWY_DYNAMIC_DISPATCH(DotBf16Impl)(a, b, dim); }

void DotRows(const float* query, const float* items, size_t num_items, size_t dim, size_t stride,
             float* scores) {
  HWY_DYNAMIC_DISPATCH(DotRowsImpl)(query, items, num_items, dim, stride, scores);
}

void DotRows(const float* query, const Bf16* items, size_t num_items, size_t dim, size_t stride,
             float* scores) {
  HWY_DYNAMIC_DISPATCH(DotRowsBf16Impl)(query, items, num_items, dim, stride, scores);
}

void DotGather(const float* query, const float* items, const uint32_t* rows, size_t num_rows, size_t dim,
               size_t stride, float* scores) {
  HWY_DYNAMIC_DISPATCH(DotGatherImpl)(query, items, rows, num_rows, dim, stride, scores);
}

void DotGather(const float* query, const Bf16* items, const uint32_t* rows, size_t num_rows, size_t dim,
               size_t stride, float* scores) {
  HWY_DYNAMIC_DISPATCH(DotGatherBf16Impl)(query, items, rows, num_rows, dim, stride, scores);
}

void DotPointers(const float* query, const float* const* rows, size_t num_rows, size_t dim, float* scores) {
  HWY_DYNAMIC_DISPATCH(DotPointersImpl)(query, rows, num_rows, dim, scores);
}

void ScaleAndShift(const float* scale, const float* bias, size_t n, float* scores) {
  if (scale == nullptr && bias == nullptr) return;
  HWY_DYNAMIC_DISPATCH(ScaleAndShiftImpl)(scale, bias, n, scores);
}

void AddScaled(float alpha, const float* x, size_t dim, float* y) {
  HWY_DYNAMIC_DISPATCH(AddScaledImpl)(alpha, x, dim, y);
}

void Widen(const Bf16* x, size_t n, float* out) { HWY_DYNAMIC_DISPATCH(WidenImpl)(x, n, out); }

}  // namespace swiftlet
#endif  // HWY_ONCE
