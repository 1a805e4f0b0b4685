#include "client/load/random.h"

#include <algorithm>

namespace swiftlet::load {
namespace {

// log1p(x) / x and expm1(x) / x, also at 0.
double LogOver(double x) { return std::abs(x) > 1e-8 ? std::log1p(x) / x : 1 - x / 2; }
double ExpOver(double x) { return std::abs(x) > 1e-8 ? std::expm1(x) / x : 1 + x / 2; }

}  // namespace

// H is the integral of h(x) = x^-exponent from 1.
double Zipf::H(double x) const {
  const double log_x = std::log(x);
  return ExpOver((1 - exponent_) * log_x) * log_x;
}

double Zipf::HInverse(double x) const {
  const double t = std::max(x * (1 - exponent_), -1.0);
  return std::exp(LogOver(t) * x);
}

Zipf::Zipf(uint64_t n, double exponent) : n_(n), exponent_(exponent) {
  h_first_ = H(1.5) - 1;
  h_last_ = H(static_cast<double>(n) + 0.5);
  shortcut_ = 2 - HInverse(H(2.5) - std::pow(2.0, -exponent));
}

uint64_t Zipf::Draw(Random& random) const {
  if (exponent_ == 0) return random.Below(n_);
  for (;;) {
    const double u = h_last_ + random.Uniform() * (h_first_ - h_last_);
    const double x = HInverse(u);
    const double k = std::clamp(std::floor(x + 0.5), 1.0, static_cast<double>(n_));
    if (k - x <= shortcut_ || u >= H(k + 0.5) - std::pow(k, -exponent_)) return static_cast<uint64_t>(k) - 1;
  }
}

}  // namespace swiftlet::load
