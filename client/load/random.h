// Random numbers that are the same on every machine for the same seed.
#ifndef SWIFTLET_CLIENT_LOAD_RANDOM_H_
#define SWIFTLET_CLIENT_LOAD_RANDOM_H_

#include <cmath>
#include <cstdint>

namespace swiftlet::load {

// A bijection that scatters its argument (the finalizer of SplitMix64).
inline uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Thread-compatible.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(Mix(seed)) {}
  uint64_t Next() { return Mix(state_ += 0x9E3779B97F4A7C15u); }
  // In [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  // In [0, n). Requires n > 0.
  uint64_t Below(uint64_t n) { return static_cast<uint64_t>((static_cast<__uint128_t>(Next()) * n) >> 64); }
  // Exponential with mean 1.
  double Exponential() { return -std::log1p(-Uniform()); }

 private:
  uint64_t state_;
};

// Ranks 0 .. n-1 with a probability proportional to (rank + 1)^-exponent; exponent 0 is uniform. By rejection
// inversion (Hoermann and Derflinger 1996): no table, a constant number of draws. Immutable.
class Zipf {
 public:
  // Requires n > 0, exponent >= 0.
  Zipf(uint64_t n, double exponent);
  uint64_t Draw(Random& random) const;

 private:
  double H(double x) const;
  double HInverse(double x) const;

  uint64_t n_;
  double exponent_;
  double h_first_, h_last_, shortcut_;
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_RANDOM_H_
