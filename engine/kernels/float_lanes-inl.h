// Parts of vectors of at most 16 floats, for kernels whose rows may end inside of one: those of this folder,
// and the trainer's. Included once for each target (Highway), after hwy/highway.h.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

#if defined(SWIFTLET_ENGINE_KERNELS_FLOAT_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWIFTLET_ENGINE_KERNELS_FLOAT_LANES_INL_H_
#undef SWIFTLET_ENGINE_KERNELS_FLOAT_LANES_INL_H_
#else
#define SWIFTLET_ENGINE_KERNELS_FLOAT_LANES_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;
using VF = hn::Vec<F>;

// Loads `count` <= Lanes floats, the others 0.
HWY_INLINE VF LoadSome(F d, const float* p, size_t count) {
  if (count == hn::Lanes(d)) return hn::LoadU(d, p);
  float rest[HWY_MAX_BYTES / sizeof(float)] = {};
  for (size_t i = 0; i < count; ++i) rest[i] = p[i];
  return hn::LoadU(d, rest);
}

// Stores the first `count` <= Lanes floats.
HWY_INLINE void StoreSome(VF v, F d, float* p, size_t count) {
  if (count == hn::Lanes(d)) {
    hn::StoreU(v, d, p);
    return;
  }
  float rest[HWY_MAX_BYTES / sizeof(float)];
  hn::StoreU(v, d, rest);
  for (size_t i = 0; i < count; ++i) p[i] = rest[i];
}

HWY_INLINE VF Sigmoid(F d, VF x) {
  const auto one = hn::Set(d, 1.0f);
  // Beyond 80, exp would leave the range of floats; the sigmoid is 0 there to 35 digits.
  return hn::Div(one, hn::Add(one, hn::Exp(d, hn::Neg(hn::Max(x, hn::Set(d, -80.0f))))));
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#endif  // SWIFTLET_ENGINE_KERNELS_FLOAT_LANES_INL_H_
