// Durations with a bounded relative error, as HdrHistogram keeps them: buckets of equal width within each
// power of two.
//
//   Histogram latency;
//   latency.Add(143'000);              // ns
//   double us = latency.Quantile(0.99) / 1e3;
#ifndef SWIFTLET_CLIENT_LOAD_HISTOGRAM_H_
#define SWIFTLET_CLIENT_LOAD_HISTOGRAM_H_

#include <cstdint>
#include <vector>

namespace swiftlet::load {

// Thread-compatible.
class Histogram {
 public:
  static constexpr int64_t kMaxValue = int64_t{1} << 42;  // 73 minutes of nanoseconds

  // Quantiles are at most 2^-precision_bits (of themselves) too high, never too low. 1 to 14 bits; memory is
  // 8 * (43 - precision_bits) * 2^precision_bits bytes.
  explicit Histogram(int precision_bits = 7);

  // Values outside [0, kMaxValue] count as the nearest of the two.
  void Add(int64_t value);
  // `other` must have the same precision.
  void Merge(const Histogram& other);
  void Clear();

  int64_t count() const { return count_; }
  int64_t max() const { return max_; }  // exact; 0 when empty
  double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  // The value that the share `q` (0 to 1) of all values does not exceed; 0 when empty, max() for 1.
  int64_t Quantile(double q) const;

 private:
  int precision_bits_;
  std::vector<int64_t> counts_;
  int64_t count_ = 0;
  int64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_HISTOGRAM_H_
