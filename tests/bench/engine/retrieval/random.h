// Random numbers that are the same everywhere: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) and Box-Muller.
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_RANDOM_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_RANDOM_H_

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace swiftlet::bench {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // In [0, n), n > 0; the bias of the remainder is below n / 2^64.
  size_t Below(size_t n) { return static_cast<size_t>(Next() % n); }
  double Uniform() { return static_cast<double>((Next() >> 11) + 1) * 0x1p-53; }  // (0, 1]
  double Normal() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    const double radius = std::sqrt(-2 * std::log(Uniform())), angle = 6.283185307179586 * Uniform();
    spare_ = radius * std::sin(angle);
    has_spare_ = true;
    return radius * std::cos(angle);
  }

 private:
  uint64_t state_;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_RANDOM_H_
