#include "engine/trainer/metrics.h"

#include <cmath>
#include <numeric>
#include <random>

#include "engine/trainer/bootstrap.h"
#include "engine/trainer/cohorts.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using trainer_testing::kView;

TEST(MetricsTest, ReciprocalRankAndAveragePrecisionAgreeWithValuesComputedByHand) {
  const std::vector<ItemKey> ranked = {11, 12, 13, 14, 15};
  const std::vector<ItemKey> targets = {12, 15, 99};
  // Ranks 2 and 5, with precisions 1/2 and 2/5, of three targets.
  const MetricsAtK five = MetricsOfList(ranked, targets, 5);
  EXPECT_DOUBLE_EQ(five.mrr, 0.5);
  EXPECT_DOUBLE_EQ(five.map, (1.0 / 2 + 2.0 / 5) / 3);
  // At most two of the three targets fit into the first two.
  EXPECT_DOUBLE_EQ(MetricsOfList(ranked, targets, 2).map, 0.5 / 2);
  EXPECT_DOUBLE_EQ(MetricsOfList(ranked, targets, 1).mrr, 0);
}

// Users 0..3; a: all four, b: 0 and 1, c: 3 alone.
Dataset SmallData() {
  DatasetBuilder builder(EventTypeTable::Default());
  for (int u = 0; u < 4; ++u) {
    builder.AddEvent(absl::StrCat("u", u), "a", kView, 0, 1);
    builder.AddEvent(absl::StrCat("u", u), "a", kView, 0, 2);  // a user counts once
    if (u < 2) builder.AddEvent(absl::StrCat("u", u), "b", kView, 0, 3);
  }
  builder.AddEvent("u3", "c", kView, 0, 3);
  return *builder.Build();
}

TEST(MetricsTest, NoveltyAndDiversityCountTrainingUsers) {
  const ItemAudience audience(SmallData());
  const ItemKey a = ItemKeyOf("a"), b = ItemKeyOf("b"), c = ItemKeyOf("c"), unknown = ItemKeyOf("x");
  EXPECT_EQ(audience.UsersOf(a).size(), 4u);
  EXPECT_EQ(audience.UsersOf(unknown).size(), 0u);
  // log2 of 4/4, 4/2, 4/1 and, as if one user had it, 4/1.
  EXPECT_DOUBLE_EQ(audience.Novelty(std::vector<ItemKey>{a, b, c, unknown}), (0 + 1 + 2 + 2) / 4.0);
  // Cosines: a and b 2 / sqrt(8), a and c 1 / sqrt(4), b and c 0.
  EXPECT_NEAR(audience.Diversity(std::vector<ItemKey>{a, b, c}), (1 - 2 / std::sqrt(8.0) + 0.5 + 1) / 3,
              1e-12);
  EXPECT_EQ(audience.Diversity(std::vector<ItemKey>{a}), 0);
  EXPECT_DOUBLE_EQ(MetricsOfList(std::vector<ItemKey>{b, a}, std::vector<ItemKey>{a}, 1, &audience).novelty,
                   1);
}

TEST(MetricsTest, GiniIsZeroForEqualCountsAndNearOneForOneItem) {
  EXPECT_DOUBLE_EQ(Gini({5, 5, 5, 5}), 0);
  EXPECT_DOUBLE_EQ(Gini({0, 0, 0, 12}), 0.75);  // 1 - 1/n
  EXPECT_DOUBLE_EQ(Gini({1, 3}), 0.25);
  EXPECT_DOUBLE_EQ(Gini({0, 0}), 0);
}

std::vector<MetricsAtK> RandomUsers(size_t count, double mean, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<MetricsAtK> users(count);
  for (MetricsAtK& m : users) m.ndcg = (random() >> 11) * 0x1p-53 < mean ? 1 : 0;
  return users;
}

TEST(BootstrapTest, IntervalsAreThoseOfTheNormalApproximationAndRepeatWithTheSeed) {
  const std::vector<MetricsAtK> users = RandomUsers(2000, 0.3, 7);
  double mean = 0;
  for (const MetricsAtK& m : users) mean += m.ndcg / 2000;
  const Interval interval = BootstrapMeans(users, {})[2];
  EXPECT_NEAR(interval.mean, mean, 1e-12);
  const double half = 1.96 * std::sqrt(mean * (1 - mean) / 2000);
  EXPECT_NEAR(interval.high - interval.mean, half, half * 0.15);
  EXPECT_NEAR(interval.mean - interval.low, half, half * 0.15);
  EXPECT_EQ(BootstrapMeans(users, {})[2].low, interval.low);
  bool any_other = false;
  for (uint64_t seed = 2; seed < 6; ++seed) {
    const Interval other = BootstrapMeans(users, {.seed = seed})[2];
    any_other |= other.low != interval.low || other.high != interval.high;
  }
  EXPECT_TRUE(any_other);
  EXPECT_EQ(BootstrapMeans({}, {})[0].high, 0);
}

TEST(BootstrapTest, PairingSeesASmallDifferenceThatTheIntervalsHide) {
  const std::vector<MetricsAtK> a = RandomUsers(2000, 0.3, 7);
  std::vector<MetricsAtK> b = a;
  int changed = 0;
  for (MetricsAtK& m : b) {
    if (m.ndcg == 0 && changed < 20) m.ndcg = ++changed > 0 ? 1 : 0;
  }
  const Difference difference = BootstrapDifferences(b, a, {})[2];
  EXPECT_NEAR(difference.interval.mean, 0.01, 1e-12);
  EXPECT_GT(difference.interval.low, 0);
  EXPECT_LE(difference.p_value, 0.01);
  EXPECT_GT(BootstrapMeans(a, {})[2].high, BootstrapMeans(b, {})[2].low);  // these overlap
  EXPECT_EQ(BootstrapDifferences(a, a, {})[2].p_value, 1);
}

TEST(CohortsTest, GroupUsersByHistoryAndTargetsByPopularity) {
  EvaluationResult result;
  result.history_lengths = {0, 3, 4, 5, 1000};
  result.users[10].resize(5);
  result.users[10][1].recall = 1;
  result.users[10][4].ndcg = 0.5;
  result.targets = {{.user = 0, .rank = 0, .num_training_users = 0},
                    {.user = 1, .rank = 3, .num_training_users = 7},
                    {.user = 2, .rank = 11, .num_training_users = 7}};
  const std::vector<Cohort> history = CohortsByHistory(result, 10);
  ASSERT_EQ(history.size(), 4u);
  EXPECT_THAT((std::vector<std::string>{history[0].name, history[1].name, history[2].name, history[3].name}),
              ElementsAre("0", "1-4", "5-9", "200+"));
  EXPECT_EQ(history[1].count, 2u);
  EXPECT_DOUBLE_EQ(history[1].recall, 0.5);
  EXPECT_DOUBLE_EQ(history[3].ndcg, 0.5);
  const std::vector<Cohort> popularity = CohortsByPopularity(result, 10);
  ASSERT_EQ(popularity.size(), 2u);
  EXPECT_EQ(popularity[0].name, "0");
  EXPECT_EQ(popularity[1].name, "5-19");
  EXPECT_DOUBLE_EQ(popularity[1].recall, 0.5);
  EXPECT_DOUBLE_EQ(popularity[1].ndcg, 0.5 / 2);  // 1 / log2(4)
}

}  // namespace
}  // namespace swiftlet
