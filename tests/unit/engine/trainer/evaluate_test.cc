#include "engine/trainer/evaluate.h"

#include <cmath>

#include "engine/trainer/results.h"
#include "engine/trainer/write_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
using trainer_testing::kView;

TEST(MetricsTest, AgreeWithValuesComputedByHand) {
  const std::vector<ItemKey> ranked = {11, 12, 13, 14, 15};
  const std::vector<ItemKey> targets = {12, 15, 99};
  // Ranks 2 and 5 of three targets.
  const MetricsAtK five = MetricsOfList(ranked, targets, 5);
  EXPECT_DOUBLE_EQ(five.recall, 2.0 / 3);
  EXPECT_DOUBLE_EQ(five.precision, 2.0 / 5);
  EXPECT_DOUBLE_EQ(five.hit_rate, 1);
  EXPECT_NEAR(five.ndcg, (0.6309297536 + 0.3868528072) / (1 + 0.6309297536 + 0.5), 1e-9);
  const MetricsAtK two = MetricsOfList(ranked, targets, 2);
  EXPECT_NEAR(two.ndcg, 0.6309297536 / 1.6309297536, 1e-9);
  const MetricsAtK one = MetricsOfList(ranked, targets, 1);
  EXPECT_EQ(one.recall + one.precision + one.ndcg + one.hit_rate, 0);
  // A list that is shorter than k.
  EXPECT_DOUBLE_EQ(MetricsOfList(ranked, std::vector<ItemKey>{11}, 10).precision, 0.1);
  EXPECT_DOUBLE_EQ(MetricsOfList(ranked, std::vector<ItemKey>{11}, 10).ndcg, 1);
}

// Four items on two axes; popularity d > c > b > a.
SnapshotContents SmallContents() {
  DatasetBuilder builder(EventTypeTable::Default());
  int n = 1;
  for (const char* item : {"a", "b", "c", "d"}) {
    for (int k = 0; k < n; ++k) builder.AddEvent(absl::StrCat("p", k), item, kView, 0, 1);
    ++n;
  }
  SnapshotContents contents = DescribeItems(*builder.Build(), 1, 1000);
  contents.dim = 2;
  contents.item_vectors = {1.0f, 0, 0.9f, 0, 0, 1.0f, 0, 0.9f};
  SetUniformAttention(10, &contents);
  return contents;
}

TEST(EvaluateTest, RanksThroughTheEngineAndExcludesWhatWasSeen) {
  testing::TempDir dir;
  const auto snapshot = testing::WriteAndLoad(dir.File("model"), SmallContents());
  const ItemKey a = ItemKeyOf("a"), b = ItemKeyOf("b"), c = ItemKeyOf("c"), d = ItemKeyOf("d");
  const std::vector<TestUser> test = {
      {.user_id = "u", .history = {{a, 1, 0, kView}}, .targets = {b}},  // first of b, then c or d
      {.user_id = "v", .history = {{c, 1, 0, kView}}, .targets = {b}},  // d first
      {.user_id = "cold", .history = {}, .targets = {d}},               // falls back to the most popular: d
  };
  EvaluationOptions options;
  options.cutoffs = {1, 3};
  const EvaluationResult model = *Evaluate(*snapshot, {}, test, options, nullptr);
  EXPECT_EQ(model.num_users, 3u);
  EXPECT_EQ(model.num_without_history, 1u);
  EXPECT_DOUBLE_EQ(model.at.at(1).hit_rate, 2.0 / 3);
  EXPECT_DOUBLE_EQ(model.at.at(1).coverage, 2.0 / 4);  // b and d
  EXPECT_DOUBLE_EQ(model.at.at(3).recall, 1);
  options.ranker = Ranker::kPopularity;
  const EvaluationResult popularity = *Evaluate(*snapshot, {}, test, options, nullptr);
  EXPECT_DOUBLE_EQ(popularity.at.at(1).hit_rate, 1.0 / 3);  // d for everyone
  EXPECT_DOUBLE_EQ(popularity.at.at(1).coverage, 1.0 / 4);
  EXPECT_DOUBLE_EQ(popularity.at.at(3).recall, 1);
}

TEST(EvaluateTest, GivesTheLongTermVectorAndTheNewestHistory) {
  testing::TempDir dir;
  const auto snapshot = testing::WriteAndLoad(dir.File("model"), SmallContents());
  const ItemKey a = ItemKeyOf("a"), b = ItemKeyOf("b"), c = ItemKeyOf("c"), d = ItemKeyOf("d");
  const std::vector<TestUser> cold = {{.user_id = "u", .history = {}, .targets = {a}}};
  EvaluationOptions options;
  options.cutoffs = {1};
  EXPECT_EQ(Evaluate(*snapshot, {}, cold, options, nullptr)->at.at(1).hit_rate, 0);
  EXPECT_EQ(Evaluate(*snapshot, {{"u", {1, 0}}}, cold, options, nullptr)->at.at(1).hit_rate, 1);
  EXPECT_FALSE(Evaluate(*snapshot, {{"u", {1, 0, 0}}}, cold, options, nullptr).ok());
  // With the newest event alone, the user is one of the second axis, and what is older is not excluded.
  const std::vector<TestUser> turned = {
      {.user_id = "u", .history = {{a, 1, 0, kView}, {b, 2, 0, kView}, {c, 3, 0, kView}}, .targets = {d}}};
  options.max_history = 1;
  EXPECT_EQ(Evaluate(*snapshot, {}, turned, options, nullptr)->at.at(1).hit_rate, 1);
}

TEST(EvaluateTest, IsTheSameWithAnyNumberOfThreads) {
  testing::TempDir dir;
  const auto snapshot = testing::WriteAndLoad(dir.File("model"), testing::RandomSnapshot({.num_items = 300}));
  std::vector<TestUser> test;
  for (uint32_t u = 0; u < 100; ++u) {
    test.push_back({.user_id = absl::StrCat("u", u),
                    .history = {{snapshot->Key(u), 1, 0, kView}, {snapshot->Key(u + 100), 2, 0, kView}},
                    .targets = {snapshot->Key(u + 150)}});
  }
  ThreadPool pool(3);
  EvaluationOptions options;
  const EvaluationResult alone = *Evaluate(*snapshot, {}, test, options, nullptr);
  const EvaluationResult together = *Evaluate(*snapshot, {}, test, options, &pool);
  for (const uint32_t k : options.cutoffs) {
    EXPECT_EQ(alone.at.at(k).ndcg, together.at.at(k).ndcg);
    EXPECT_EQ(alone.at.at(k).coverage, together.at.at(k).coverage);
  }
}

TEST(EvaluateTest, ResultsAsTableAndJson) {
  EvaluationResult result;
  result.num_users = 7;
  result.at[10].ndcg = 0.25;
  const std::vector<NamedResult> results = {{.name = "attention", .result = result}};
  EXPECT_THAT(FormatResults(results),
              HasSubstr("attention                  10    0.0000      0.0000    0.2500"));
  const auto json = nlohmann::json::parse(ResultsToJson(results, Analyse(results, {})));
  EXPECT_EQ(json["results"][0]["num_users"], 7);
  EXPECT_EQ(json["results"][0]["metrics"]["ndcg@10"], 0.25);
}

}  // namespace
}  // namespace swiftlet
