#include "engine/trainer/item_features.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "engine/trainer/fit_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using trainer_testing::kView;

std::vector<uint32_t> Of(const ItemFeatures& features, size_t item) {
  const std::span<const uint32_t> of = features.Of(item);
  return {of.begin(), of.end()};
}

// A user who sees all of `num_items` items; their description is set by the caller.
DatasetBuilder Items(int num_items) {
  DatasetBuilder builder(EventTypeTable::Default());
  for (int i = 0; i < num_items; ++i) builder.AddEvent("u", absl::StrCat("i", i), kView, 0, i);
  return builder;
}

TEST(ItemFeaturesTest, AreTheCategoriesAttributesAndWordsThatItemsShareTheCommonestFirst) {
  DatasetBuilder builder = Items(5);
  builder.SetItem("i0", "", {"red", "only here"}, {{"brand", "Acme"}});
  builder.SetItem("i1", "", {"Red", "blue"}, {});
  builder.SetItem("i2", "A hat", {"blue", "red"}, {});
  builder.SetItem("i3", "Hat", {"blue"}, {{"brand", "acme"}});
  const ItemFeatures features = MakeItemFeatures(*builder.Build());
  // "blue" of three items; "red", the brand and the word "hat" of two each. Categories are taken as they are
  // written, words whatever their case; i4 is not described.
  EXPECT_EQ(features.num_features, 4u);
  EXPECT_THAT(Of(features, 0).size(), 2u);
  EXPECT_THAT(Of(features, 1), ElementsAre(0));
  EXPECT_THAT(Of(features, 2).size(), 3u);
  EXPECT_THAT(Of(features, 3).size(), 3u);
  EXPECT_THAT(Of(features, 4), IsEmpty());
}

TEST(ItemFeaturesTest, ThoseOfTheSameItemsAreOne) {
  DatasetBuilder builder = Items(4);
  for (int i = 0; i < 2; ++i) builder.SetItem(absl::StrCat("i", i), "", {"a", "b", "c"});
  for (int i = 2; i < 4; ++i) builder.SetItem(absl::StrCat("i", i), "", {"c", "d"});
  const ItemFeatures features = MakeItemFeatures(*builder.Build());
  EXPECT_EQ(features.num_features, 3u);  // c; a and b; d
  EXPECT_THAT(Of(features, 0), ElementsAre(0, ::testing::AnyOf(1, 2)));
  EXPECT_EQ(Of(features, 0), Of(features, 1));
  EXPECT_EQ(Of(features, 2), Of(features, 3));
  EXPECT_NE(Of(features, 0), Of(features, 2));
}

TEST(ItemFeaturesTest, NothingSharedIsNone) {
  EXPECT_TRUE(MakeItemFeatures(*Items(3).Build()).empty());
  DatasetBuilder builder = Items(3);
  for (int i = 0; i < 3; ++i)
    builder.SetItem(absl::StrCat("i", i), absl::StrCat("t", i), {absl::StrCat("c", i)},
                    {{"colour", absl::StrCat("x", i)}});
  EXPECT_TRUE(MakeItemFeatures(*builder.Build()).empty());
}

TEST(ItemFeaturesTest, WhatIsDifferentIsNeverTakenForShared) {
  constexpr int kItems = 200'000;
  Dataset data;
  for (int i = 0; i < kItems; ++i) {
    data.item_ids.push_back(absl::StrCat("i", i));
    std::string letters;  // no digits, of which the leading ones are features of their own
    for (int rest = i + 1; rest > 0; rest /= 26) letters += static_cast<char>('a' + rest % 26);
    data.item_attributes.push_back({{"sku", letters}});
  }
  EXPECT_EQ(MakeItemFeatures(data).num_features, 0u);
  const ItemFeaturesSize bound = BoundItemFeatures(data);
  EXPECT_EQ(bound.num_features, kMaxItemFeatures);
  EXPECT_GT(bound.bytes, uint64_t{kItems} * 2 * 16);
}

TEST(ItemFeaturesTest, TheCommonestAreKeptAndTheFirstOfAnItem) {
  Dataset data;
  const auto word = [](int n) {
    std::string letters = "w";
    for (; n > 0; n /= 26) letters += static_cast<char>('a' + n % 26);
    return letters;
  };
  // Two items for each of more features than are kept, so that all lists of items differ; and one that all
  // have.
  constexpr int kPerItem = 50, kGroups = 2200;
  for (int i = 0; i < 2 * kGroups; ++i) {
    data.item_ids.push_back(absl::StrCat("i", i));
    std::vector<std::string>& of_item = data.item_categories.emplace_back();
    of_item.push_back("common");
    for (int k = 0; k < kPerItem; ++k) of_item.push_back(word(1 + i / 2 + kGroups * k));
  }
  // Features of the same two items are one.
  EXPECT_EQ(MakeItemFeatures(data).num_features, 1u + kGroups);
  data.item_categories.assign(2 * kGroups, {});
  for (int i = 0; i < 2 * kGroups; ++i) {
    data.item_categories[i].push_back("common");
    for (int k = 0; k < kPerItem; ++k) {
      const int first = i - i / (k + 1) % 2 * (k + 1);  // of two items that are k + 1 apart
      data.item_categories[i].push_back(word(1 + first + 2 * kGroups * k));
    }
  }
  const ItemFeatures features = MakeItemFeatures(data);
  EXPECT_EQ(features.num_features, kMaxItemFeatures);
  EXPECT_EQ(features.Of(7).front(), 0u);
  std::vector<std::string>& many = data.item_categories[7];
  for (int k = 0; k < 100; ++k) many.push_back(data.item_categories[100 + k].back());
  EXPECT_LE(MakeItemFeatures(data).Of(7).size(), kMaxFeaturesOfItem);
}

TEST(ItemFeaturesTest, GradientsAndMovesAreSumsOverWhatIsShared) {
  const ItemFeatures features{.num_features = 2, .begin = {0, 1, 3, 3}, .features = {0, 0, 1}};
  std::vector<float> gradient(4, 0.0f);
  AddToFeatures(features, 0, std::vector<float>{1, 2}, gradient.data());
  AddToFeatures(features, 1, std::vector<float>{10, 20}, gradient.data());
  AddToFeatures(features, 2, std::vector<float>{100, 200}, gradient.data());
  EXPECT_THAT(gradient, ElementsAre(11, 22, 10, 20));
  for (const size_t threads : {0, 2}) {
    ThreadPool pool(threads);
    std::vector<float> table = {1, 1, 2, 2, 3, 3};
    MoveItems(features, std::vector<float>{1, 2, 10, 20}, 2, threads > 0 ? &pool : nullptr, table.data());
    EXPECT_THAT(table, ElementsAre(2, 3, 13, 24, 3, 3));
  }
}

TEST(ItemFeaturesTest, AreMovedOnceForSeveralBatchesWhereThereAreManyItems) {
  ItemFeatures features{.num_features = 1};
  features.features.assign(1000, 0);
  EXPECT_EQ(BatchesOfOneMove(features, 64), 1u);
  features.features.assign(1'000'000, 0);
  EXPECT_EQ(BatchesOfOneMove(features, 64), 4u);
}

// Users of two tastes, each for the items of one category. The last item of each category is in one event
// only, so that what it is liked by can be known from its category alone.
TEST(ItemFeaturesTest, AnItemOfFewEventsLearnsFromThoseThatAreLikeIt) {
  constexpr int kItemsOfTaste = 20, kRare = kItemsOfTaste - 1;
  DatasetBuilder builder(EventTypeTable::Default());
  std::mt19937_64 random(3);
  const auto name = [](int taste, int i) { return absl::StrCat(taste == 0 ? "a" : "b", i); };
  for (int u = 0; u < 200; ++u) {
    const int taste = u % 2;
    for (int e = 0; e < 8; ++e) {
      const int item = u < 2 && e == 3 ? kRare : static_cast<int>(random() % kRare);
      builder.AddEvent(absl::StrCat("u", u), name(taste, item), kView, 0, e);
    }
  }
  for (int i = 0; i < kItemsOfTaste; ++i) {
    builder.SetItem(name(0, i), "", {"hats"});
    builder.SetItem(name(1, i), "", {"shoes"});
  }
  const Dataset data = *builder.Build();
  const ItemFeatures shared = MakeItemFeatures(data);
  ASSERT_EQ(shared.num_features, 2u);
  // Of the difference between the rare items' scores for users of their taste and of the other one, what is
  // common to the frequent items.
  const auto separation = [&](const ItemFeatures* features, ThreadPool* pool) {
    FitOptions options;
    options.als.dim = 8;
    options.item_features = features != nullptr;
    options.attention.learning_rate = 0.01f;
    Progress quiet(nullptr);
    const FittedModel fitted = *FitModel(data, {}, 20, options, pool, &quiet);
    EXPECT_EQ(fitted.num_item_features, features != nullptr ? 2u : 0u);
    const MatrixF& v = fitted.attention.items;
    const auto row = [&](int taste, int i) {
      const auto at = std::find(data.item_ids.begin(), data.item_ids.end(), name(taste, i));
      return v.row(at - data.item_ids.begin());
    };
    VectorF difference = VectorF::Zero(v.cols());
    for (int i = 0; i < kRare; ++i) difference += (row(0, i) - row(1, i)).transpose() / kRare;
    return (row(0, kRare) - row(1, kRare)).dot(difference) / difference.squaredNorm();
  };
  const float without = separation(nullptr, nullptr), with = separation(&shared, nullptr);
  EXPECT_GT(with, 0.5f);
  EXPECT_GT(with, without + 0.2f) << without;
  ThreadPool pool(2);
  EXPECT_EQ(separation(&shared, &pool), with) << "depends on the number of threads";
}

}  // namespace
}  // namespace swiftlet
