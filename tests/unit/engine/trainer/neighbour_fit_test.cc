#include "engine/trainer/neighbour_fit.h"

#include <cmath>
#include <random>
#include <set>

#include "Eigen/LU"
#include "engine/trainer/blend.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kUsers = 60, kItems = 25;

SparseRows RandomRows(uint64_t seed) {
  std::mt19937_64 random(seed);
  SparseRows rows;
  rows.begin.push_back(0);
  for (uint32_t u = 0; u < kUsers; ++u) {
    std::set<uint32_t> items;
    const size_t count = random() % 10;
    while (items.size() < count)
      items.insert(static_cast<uint32_t>(random() % kItems * (random() % kItems) / kItems));
    for (const uint32_t i : items) {
      rows.columns.push_back(i);
      rows.weights.push_back(1);
    }
    rows.begin.push_back(rows.columns.size());
  }
  return rows;
}

Eigen::MatrixXd Dense(const ItemRows& rows, size_t n) {
  Eigen::MatrixXd dense = Eigen::MatrixXd::Zero(n, n);
  for (size_t j = 0; j < n; ++j) {
    for (uint64_t k = rows.offsets[j]; k < rows.offsets[j + 1]; ++k) {
      EXPECT_TRUE(k == rows.offsets[j] || rows.rows[k] > rows.rows[k - 1]);
      dense(j, rows.rows[k]) = rows.weights[k];
    }
  }
  return dense;
}

// The closed form of the header, in double.
Eigen::MatrixXd Expected(const SparseRows& rows, const EaseOptions& o) {
  Eigen::MatrixXd x = Eigen::MatrixXd::Zero(kUsers, kItems);
  Eigen::VectorXd weights = Eigen::VectorXd::Zero(kUsers), counts = Eigen::VectorXd::Zero(kItems);
  double sum = 0, active = 0;
  for (uint32_t u = 0; u < kUsers; ++u) {
    const size_t n = rows.begin[u + 1] - rows.begin[u];
    for (size_t k = rows.begin[u]; k < rows.begin[u + 1]; ++k) {
      x(u, rows.columns[k]) = 1;
      counts[rows.columns[k]] += 1;
    }
    if (n == 0) continue;
    weights[u] = std::pow(static_cast<double>(n), -o.user_exponent);
    sum += weights[u];
    active += 1;
  }
  weights *= active / sum;
  Eigen::MatrixXd gram = x.transpose() * weights.asDiagonal() * x;
  const double mean = counts.sum() / kItems;
  for (uint32_t i = 0; i < kItems; ++i) {
    gram(i, i) += o.lambda * std::pow(std::max(1.0, counts[i]) / mean, o.item_exponent);
  }
  const Eigen::MatrixXd p = gram.inverse();
  Eigen::MatrixXd b(kItems, kItems);
  for (uint32_t j = 0; j < kItems; ++j) {
    for (uint32_t i = 0; i < kItems; ++i) b(j, i) = i == j ? 0 : -p(j, i) / p(i, i);
  }
  return b;
}

TEST(NeighbourFitTest, EaseOverAllItemsIsTheClosedForm) {
  const SparseRows rows = RandomRows(1);
  const EaseOptions options{.lambda = 3, .user_exponent = 0.4f, .item_exponent = 0.7f, .neighbours = 0};
  const auto found = FitEase(rows, kItems, options, 1e9, nullptr);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_LT((Dense(*found, kItems) - Expected(rows, options)).cwiseAbs().maxCoeff(), 1e-4);
  EXPECT_LT(EaseError(rows, kItems, options, *found, 5), 1e-4);
}

TEST(NeighbourFitTest, ColumnsOfFewNeighboursSolveTheirOwnRegression) {
  const SparseRows rows = RandomRows(2);
  EaseOptions options{.lambda = 3, .user_exponent = 0.4f, .item_exponent = 0.7f, .neighbours = 6};
  const auto found = FitEase(rows, kItems, options, 1e9, nullptr);
  ASSERT_TRUE(found.ok()) << found.status();
  const Eigen::MatrixXd w = Dense(*found, kItems);
  for (uint32_t i = 0; i < kItems; ++i) EXPECT_LE((w.col(i).array() != 0).count(), 6);
  const double error = EaseError(rows, kItems, options, *found, 25);
  EXPECT_GT(error, 1e-3);
  EXPECT_LT(error, 1);
  // Items that co-occur with everything: nothing is left out, and what items that never met have is small.
  options.neighbours = kItems;
  const auto all = FitEase(rows, kItems, options, 1e9, nullptr);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_LT(EaseError(rows, kItems, options, *all, 25), error);
}

TEST(NeighbourFitTest, WhatDoesNotFitIsRefusedWithAdvice) {
  const auto status = FitEase(RandomRows(1), kItems, {.neighbours = 0}, /*max_bytes=*/100, nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--neighbours"));
}

TEST(NeighbourFitTest, ItemKnnIsTheShrunkCosine) {
  const SparseRows rows = RandomRows(3);
  const ItemKnnOptions options{.shrinkage = 2, .user_exponent = 0, .power = 2, .neighbours = kItems};
  const auto found = FitItemKnn(rows, kItems, options, nullptr);
  ASSERT_TRUE(found.ok()) << found.status();
  Eigen::MatrixXd x = Eigen::MatrixXd::Zero(kUsers, kItems);
  for (uint32_t u = 0; u < kUsers; ++u) {
    for (size_t k = rows.begin[u]; k < rows.begin[u + 1]; ++k) x(u, rows.columns[k]) = 1;
  }
  const Eigen::MatrixXd counts = x.transpose() * x;
  const Eigen::MatrixXd w = Dense(*found, kItems);
  for (uint32_t j = 0; j < kItems; ++j) {
    for (uint32_t i = 0; i < kItems; ++i) {
      const double cosine = counts(j, i) / (std::sqrt(counts(i, i) * counts(j, j)) + 2);
      EXPECT_NEAR(w(j, i), i == j ? 0 : cosine * cosine, 1e-5);
    }
  }
}

TEST(NeighbourFitTest, TruncationKeepsTheLargest) {
  const ItemRows rows{.offsets = {0, 3, 3, 5}, .rows = {0, 1, 2, 0, 1}, .weights = {0.1f, -3, 2, 1, 5}};
  const ItemRows kept = Truncate(rows, 2);
  EXPECT_THAT(kept.offsets, ::testing::ElementsAre(0, 2, 2, 4));
  EXPECT_THAT(kept.rows, ::testing::ElementsAre(1, 2, 0, 1));
  EXPECT_THAT(kept.weights, ::testing::ElementsAre(-3, 2, 1, 5));
}

TEST(NeighbourFitTest, RankingLeavesTheHistoryOut) {
  // From item 0: 0 itself, then 1, then 2; from item 3 against 1.
  const FittedNeighbours fitted{
      .rows = {.offsets = {0, 3, 3, 3, 4}, .rows = {0, 1, 2, 1}, .weights = {9, 3, 2, 2}}};
  const std::vector<float> equal = {1}, recent = {1, 0.1f};
  RankingUser user{.items = {3, 0}, .positions = {0, 1}, .signs = {-1, 1}, .weights = {1, 1}, .targets = {2}};
  EXPECT_NEAR(RankingNdcg(fitted, equal, {&user, 1}, 10, nullptr), 1, 1e-9);  // 2 against 3 - 2
  user.signs[0] = 1;
  EXPECT_NEAR(RankingNdcg(fitted, recent, {&user, 1}, 10, nullptr), 1 / std::log2(3.0), 1e-9);
  EXPECT_NEAR(RankingNdcg(fitted, recent, {&user, 1}, 1, nullptr), 0, 1e-9);
}

TEST(PositionWeightsTest, FallByAPowerAndByHalves) {
  using ::testing::ElementsAre;
  using ::testing::FloatEq;
  EXPECT_THAT(PositionWeights(0, 0, 4), ElementsAre(1));  // the last entry is that of all older events
  EXPECT_THAT(PositionWeights(0.5f, 0, 4),
              ElementsAre(1, FloatEq(std::sqrt(0.5f)), FloatEq(std::sqrt(1 / 3.0f)), 0.5f));
  EXPECT_THAT(PositionWeights(0, 2, 4),
              ElementsAre(1, FloatEq(std::sqrt(0.5f)), 0.5f, FloatEq(std::sqrt(0.125f))));
  EXPECT_THAT(PositionWeights(1, 1, 3), ElementsAre(1, FloatEq(0.25f), FloatEq(1 / 12.0f)));
}

TEST(BlendTest, WeightsFollowTheBetterPart) {
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  std::vector<BlendUser> users(200);
  for (BlendUser& user : users) {
    user.num_targets = 1;
    user.is_target.assign(50, false);
    user.is_target[random() % 50] = true;
    user.scores.assign(2, std::vector<float>(50));
    for (size_t i = 0; i < 50; ++i) {
      const float signal = user.is_target[i] ? 2 : 0;
      user.scores[0][i] = signal + normal(random);
      user.scores[1][i] = 1000 * (signal + normal(random));  // on another scale
    }
  }
  double ndcg = 0;
  const std::vector<double> weights = ChooseWeights(users, 2, &ndcg);
  const double first[] = {1, 0}, second[] = {0, 1};
  EXPECT_GT(ndcg, BlendNdcg(users, first, 10) + 0.05);
  EXPECT_GT(ndcg, BlendNdcg(users, second, 10) + 0.05);
  EXPECT_EQ(weights[0], 1);
  EXPECT_GT(weights[1], 0.0002);
  EXPECT_LT(weights[1], 0.005);
  EXPECT_NEAR(BlendNdcg(users, weights, 10), ndcg, 1e-12);
}

}  // namespace
}  // namespace swiftlet
