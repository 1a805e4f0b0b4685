#include "engine/kernels/top_k.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/top_k.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR

// Appends the lanes of `scores` where mask is true, with their rows. Writes whole vectors: 2 * Lanes(d) words
// behind `out`, never more than what the lanes read so far had room for.
template <class D, class M>
HWY_INLINE size_t AppendCompressed(D d, hn::Vec<D> scores, M mask, uint32_t row,
                                   ScoredRow* HWY_RESTRICT out) {
  const hn::RebindToUnsigned<D> du;
  const auto rows = hn::Iota(du, row);
  const auto mask_u = hn::RebindMask(du, mask);
  hn::StoreInterleaved2(hn::Compress(rows, mask_u), hn::BitCast(du, hn::Compress(scores, mask)), du,
                        &out->row);
  return hn::CountTrue(d, mask);
}

#endif

size_t CollectImpl(const float* scores, size_t n, float threshold, uint32_t first_row,
                   ScoredRow* HWY_RESTRICT out) {
  size_t count = 0;
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto t = hn::Set(d, threshold);
  // Four vectors at a time, because mostly none of them has a hit.
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    const auto s0 = hn::LoadU(d, scores + i);
    const auto s1 = hn::LoadU(d, scores + i + lanes);
    const auto s2 = hn::LoadU(d, scores + i + 2 * lanes);
    const auto s3 = hn::LoadU(d, scores + i + 3 * lanes);
    const auto m0 = hn::Ge(s0, t), m1 = hn::Ge(s1, t), m2 = hn::Ge(s2, t), m3 = hn::Ge(s3, t);
    if (hn::AllFalse(d, hn::Or(hn::Or(m0, m1), hn::Or(m2, m3)))) continue;
    const auto row = static_cast<uint32_t>(first_row + i);
    const auto step = static_cast<uint32_t>(lanes);
    if (!hn::AllFalse(d, m0)) count += AppendCompressed(d, s0, m0, row, out + count);
    if (!hn::AllFalse(d, m1)) count += AppendCompressed(d, s1, m1, row + step, out + count);
    if (!hn::AllFalse(d, m2)) count += AppendCompressed(d, s2, m2, row + 2 * step, out + count);
    if (!hn::AllFalse(d, m3)) count += AppendCompressed(d, s3, m3, row + 3 * step, out + count);
  }
#endif
  for (; i < n; ++i) {
    if (scores[i] >= threshold) out[count++] = {static_cast<uint32_t>(first_row + i), scores[i]};
  }
  return count;
}

float LargestImpl(const float* scores, size_t n) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  float largest = -std::numeric_limits<float>::infinity();
  auto largest0 = hn::Set(d, largest), largest1 = largest0;
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    largest0 = hn::Max(largest0, hn::LoadU(d, scores + i));
    largest1 = hn::Max(largest1, hn::LoadU(d, scores + i + lanes));
  }
  for (; i < n; ++i) largest = std::max(largest, scores[i]);
  return std::max(largest, hn::GetLane(hn::MaxOfLanes(d, hn::Max(largest0, largest1))));
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {

HWY_EXPORT(CollectImpl);
HWY_EXPORT(LargestImpl);

static_assert(sizeof(ScoredRow) == 8 && offsetof(ScoredRow, score) == 4, "StoreInterleaved2 relies on this");

size_t CollectAtLeast(const float* scores, size_t n, float threshold, uint32_t first_row, ScoredRow* out) {
  return HWY_DYNAMIC_DISPATCH(CollectImpl)(scores, n, threshold, first_row, out);
}

float LargestOf(const float* scores, size_t n) { return HWY_DYNAMIC_DISPATCH(LargestImpl)(scores, n); }

namespace {

// A type of its own, so that algorithms inline the comparison.
struct Better {
  bool operator()(const ScoredRow& a, const ScoredRow& b) const { return IsBetter(a, b); }
};

}  // namespace

size_t PartitionTopK(ScoredRow* rows, size_t n, size_t k) {
  k = std::min(k, n);
  if (k > 0) std::nth_element(rows, rows + (k - 1), rows + n, Better{});
  return k;
}

size_t SelectTopK(ScoredRow* rows, size_t n, size_t k) {
  if (k < n) n = PartitionTopK(rows, n, k);
  std::sort(rows, rows + n, Better{});
  return n;
}

}  // namespace swiftlet
#endif  // HWY_ONCE
