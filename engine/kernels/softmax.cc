#include "engine/kernels/softmax.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/softmax.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x[i] = exp(x[i] - max).
void ExpMinusImpl(float max, float* x, size_t n) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto vmax = hn::Set(d, max);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Exp(d, hn::Sub(hn::LoadU(d, x + i), vmax)), d, x + i);
  }
  if (i < n) {
    float rest[HWY_MAX_BYTES / sizeof(float)] = {};
    std::fill_n(rest, lanes, max);
    std::memcpy(rest, x + i, (n - i) * sizeof(float));
    hn::StoreU(hn::Exp(d, hn::Sub(hn::LoadU(d, rest), vmax)), d, rest);
    std::memcpy(x + i, rest, (n - i) * sizeof(float));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {

HWY_EXPORT(ExpMinusImpl);

void Softmax(float* x, size_t n) {
  HWY_DYNAMIC_DISPATCH(ExpMinusImpl)(*std::max_element(x, x + n), x, n);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
  const double inverse = 1.0 / sum;  // sum >= 1: the largest term is exp(0)
  for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(x[i] * inverse);
}

}  // namespace swiftlet
#endif  // HWY_ONCE
