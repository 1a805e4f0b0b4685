// That a request allocates nothing once its thread's buffers have grown: every operator new of this binary
// counts.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/rating_predictor.h"
#include "engine/recommender.h"
#include "tests/testing/count_allocations.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

TEST(Allocations, AreCounted) {
  const size_t before = testing::NumAllocations();
  const std::vector<int> v(100);
  const AlignedVector<float> a(100);
  EXPECT_EQ(testing::NumAllocations(), before + 2) << v.size() + a.size();
}

enum class Neighbours { kNone, kItems, kUsers };

class AllocationsTest : public ::testing::TestWithParam<std::tuple<IndexMode, RowType, Neighbours>> {};
INSTANTIATE_TEST_SUITE_P(
    WithAndWithoutIndex, AllocationsTest,
    ::testing::Values(std::tuple(IndexMode::kNever, RowType::kFloat32, Neighbours::kItems),
                      std::tuple(IndexMode::kAlways, RowType::kFloat32, Neighbours::kItems),
                      std::tuple(IndexMode::kAlways, RowType::kFloat32, Neighbours::kUsers),
                      std::tuple(IndexMode::kNever, RowType::kBf16, Neighbours::kNone),
                      std::tuple(IndexMode::kAlways, RowType::kBf16, Neighbours::kNone)));

TEST_P(AllocationsTest, NoneInTheSteadyState) {
  testing::TempDir dir;
  const auto [index, row_type, kind] = GetParam();
  SnapshotContents contents = testing::RandomSnapshot(
      {.num_items = 3000, .dim = 32, .row_type = row_type, .with_rating_model = true});
  contents.index = index;
  if (kind == Neighbours::kUsers) {
    NeighbourContents& neighbours = contents.neighbours.emplace();
    neighbours.neighbours = {.kind = "user-knn", .scale = 1, .users = {{.nearest = 100, .shrinkage = 1}}};
    neighbours.user_offsets = {0};
    for (uint32_t user = 0; user < 700; ++user) {  // has item i where i = user mod 31
      for (uint32_t i = user % 31; i < 3000; i += 31) neighbours.user_items.push_back(i);
      neighbours.user_offsets.push_back(neighbours.user_items.size());
    }
    for (uint32_t row = 0; row < 3000; ++row) {
      for (uint32_t user = row % 31; user < 700; user += 31) {
        neighbours.rows.push_back(user);
        neighbours.weights.push_back(1.0f / static_cast<float>(1 + user % 7));
      }
      neighbours.offsets.push_back(neighbours.rows.size());
    }
  }
  if (kind == Neighbours::kItems) {
    NeighbourContents& neighbours = contents.neighbours.emplace();
    neighbours.neighbours = {.kind = "ease", .scale = 1};
    for (uint32_t row = 0; row < 3000; ++row) {
      for (uint32_t i = row % 31; i < 3000; i += 31) {
        neighbours.rows.push_back(i);
        neighbours.weights.push_back(static_cast<float>((row + i) % 7) - 3);
      }
      neighbours.offsets.push_back(neighbours.rows.size());
    }
  }
  const auto snapshot = testing::WriteAndLoad(dir.File("model"), contents);
  ASSERT_EQ(snapshot->manifest().index.has_value(), index == IndexMode::kAlways);
  std::vector<CatalogItem> changes;
  for (int i = 0; i < 500; ++i) {
    changes.push_back({.item_id = absl::StrCat("item-", i * 7),
                       .deleted = i % 3 == 0,
                       .has_metadata = i % 2 == 0,
                       .title = "a title that is longer than a small string",
                       .categories = {"cat-1", "new category"},
                       .vector = std::vector<float>(32, static_cast<float>(i % 9) / 10),
                       .space = "test-space"});
  }
  for (int i = 0; i < 2000; ++i) {
    changes.push_back({.item_id = absl::StrCat("by its category ", i),
                       .has_metadata = true,
                       .categories = {absl::StrCat("cat-", i % 5), absl::StrCat("cat-", i % 4)}});
  }
  const auto view = CatalogView::Build(*snapshot, changes);
  ASSERT_EQ(view->num_items_with_category_vector(), 2000u);

  std::mt19937 random(4);
  std::vector<HistoryEvent> history;
  for (int i = 0; i < 200; ++i) {
    history.push_back({.item_key = ItemKeyOf(absl::StrCat("item-", random() % 4000)),
                       .timestamp_ms = 1'000'000 + i * 70'000,
                       .value = static_cast<float>(random() % 6),
                       .type = static_cast<EventTypeId>(1 + random() % 14)});
  }
  const std::vector<float> long_term(32, 0.1f);
  const std::vector<ItemKey> context = {ItemKeyOf("item-1"), ItemKeyOf("item-7"), ItemKeyOf("nothing")};
  const std::vector<std::string_view> any_of = {"cat-1", "new category", "unknown category with a long name"};
  const std::vector<std::string_view> none_of = {"cat-2"};
  const std::vector<uint32_t> rows = {1, 5, 3001, 7, 2};

  Scratch scratch;
  Recommendation result;
  RatingScratch rating_scratch;
  RatingPrediction prediction;
  const auto run_everything = [&] {
    for (const bool explain : {false, true}) {
      for (const bool filtered : {false, true}) {
        for (const bool known : {false, true}) {
          RecommendQuery query{.k = 50, .exclude_seen = true, .explain = explain};
          if (filtered) {
            query.any_of_categories = any_of;
            query.none_of_categories = none_of;
            query.exclude_items = context;
          }
          UserState user;
          if (known) {
            user = {.history = history, .long_term = long_term};
            query.context_items = context;
          }
          ASSERT_TRUE(Recommend(*snapshot, *view, query, user, scratch, &result).ok());
          ASSERT_FALSE(result.items.empty());
          ASSERT_TRUE(ScoreItems(*snapshot, *view, query, user, rows, scratch, &result).ok());
          ASSERT_TRUE(SimilarItems(*snapshot, *view, query, 3, scratch, &result).ok());
          ASSERT_TRUE(PredictRatings(*snapshot, user, context, rating_scratch, &prediction).ok());
        }
      }
    }
  };
  run_everything();
  scratch.user_vectors.Configure(1 << 20, 1);
  run_everything();
  const size_t before = testing::NumAllocations();
  ASSERT_GT(before, 0u);
  for (int i = 0; i < 3; ++i) run_everything();
  EXPECT_EQ(testing::NumAllocations(), before);
}

}  // namespace
}  // namespace swiftlet
