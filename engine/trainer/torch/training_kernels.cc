#include "engine/trainer/torch/training_kernels.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/trainer/torch/training_kernels.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "engine/kernels/float_lanes-inl.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using U = hn::RebindToUnsigned<F>;

// The dropout mask of consecutive elements: 0 or 1 / (1 - rate). A 32-bit mix with full avalanche
// ("lowbias32" of hash-prospector) of the index and both halves of the seed; kept where its upper 24 bits are
// >= rate.
class Mask {
 public:
  Mask(const DropoutMask& mask)  // NOLINT(google-explicit-constructor)
      : on_(mask.rate > 0),
        seed_(static_cast<uint32_t>(mask.seed)),
        seed2_(static_cast<uint32_t>(mask.seed >> 32)),
        threshold_(static_cast<uint32_t>(mask.rate * 16777216.0f)),
        scale_(1.0f / (1.0f - mask.rate)) {}

  HWY_INLINE VF At(F d, uint64_t first) const {
    if (!on_) return hn::Set(d, 1.0f);
    const U u;
    auto x = hn::Iota(u, static_cast<uint32_t>(first));
    x = hn::Xor(x, hn::Set(u, seed_ ^ static_cast<uint32_t>(first >> 32)));
    x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(u, 0x7feb352du));
    x = hn::Add(x, hn::Set(u, seed2_));
    x = hn::Mul(hn::Xor(x, hn::ShiftRight<15>(x)), hn::Set(u, 0x846ca68bu));
    x = hn::ShiftRight<8>(hn::Xor(x, hn::ShiftRight<16>(x)));
    const hn::RebindToSigned<F> s;
    const auto keep = hn::Not(hn::Lt(hn::BitCast(s, x), hn::Set(s, static_cast<int32_t>(threshold_))));
    return hn::IfThenElseZero(hn::RebindMask(d, keep), hn::Set(d, scale_));
  }

 private:
  const bool on_;
  const uint32_t seed_, seed2_, threshold_;
  const float scale_;
};

void ApplyDropoutImpl(const DropoutMask& dropout, uint64_t first, size_t n, float* x) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const Mask mask(dropout);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    StoreSome(hn::Mul(LoadSome(d, x + i, count), mask.At(d, first + i)), d, x + i, count);
  }
}

void SwigluForwardImpl(const float* ab, size_t rows, size_t hidden, const DropoutMask& dropout, float* out) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const Mask mask(dropout);
  for (size_t r = 0; r < rows; ++r) {
    const float* a = ab + r * 2 * hidden;
    const float* b = a + hidden;
    for (size_t j = 0; j < hidden; j += lanes) {
      const size_t count = std::min(lanes, hidden - j);
      const VF x = LoadSome(d, a + j, count);
      const VF y = hn::Mul(LoadSome(d, b + j, count), mask.At(d, r * hidden + j));
      StoreSome(hn::Mul(hn::Mul(x, Sigmoid(d, x)), y), d, out + r * hidden + j, count);
    }
  }
}

void SwigluBackwardImpl(const float* ab, const float* d_out, size_t rows, size_t hidden,
                        const DropoutMask& dropout, float* d_ab) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const Mask mask(dropout);
  const auto one = hn::Set(d, 1.0f);
  for (size_t r = 0; r < rows; ++r) {
    const float* a = ab + r * 2 * hidden;
    const float* b = a + hidden;
    float* da = d_ab + r * 2 * hidden;
    float* db = da + hidden;
    for (size_t j = 0; j < hidden; j += lanes) {
      const size_t count = std::min(lanes, hidden - j);
      const VF x = LoadSome(d, a + j, count), y = LoadSome(d, b + j, count);
      const VF g = hn::Mul(LoadSome(d, d_out + r * hidden + j, count), mask.At(d, r * hidden + j));
      const VF s = Sigmoid(d, x);
      // silu' = s (1 + x (1 - s))
      const VF slope = hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one));
      StoreSome(hn::Mul(hn::Mul(g, y), slope), d, da + j, count);
      StoreSome(hn::Mul(g, hn::Mul(x, s)), d, db + j, count);
    }
  }
}

void GatedResidualForwardImpl(const float* x, const float* gate, const float* y, size_t n,
                              const DropoutMask& dropout, float* out) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const Mask mask(dropout);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    const VF s = Sigmoid(d, LoadSome(d, gate + i, count));
    const VF dropped = hn::Mul(LoadSome(d, y + i, count), mask.At(d, i));
    StoreSome(hn::MulAdd(s, dropped, LoadSome(d, x + i, count)), d, out + i, count);
  }
}

void GatedResidualBackwardImpl(const float* gate, const float* y, const float* d_out, size_t n,
                               const DropoutMask& dropout, float* d_gate, float* d_y) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const Mask mask(dropout);
  const auto one = hn::Set(d, 1.0f);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    const VF s = Sigmoid(d, LoadSome(d, gate + i, count));
    const VF g = hn::Mul(LoadSome(d, d_out + i, count), mask.At(d, i));
    const VF gs = hn::Mul(g, s);
    StoreSome(gs, d, d_y + i, count);
    StoreSome(hn::Mul(hn::Mul(gs, hn::Sub(one, s)), LoadSome(d, y + i, count)), d, d_gate + i, count);
  }
}

float MaxOf(const float* x, const float* shift, size_t n, float start) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  VF top = hn::Set(d, start);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    VF value = hn::LoadU(d, x + i);
    if (shift != nullptr) value = hn::Add(value, hn::LoadU(d, shift + i));
    top = hn::Max(top, value);
  }
  float best = hn::GetLane(hn::MaxOfLanes(d, top));
  for (; i < n; ++i) best = std::max(best, x[i] + (shift != nullptr ? shift[i] : 0.0f));
  return best;
}

// x = exp(x + shift - max); returns the sum.
float ExpInPlace(const float* shift, float max, size_t n, float* x) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const VF vmax = hn::Set(d, max);
  VF sum = hn::Zero(d);
  float rest_sum = 0;
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    VF value = LoadSome(d, x + i, count);
    if (shift != nullptr) value = hn::Add(value, LoadSome(d, shift + i, count));
    value = hn::Exp(d, hn::Sub(value, vmax));
    StoreSome(value, d, x + i, count);
    if (count == lanes) {
      sum = hn::Add(sum, value);
    } else {
      for (size_t j = i; j < n; ++j) rest_sum += x[j];
    }
  }
  return hn::GetLane(hn::SumOfLanes(d, sum)) + rest_sum;
}

void ScaleInPlace(float scale, size_t n, float* x) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const VF s = hn::Set(d, scale);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Mul(s, hn::LoadU(d, x + i)), d, x + i);
  for (; i < n; ++i) x[i] *= scale;
}

float SoftmaxInPlaceImpl(float* x, size_t n) {
  const float max = MaxOf(x, nullptr, n, x[0]);
  const float sum = ExpInPlace(nullptr, max, n, x);
  ScaleInPlace(1.0f / sum, n, x);
  return max + std::log(sum);
}

void SoftmaxBackwardInPlaceImpl(const float* p, const DropoutMask& dropout, uint64_t first, float scale,
                                size_t n, float* x) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const Mask mask(dropout);
  VF sum = hn::Zero(d);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    const VF g = hn::Mul(LoadSome(d, x + i, count), mask.At(d, first + i));
    StoreSome(g, d, x + i, count);
    sum = hn::MulAdd(LoadSome(d, p + i, count), g, sum);  // beyond n, both are 0
  }
  const VF dot = hn::SumOfLanes(d, sum), s = hn::Set(d, scale);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    const VF g = hn::Sub(LoadSome(d, x + i, count), dot);
    StoreSome(hn::Mul(hn::Mul(LoadSome(d, p + i, count), s), g), d, x + i, count);
  }
}

float SampledSoftmaxInPlaceImpl(float positive, const float* shift, size_t n, float* x) {
  const float max = MaxOf(x, shift, n, positive);
  const float sum = ExpInPlace(shift, max, n, x) + std::exp(positive - max);
  ScaleInPlace(1.0f / sum, n, x);
  return max + std::log(sum);
}

float SigmoidInPlaceImpl(float* x, size_t n) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  float sum = 0;
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    const VF value = LoadSome(d, x + i, count);
    // log(1 + e^x) = max(x, 0) + log1p(e^-|x|)
    const VF soft = hn::Add(hn::Max(value, hn::Zero(d)), hn::Log1p(d, hn::Exp(d, hn::Neg(hn::Abs(value)))));
    float terms[HWY_MAX_BYTES / sizeof(float)];
    hn::StoreU(soft, d, terms);
    for (size_t j = 0; j < count; ++j) sum += terms[j];
    StoreSome(Sigmoid(d, value), d, x + i, count);
  }
  return sum;
}

void AdamStepImpl(const AdamParameters& p, uint64_t step, size_t n, float* gradient, float* m, float* v,
                  float* x) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  const double t = static_cast<double>(step);
  const double correction1 = 1 - std::pow(double{p.beta1}, t), correction2 = 1 - std::pow(double{p.beta2}, t);
  const auto b1 = hn::Set(d, p.beta1), b2 = hn::Set(d, p.beta2);
  const auto c1 = hn::Set(d, 1 - p.beta1), c2 = hn::Set(d, 1 - p.beta2);
  const auto rate = hn::Set(d, static_cast<float>(p.learning_rate / correction1));
  const auto root = hn::Set(d, static_cast<float>(1 / std::sqrt(correction2)));
  const auto epsilon = hn::Set(d, p.epsilon);
  const auto keep = hn::Set(d, 1 - p.learning_rate * p.weight_decay);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    const VF g = LoadSome(d, gradient + i, count);
    const VF new_m = hn::MulAdd(b1, LoadSome(d, m + i, count), hn::Mul(c1, g));
    const VF new_v = hn::MulAdd(b2, LoadSome(d, v + i, count), hn::Mul(c2, hn::Mul(g, g)));
    const VF denominator = hn::MulAdd(hn::Sqrt(new_v), root, epsilon);
    const VF change = hn::Div(hn::Mul(rate, new_m), denominator);
    StoreSome(hn::Sub(hn::Mul(keep, LoadSome(d, x + i, count)), change), d, x + i, count);
    StoreSome(new_m, d, m + i, count);
    StoreSome(new_v, d, v + i, count);
    StoreSome(hn::Zero(d), d, gradient + i, count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {

HWY_EXPORT(ApplyDropoutImpl);
HWY_EXPORT(SwigluForwardImpl);
HWY_EXPORT(SwigluBackwardImpl);
HWY_EXPORT(GatedResidualForwardImpl);
HWY_EXPORT(GatedResidualBackwardImpl);
HWY_EXPORT(SoftmaxInPlaceImpl);
HWY_EXPORT(SoftmaxBackwardInPlaceImpl);
HWY_EXPORT(SampledSoftmaxInPlaceImpl);
HWY_EXPORT(SigmoidInPlaceImpl);
HWY_EXPORT(AdamStepImpl);

void ApplyDropout(const DropoutMask& mask, uint64_t first, size_t n, float* x) {
  if (mask.rate <= 0) return;
  HWY_DYNAMIC_DISPATCH(ApplyDropoutImpl)(mask, first, n, x);
}
void SwigluForward(const float* ab, size_t rows, size_t hidden, const DropoutMask& mask, float* out) {
  HWY_DYNAMIC_DISPATCH(SwigluForwardImpl)(ab, rows, hidden, mask, out);
}
void SwigluBackward(const float* ab, const float* d_out, size_t rows, size_t hidden, const DropoutMask& mask,
                    float* d_ab) {
  HWY_DYNAMIC_DISPATCH(SwigluBackwardImpl)(ab, d_out, rows, hidden, mask, d_ab);
}
void GatedResidualForward(const float* x, const float* gate, const float* y, size_t n,
                          const DropoutMask& mask, float* out) {
  HWY_DYNAMIC_DISPATCH(GatedResidualForwardImpl)(x, gate, y, n, mask, out);
}
void GatedResidualBackward(const float* gate, const float* y, const float* d_out, size_t n,
                           const DropoutMask& mask, float* d_gate, float* d_y) {
  HWY_DYNAMIC_DISPATCH(GatedResidualBackwardImpl)(gate, y, d_out, n, mask, d_gate, d_y);
}
float SoftmaxInPlace(float* x, size_t n) { return HWY_DYNAMIC_DISPATCH(SoftmaxInPlaceImpl)(x, n); }
void SoftmaxBackwardInPlace(const float* p, const DropoutMask& mask, uint64_t first, float scale, size_t n,
                            float* x) {
  HWY_DYNAMIC_DISPATCH(SoftmaxBackwardInPlaceImpl)(p, mask, first, scale, n, x);
}
float SampledSoftmaxInPlace(float positive, const float* shift, size_t n, float* x) {
  return HWY_DYNAMIC_DISPATCH(SampledSoftmaxInPlaceImpl)(positive, shift, n, x);
}
float SigmoidInPlace(float* x, size_t n) { return HWY_DYNAMIC_DISPATCH(SigmoidInPlaceImpl)(x, n); }
void AdamStep(const AdamParameters& parameters, uint64_t step, size_t n, float* gradient, float* m, float* v,
              float* x) {
  HWY_DYNAMIC_DISPATCH(AdamStepImpl)(parameters, step, n, gradient, m, v, x);
}

}  // namespace swiftlet
#endif  // HWY_ONCE
