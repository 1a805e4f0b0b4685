#include "engine/kernels/linear_bound.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/linear_bound.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

size_t CollectBoundsImpl(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b,
                         const float* HWY_RESTRICT c, size_t n, float x, float y, float threshold,
                         uint32_t first, uint32_t* HWY_RESTRICT out) {
  size_t count = 0;
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const size_t lanes = hn::Lanes(d);
  const auto vx = hn::Set(d, x), vy = hn::Set(d, y), vt = hn::Set(d, threshold);
  for (; i + lanes <= n; i += lanes) {
    auto bound = hn::Mul(hn::LoadU(d, b + i), vy);
    if (c != nullptr) bound = hn::Add(bound, hn::LoadU(d, c + i));
    bound = hn::MulAdd(hn::LoadU(d, a + i), vx, bound);
    const auto mask = hn::Not(hn::Lt(bound, vt));
    if (hn::AllFalse(d, mask)) continue;
    // Writes whole vectors; there is room, because no more have been taken than were looked at.
    const auto ids = hn::Iota(du, static_cast<uint32_t>(first + i));
    count += hn::CompressStore(ids, hn::RebindMask(du, mask), du, out + count);
  }
#endif
  for (; i < n; ++i) {
    const float bound = a[i] * x + (b[i] * y + (c == nullptr ? 0.0f : c[i]));
    if (!(bound < threshold)) out[count++] = static_cast<uint32_t>(first + i);
  }
  return count;
}

void BoundDirectionsImpl(const DirectionBoxes& boxes, const DirectionQuery& query,
                         const float* HWY_RESTRICT along, size_t n, float* HWY_RESTRICT across,
                         float* HWY_RESTRICT bounds, float* HWY_RESTRICT expected) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto square = hn::Set(d, query.square), slack_square = hn::Set(d, query.slack_square),
             slack_length = hn::Set(d, query.slack_length), scale = hn::Set(d, query.scale),
             zero = hn::Zero(d);
  const auto step = [&](auto load, auto store, size_t i) {
    const auto a = load(boxes.a + i), b = load(boxes.b + i), x = load(along + i);
    const auto c = boxes.c == nullptr ? zero : load(boxes.c + i);
    const auto rest = hn::Add(hn::Max(hn::NegMulAdd(x, x, square), zero), slack_square);
    const auto y = hn::Mul(scale, hn::Add(hn::Sqrt(rest), slack_length));
    store(y, across + i);
    store(hn::Add(hn::MulAdd(b, y, hn::Mul(a, hn::Add(hn::Max(x, zero), slack_length))), c), bounds + i);
    store(hn::MulAdd(a, x, c), expected + i);
  };
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    step([&](const float* p) { return hn::LoadU(d, p); }, [&](auto v, float* p) { hn::StoreU(v, d, p); }, i);
  }
  for (; i < n; ++i) {  // one lane each
    step([&](const float* p) { return hn::Set(d, *p); }, [&](auto v, float* p) { *p = hn::GetLane(v); }, i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {

HWY_EXPORT(CollectBoundsImpl);
HWY_EXPORT(BoundDirectionsImpl);

size_t CollectBounds(const float* a, const float* b, const float* c, size_t n, float x, float y,
                     float threshold, uint32_t first, uint32_t* out) {
  return HWY_DYNAMIC_DISPATCH(CollectBoundsImpl)(a, b, c, n, x, y, threshold, first, out);
}

void BoundDirections(const DirectionBoxes& boxes, const DirectionQuery& query, const float* along, size_t n,
                     float* across, float* bounds, float* expected) {
  HWY_DYNAMIC_DISPATCH(BoundDirectionsImpl)(boxes, query, along, n, across, bounds, expected);
}

}  // namespace swiftlet
#endif  // HWY_ONCE
