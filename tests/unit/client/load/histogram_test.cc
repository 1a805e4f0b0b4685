#include "client/load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "client/load/random.h"

namespace swiftlet::load {
namespace {

TEST(HistogramTest, QuantilesAreNeverTooLowAndHardlyTooHigh) {
  for (const int bits : {5, 7, 10}) {
    Random random(7);
    Histogram histogram(bits);
    std::vector<int64_t> values;
    for (int i = 0; i < 20'000; ++i) {
      // From nanoseconds to minutes.
      values.push_back(static_cast<int64_t>(std::exp(random.Uniform() * 25)));
      histogram.Add(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double q : {0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
      const auto rank = std::max<size_t>(1, static_cast<size_t>(std::ceil(q * 20'000)));
      const int64_t exact = values[rank - 1], found = histogram.Quantile(q);
      EXPECT_GE(found, exact) << bits << " " << q;
      EXPECT_LE(static_cast<double>(found - exact), std::ldexp(static_cast<double>(exact), -bits))
          << bits << " " << q;
    }
    EXPECT_EQ(histogram.max(), values.back());
    EXPECT_EQ(histogram.Quantile(1), values.back());
    EXPECT_EQ(histogram.count(), 20'000);
  }
}

TEST(HistogramTest, SmallValuesAreExact) {
  Histogram histogram(7);
  for (int64_t v = 0; v < 256; ++v) histogram.Add(v);
  for (int v = 1; v <= 256; ++v) EXPECT_EQ(histogram.Quantile(v / 256.0), v - 1);
  EXPECT_DOUBLE_EQ(histogram.mean(), 127.5);
}

TEST(HistogramTest, ValuesOutOfRangeCountAsTheNearest) {
  Histogram histogram;
  histogram.Add(-5);
  histogram.Add(INT64_MAX);
  EXPECT_EQ(histogram.count(), 2);
  EXPECT_EQ(histogram.Quantile(0.5), 0);
  EXPECT_EQ(histogram.Quantile(1), Histogram::kMaxValue);
}

TEST(HistogramTest, EmptyIsZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.Quantile(0.99), 0);
  EXPECT_EQ(histogram.max(), 0);
  EXPECT_EQ(histogram.mean(), 0);
}

TEST(HistogramTest, MergeIsAddingAllValues) {
  Random random(3);
  Histogram a, b, both;
  for (int i = 0; i < 1000; ++i) {
    const auto v = static_cast<int64_t>(random.Below(1'000'000));
    (i % 3 == 0 ? a : b).Add(v);
    both.Add(v);
  }
  a.Merge(b);
  for (const double q : {0.1, 0.5, 0.99, 1.0}) EXPECT_EQ(a.Quantile(q), both.Quantile(q));
  EXPECT_EQ(a.count(), 1000);
  EXPECT_DOUBLE_EQ(a.mean(), both.mean());
  a.Clear();
  EXPECT_EQ(a.count(), 0);
  EXPECT_EQ(a.Quantile(1), 0);
}

}  // namespace
}  // namespace swiftlet::load
