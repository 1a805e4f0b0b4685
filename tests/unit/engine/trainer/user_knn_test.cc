#include "engine/trainer/user_knn.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "engine/retrieval/neighbour_users.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;

// In the order in which the user came to them.
SparseRows RowsOf(const std::vector<std::vector<uint32_t>>& items_of) {
  SparseRows rows;
  rows.begin = {0};
  for (const std::vector<uint32_t>& items : items_of) {
    rows.columns.insert(rows.columns.end(), items.begin(), items.end());
    rows.begin.push_back(rows.columns.size());
  }
  rows.weights.assign(rows.columns.size(), 1);
  return rows;
}

TEST(UserKnnTest, UsersAreSetsFromTheNewestOn) {
  const SparseRows rows = RowsOf({{3, 1}, {2}, {1, 0, 3}, {}, {3, 2}});
  const std::vector<int64_t> newest_ms = {10, 90, 30, 0, 10};
  const FittedNeighbours fitted =
      FitUserKnn(rows, 5, newest_ms, {.nearest = 7, .shrinkage = 3, .item_exponent = 0.5f});
  // The third user, then the first and the last; of one item there is nothing to say.
  ASSERT_TRUE(fitted.users.has_value());
  EXPECT_EQ(fitted.users->parameters, (ManifestNeighbourUsers{.nearest = 7, .shrinkage = 3}));
  EXPECT_THAT(fitted.users->offsets, ElementsAre(0, 3, 5, 7));
  EXPECT_THAT(fitted.users->items, ElementsAre(0, 1, 3, 1, 3, 2, 3));
  EXPECT_THAT(fitted.rows.offsets, ElementsAre(0, 1, 3, 4, 7, 7));
  EXPECT_THAT(fitted.rows.rows, ElementsAre(0, 0, 1, 2, 0, 1, 2));
  const float two = std::sqrt(0.5f), three = 1 / std::sqrt(3.0f);
  using ::testing::FloatEq;
  EXPECT_THAT(fitted.rows.weights, ElementsAre(FloatEq(1), FloatEq(two), FloatEq(two), FloatEq(1),
                                               FloatEq(three), FloatEq(three), FloatEq(three)));
}

TEST(UserKnnTest, RowsKeepTheNewestUsersAndUsersTheirLastItems) {
  const SparseRows rows = RowsOf({{0, 1, 2, 3}, {0, 3, 2, 1}, {3, 0}});
  const std::vector<int64_t> newest_ms = {1, 2, 3};
  const FittedNeighbours fitted =
      FitUserKnn(rows, 4, newest_ms, {.item_exponent = 1, .row_length = 2, .items_of_user = 3});
  EXPECT_THAT(fitted.users->items, ElementsAre(0, 3, 1, 2, 3, 1, 2, 3));
  EXPECT_THAT(fitted.rows.offsets, ElementsAre(0, 1, 3, 5, 7));
  EXPECT_THAT(fitted.rows.rows, ElementsAre(0, 1, 2, 1, 2, 0, 1));
  EXPECT_FLOAT_EQ(fitted.rows.weights.back(), 1 / 3.0f) << "of all its users, kept or not";
}

TEST(UserKnnTest, UnusedUsersAreDroppedInOrder) {
  FittedNeighbours fitted;
  fitted.rows = {.offsets = {0, 1, 3}, .rows = {3, 1, 3}, .weights = {0.5f, 1, 2}};
  fitted.users = UserSets{
      .parameters = {.nearest = 9, .shrinkage = 1}, .offsets = {0, 1, 3, 4, 6}, .items = {0, 0, 1, 1, 0, 1}};
  DropUnusedUsers(&fitted);
  EXPECT_THAT(fitted.rows.rows, ElementsAre(1, 0, 1));
  EXPECT_THAT(fitted.rows.weights, ElementsAre(0.5f, 1, 2));
  EXPECT_THAT(fitted.users->offsets, ElementsAre(0, 2, 4));
  EXPECT_THAT(fitted.users->items, ElementsAre(0, 1, 0, 1));
  EXPECT_EQ(fitted.users->parameters.nearest, 9u);
}

// Two tastes; who had 0 and 1 also had 2, and 3 is what most had.
TEST(UserKnnTest, RankingIsByTheNearestUsers) {
  std::vector<std::vector<uint32_t>> items_of = {{0, 1, 2}, {1, 0, 2}};
  for (int u = 0; u < 10; ++u) items_of.push_back({0, 3, 4});
  const SparseRows rows = RowsOf(items_of);
  const std::vector<int64_t> newest_ms(items_of.size(), 1);
  const std::vector<float> equal = {1};
  const RankingUser user{
      .items = {1, 0}, .positions = {0, 1}, .signs = {1, 1}, .weights = {1, 1}, .targets = {2}};
  FittedNeighbours fitted = FitUserKnn(rows, 5, newest_ms, {.nearest = 2, .item_exponent = 0});
  EXPECT_NEAR(RankingNdcg(fitted, equal, {&user, 1}, 10, nullptr), 1, 1e-9);
  // With everybody's votes the popular ones are first.
  fitted.users->parameters.nearest = 100;
  EXPECT_NEAR(RankingNdcg(fitted, equal, {&user, 1}, 10, nullptr), 0.5, 1e-9);
  ThreadPool pool(2);
  const std::vector<RankingUser> many(1000, user);
  EXPECT_EQ(RankingNdcg(fitted, equal, many, 10, &pool), RankingNdcg(fitted, equal, many, 10, nullptr));
}

}  // namespace
}  // namespace swiftlet
