#include "client/load/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace swiftlet::load {

// A value v with its highest bit at p + e (p precision bits, e >= 0) is in bucket (e << p) + (v >> e); for e
// > 0 the second term has the highest bit p, so that buckets of one e follow those of e - 1.
Histogram::Histogram(int precision_bits) : precision_bits_(precision_bits) {
  const int max_shift = 42 - precision_bits;
  counts_.resize((static_cast<size_t>(max_shift) << precision_bits) + (size_t{2} << precision_bits));
}

void Histogram::Add(int64_t value) {
  value = std::clamp<int64_t>(value, 0, kMaxValue);
  const auto v = static_cast<uint64_t>(value);
  const int shift = std::max(0, static_cast<int>(std::bit_width(v)) - 1 - precision_bits_);
  ++counts_[(static_cast<size_t>(shift) << precision_bits_) + (v >> shift)];
  ++count_;
  max_ = std::max(max_, value);
  sum_ += static_cast<double>(value);
}

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
  sum_ += other.sum_;
}

void Histogram::Clear() {
  std::fill(counts_.begin(), counts_.end(), 0);
  count_ = max_ = 0;
  sum_ = 0;
}

int64_t Histogram::Quantile(double q) const {
  if (count_ == 0) return 0;
  const auto rank = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(q * static_cast<double>(count_))));
  int64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen < rank) continue;
    const size_t shift = i < (size_t{2} << precision_bits_) ? 0 : (i >> precision_bits_) - 1;
    const size_t mantissa = i - (shift << precision_bits_);
    const auto highest = static_cast<int64_t>(((mantissa + 1) << shift) - 1);
    return std::min(highest, max_);
  }
  return max_;
}

}  // namespace swiftlet::load
