#include "engine/retrieval/neighbour_users.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace swiftlet {
namespace {

struct Model {
  std::vector<uint64_t> offsets = {0}, user_offsets = {0};
  std::vector<uint32_t> rows, user_items;
  std::vector<float> weights;
  const std::vector<float> position_weights = {1};

  NeighbourRows Rows() const { return {offsets, rows, weights, position_weights}; }
  NeighbourUsers Users(uint32_t nearest, float shrinkage) const {
    return {.offsets = user_offsets, .items = user_items, .nearest = nearest, .shrinkage = shrinkage};
  }
};

// Few items, and weights that are powers of two: many users are equal to the last bit, and dots are exact.
Model RandomModel(uint32_t num_items, uint32_t num_users, uint64_t seed) {
  std::mt19937_64 random(seed);
  Model model;
  std::vector<std::vector<uint32_t>> users_of(num_items);
  for (uint32_t v = 0; v < num_users; ++v) {
    std::set<uint32_t> items;
    const size_t count = random() % 9;  // also none
    while (items.size() < count) items.insert(static_cast<uint32_t>(random() % num_items));
    for (const uint32_t i : items) {
      model.user_items.push_back(i);
      if (random() % 8 != 0) users_of[i].push_back(v);  // not all of a row
    }
    model.user_offsets.push_back(model.user_items.size());
  }
  for (uint32_t i = 0; i < num_items; ++i) {
    for (const uint32_t v : users_of[i]) {
      model.rows.push_back(v);
      model.weights.push_back(std::exp2(-static_cast<float>(i % 4)));
    }
    model.offsets.push_back(model.rows.size());
  }
  return model;
}

// The definition, over all users and items.
struct Expected {
  std::vector<std::pair<uint32_t, float>> nearest;  // user, similarity
  std::vector<double> sums;
};
Expected Define(const Model& model, const std::vector<std::pair<uint32_t, float>>& history,
                const NeighbourUsers& users, float scale) {
  const NeighbourRows rows = model.Rows();
  Expected expected;
  const float root = std::sqrt(static_cast<float>(history.size()));
  for (uint32_t v = 0; v < users.num_users(); ++v) {
    float dot = 0;
    for (const auto& [item, factor] : history) dot += factor * rows.Weight(item, v);
    if (dot <= 0) continue;
    const float inverse =
        1 / (root * std::sqrt(static_cast<float>(users.ItemsOf(v).size())) + users.shrinkage);
    expected.nearest.push_back({v, dot * inverse});
  }
  std::sort(expected.nearest.begin(), expected.nearest.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  expected.nearest.resize(std::min<size_t>(expected.nearest.size(), users.nearest));
  expected.sums.resize(rows.num_items());
  for (uint32_t i = 0; i < rows.num_items(); ++i) {
    for (const auto& [v, similarity] : expected.nearest) {
      const std::span<const uint32_t> items = users.ItemsOf(v);
      if (std::find(items.begin(), items.end(), i) != items.end()) {
        expected.sums[i] += double{scale} * double{similarity};
      }
    }
  }
  return expected;
}

TEST(NeighbourUsersTest, FindsWhatTheDefinitionSays) {
  constexpr uint32_t kItems = 40;
  std::mt19937_64 random(7);
  NearestUserSearch search;
  NeighbourSums sums;
  size_t num_cut_ties = 0, num_negative = 0;
  for (const uint32_t num_users : {1u, 30u, 900u}) {
    const Model model = RandomModel(kItems, num_users, num_users);
    for (int trial = 0; trial < 200; ++trial) {
      const uint32_t nearest = trial % 4 == 0 ? 2000 : 1 + static_cast<uint32_t>(random() % 20);
      const NeighbourUsers users = model.Users(nearest, static_cast<float>(random() % 3) * 5);
      const float scale = trial % 3 == 0 ? -0.5f : 2;
      std::vector<std::pair<uint32_t, float>> history;
      std::set<uint32_t> used;
      for (size_t n = 1 + random() % 12; n-- > 0;) {
        const auto item = static_cast<uint32_t>(random() % kItems);
        const float factor = std::exp2(-static_cast<float>(random() % 3)) * (random() % 5 == 0 ? -1 : 1);
        if (used.insert(item).second) history.push_back({item, factor});
        num_negative += factor < 0;
      }
      const Expected expected = Define(model, history, users, scale);
      NeighbourUsers one_more = users;
      ++one_more.nearest;
      const auto more = Define(model, history, one_more, scale).nearest;
      if (more.size() > nearest) num_cut_ties += more[nearest].second == more[nearest - 1].second;

      search.Reset(users);
      for (const auto& [item, factor] : history) search.Add(model.Rows(), item, factor);
      search.Find(users);
      ASSERT_EQ(search.nearest().size(), expected.nearest.size());
      for (size_t n = 0; n < expected.nearest.size(); ++n) {
        ASSERT_EQ(search.nearest()[n].user, expected.nearest[n].first) << "rank " << n;
        ASSERT_EQ(search.nearest()[n].similarity, expected.nearest[n].second) << "rank " << n;
      }
      sums.Reset(kItems);
      search.AddVotes(users, scale, sums);
      for (uint32_t i = 0; i < kItems; ++i) ASSERT_NEAR(sums.At(i), expected.sums[i], 1e-4) << "item " << i;
    }
  }
  EXPECT_GT(num_cut_ties, 20u) << "or ties at the cut are not tested";
  EXPECT_GT(num_negative, 20u);
}

TEST(NeighbourUsersTest, NobodyIsNearWithoutUsersOrToWhatWasDisliked) {
  const Model model = RandomModel(10, 50, 3);
  NearestUserSearch search;
  const NeighbourUsers users = model.Users(5, 0);
  search.Reset(users);
  search.Find(users);
  EXPECT_TRUE(search.nearest().empty());
  search.Add(model.Rows(), 3, -1);
  search.Find(users);
  EXPECT_TRUE(search.nearest().empty());

  const Model nobody = RandomModel(10, 0, 3);
  const NeighbourUsers none = nobody.Users(5, 0);
  search.Reset(none);
  search.Add(nobody.Rows(), 3, 1);
  search.Find(none);
  EXPECT_TRUE(search.nearest().empty());
}

// Users of smaller indices that are met last, after many equals.
TEST(NeighbourUsersTest, OfManyEqualUsersTheSmallestIndicesAreNearest) {
  constexpr uint32_t kUsers = 400;
  Model model;
  model.offsets = {0, kUsers / 2, kUsers};
  for (uint32_t v = 0; v < kUsers; ++v) {
    model.rows.push_back((v + kUsers / 2) % kUsers);  // item 0: the second half
    model.weights.push_back(1);
    model.user_items.push_back(v < kUsers / 2 ? 1 : 0);
    model.user_offsets.push_back(v + 1);
  }
  const NeighbourUsers users = model.Users(3, 0);
  NearestUserSearch search;
  search.Reset(users);
  search.Add(model.Rows(), 0, 1);
  search.Add(model.Rows(), 1, 1);
  search.Find(users);
  ASSERT_EQ(search.nearest().size(), 3u);
  for (uint32_t n = 0; n < 3; ++n) EXPECT_EQ(search.nearest()[n].user, n);
}

TEST(NeighbourUsersTest, ShrinkageIsInFavourOfLargeSets) {
  // User 0 had items 0 and 3 to 7, user 1 item 1 alone: dots 1.5 and 1, sets of 6 and 1.
  Model model;
  model.user_items = {0, 3, 4, 5, 6, 7, 1};
  model.user_offsets = {0, 6, 7};
  model.rows = {0, 1};
  model.offsets = {0, 1, 2, 2, 2, 2, 2, 2, 2};
  model.weights = {1.5f, 1};
  NearestUserSearch search;
  const auto nearest_with = [&](float shrinkage) {
    const NeighbourUsers users = model.Users(1, shrinkage);
    search.Reset(users);
    search.Add(model.Rows(), 0, 1);
    search.Add(model.Rows(), 1, 1);
    search.Find(users);
    return search.nearest()[0].user;
  };
  EXPECT_EQ(nearest_with(0), 1u);    // 1.5 / 6^1/2 < 1
  EXPECT_EQ(nearest_with(100), 0u);  // by the dots
}

}  // namespace
}  // namespace swiftlet
