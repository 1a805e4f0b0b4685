#include "client/load/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace swiftlet::load {
namespace {

TEST(ZipfTest, FrequenciesFollowTheLaw) {
  constexpr uint64_t kRanks = 50;
  constexpr int kDraws = 400'000;
  for (const double exponent : {0.0, 0.5, 1.0, 1.3, 2.0}) {
    const Zipf zipf(kRanks, exponent);
    Random random(11);
    std::vector<int> counts(kRanks);
    for (int i = 0; i < kDraws; ++i) {
      const uint64_t rank = zipf.Draw(random);
      ASSERT_LT(rank, kRanks);
      ++counts[rank];
    }
    double sum = 0;
    for (uint64_t r = 0; r < kRanks; ++r) sum += std::pow(static_cast<double>(r + 1), -exponent);
    for (uint64_t r = 0; r < kRanks; ++r) {
      const double p = std::pow(static_cast<double>(r + 1), -exponent) / sum;
      // Five standard deviations of a binomial count.
      EXPECT_NEAR(counts[r], p * kDraws, 5 * std::sqrt(p * kDraws) + 1)
          << "rank " << r << " exponent " << exponent;
    }
  }
}

TEST(ZipfTest, OneRankAndVeryMany) {
  Random random(1);
  EXPECT_EQ(Zipf(1, 1.0).Draw(random), 0u);
  const Zipf many(uint64_t{1} << 40, 0.9);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(many.Draw(random), uint64_t{1} << 40);
}

TEST(RandomTest, TheSameSeedGivesTheSameNumbers) {
  Random a(5), b(5), c(6);
  bool differs = false;
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t x = a.Next();
    EXPECT_EQ(x, b.Next());
    differs |= x != c.Next();
    const double e = a.Exponential();
    EXPECT_EQ(e, b.Exponential());
    EXPECT_GE(e, 0);
    sum += e;
  }
  EXPECT_TRUE(differs);
  EXPECT_NEAR(sum / 10'000, 1, 0.05);
}

}  // namespace
}  // namespace swiftlet::load
