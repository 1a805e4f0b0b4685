#include "engine/trainer/content_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/trainer/evaluate_cold.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using trainer_testing::kRating;
constexpr uint32_t kGroups = 4, kItemsOfGroup = 15;
constexpr const char* kWords[kGroups] = {"rocket", "waltz", "garden", "harbour"};

ItemDescription Describe(const std::string& id, uint32_t group) {
  return {.item_id = id,
          .title = absl::StrCat("The ", kWords[group], " ", id),
          .categories = {absl::StrCat("group-", group)}};
}

// Users who stay within a group of items, and new items of each group at the end of time, of which only
// new-<group> is described where `describe_new`.
Dataset Data(bool described, bool new_items_have_events) {
  DatasetBuilder builder(EventTypeTable::Default());
  std::mt19937_64 random(1);
  for (uint32_t u = 0; u < 120; ++u) {
    const uint32_t group = u % kGroups;
    for (uint32_t e = 0; e < 10; ++e) {
      builder.AddEvent(absl::StrCat("u", u),
                       absl::StrCat("i", group * kItemsOfGroup + random() % kItemsOfGroup), kRating, 5,
                       1'000'000'000'000 + int64_t{e} * 1000);
    }
    if (new_items_have_events) {
      builder.AddEvent(absl::StrCat("u", u), absl::StrCat("new-", group), kRating, 5, 1'000'000'900'000);
    }
  }
  for (uint32_t group = 0; described && group < kGroups; ++group) {
    for (uint32_t i = 0; i < kItemsOfGroup; ++i) {
      const ItemDescription item = Describe(absl::StrCat("i", group * kItemsOfGroup + i), group);
      builder.SetItem(item.item_id, item.title, item.categories);
    }
    const ItemDescription item = Describe(absl::StrCat("new-", group), group);
    builder.SetItem(item.item_id, item.title, item.categories);
  }
  return *builder.Build();
}

TrainedModel Train(const Dataset& data) {
  TrainingOptions options;
  options.epochs = 3;
  options.attention.als.dim = 8;
  Progress quiet(nullptr);
  absl::StatusOr<TrainedModel> model = TrainModel({.data = &data}, options, nullptr, &quiet);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

std::shared_ptr<const ModelSnapshot> Write(const std::string& directory, TrainedModel model,
                                           const Dataset& data) {
  std::filesystem::create_directories(directory);
  const absl::Status status = WriteTrainedModel(directory, std::move(model), data, 1, 1000);
  EXPECT_TRUE(status.ok()) << status;
  absl::StatusOr<std::shared_ptr<const ModelSnapshot>> snapshot = ModelSnapshot::Load(directory, {});
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return *std::move(snapshot);
}

TEST(ContentModelTest, ItemsWithoutEventsAreWhereUpsertsWouldPutThemAndAreRecommendedToTheirGroup) {
  const testing::TempDir dir;
  const Dataset data = Data(/*described=*/true, /*new_items_have_events=*/false);
  ASSERT_EQ(data.unseen_items.size(), kGroups);
  TrainedModel model = Train(data);
  Progress quiet(nullptr);

  Dataset seen_only = data;
  seen_only.unseen_items.clear();
  TrainedModel upserted_model = model;
  ASSERT_TRUE(AddContent(seen_only, {}, {}, nullptr, &quiet, &upserted_model).ok());
  ASSERT_TRUE(AddContent(data, {}, {}, nullptr, &quiet, &model).ok());
  const auto with_rows = Write(dir.File("rows"), std::move(model), data);
  const auto without_rows = Write(dir.File("none"), std::move(upserted_model), seen_only);
  ASSERT_EQ(with_rows->num_items(), data.num_items() + kGroups);
  ASSERT_EQ(without_rows->num_items(), data.num_items());
  std::vector<CatalogItem> items;
  for (const ItemDescription& item : data.unseen_items) {
    items.push_back(
        {.item_id = item.item_id, .has_metadata = true, .title = item.title, .categories = item.categories});
  }
  const auto view = CatalogView::Build(*without_rows, items);
  const auto rows_view = CatalogView::Build(*with_rows, {});
  Scratch scratch;
  for (uint32_t group = 0; group < kGroups; ++group) {
    const ItemKey key = ItemKeyOf(absl::StrCat("new-", group));
    const uint32_t row = *with_rows->FindRow(key), added = *view->FindRow(key);
    EXPECT_GE(added, without_rows->num_items());
    EXPECT_TRUE(view->HasContentVector(added));
    EXPECT_FALSE(view->HasCategoryVector(added));
    for (uint32_t j = 0; j < with_rows->dim(); ++j) {
      EXPECT_NEAR(with_rows->ItemVector(row)[j], view->ItemVector(added)[j], 1e-5);
      EXPECT_NEAR(with_rows->InputVector(row)[j], view->InputVector(added)[j], 1e-5);
    }
    EXPECT_NEAR(with_rows->Bias(row), view->Bias(added), 1e-5);
    EXPECT_NEAR(with_rows->AttentionLogit(row), view->AttentionLogit(added), 1e-5);
    EXPECT_EQ(with_rows->Popularity(row), 0);
    EXPECT_EQ(with_rows->Title(row), view->Title(added));

    // A user of the group, and one of the next: the order of the new items.
    for (const auto& [snapshot, items_view] :
         {std::pair(with_rows.get(), rows_view.get()), std::pair(without_rows.get(), view.get())}) {
      std::vector<HistoryEvent> history;
      for (uint32_t i = 0; i < 3; ++i) {
        history.push_back({ItemKeyOf(absl::StrCat("i", group * kItemsOfGroup + i)), 1000 + i, 5, kRating});
      }
      std::vector<uint32_t> rows;
      for (uint32_t other = 0; other < kGroups; ++other) {
        rows.push_back(*items_view->FindRow(ItemKeyOf(absl::StrCat("new-", other))));
      }
      Recommendation scored;
      ASSERT_TRUE(ScoreItems(*snapshot, *items_view, {}, {.history = history}, rows, scratch, &scored).ok());
      for (uint32_t other = 0; other < kGroups; ++other) {
        if (other == group) continue;
        EXPECT_GT(scored.items[group].score, scored.items[other].score);
      }
    }
  }
}

TEST(ContentModelTest, AnItemThatIsUpsertedAgainMovesAndOneThatIsUnknownFallsBack) {
  const testing::TempDir dir;
  const Dataset data = Data(true, false);
  TrainedModel model = Train(data);
  Progress quiet(nullptr);
  ASSERT_TRUE(AddContent(data, {}, {}, nullptr, &quiet, &model).ok());
  const auto snapshot = Write(dir.path(), std::move(model), data);
  const auto row_of = [](const CatalogView& view) { return view.FindRow(ItemKeyOf("late")); };
  CatalogItem item{.item_id = "late", .has_metadata = true, .title = "", .categories = {}};
  auto view = CatalogView::Build(*snapshot, {{item}});
  EXPECT_FALSE(row_of(*view).has_value()) << "nothing is known about it";
  EXPECT_EQ(view->num_items_without_vector(), 1u);
  item.title = "garden";
  view = view->With({{item}});
  ASSERT_TRUE(row_of(*view).has_value());
  const std::vector<float> by_title = view->ItemVector(*row_of(*view)).Values();
  EXPECT_EQ(view->num_items_without_vector(), 0u);
  item.title = "rocket";
  view = view->With({{item}});
  EXPECT_NE(view->ItemVector(*row_of(*view)).Values(), by_title);
  const float content_bias = view->Bias(*row_of(*view));
  EXPECT_NE(content_bias, 0);
  // The very vector that it has, but now its own: the bias goes.
  item.vector = view->ItemVector(*row_of(*view)).Values();
  item.space = snapshot->manifest().embedding_space;
  view = view->With({{item}});
  EXPECT_FALSE(view->HasContentVector(*row_of(*view)));
  EXPECT_EQ(view->Bias(*row_of(*view)), 0);
  item.vector.clear();
  view = view->With({{item}});
  EXPECT_EQ(view->Bias(*row_of(*view)), content_bias);
  // The same states make the same view.
  const auto fresh = CatalogView::Build(*snapshot, {{item}});
  EXPECT_EQ(fresh->ItemVector(*row_of(*fresh)).Values(), view->ItemVector(*row_of(*view)).Values());
  item.title = "xyzzy";
  view = view->With({{item}});
  EXPECT_FALSE(row_of(*view).has_value());
  item.deleted = true;
  item.title = "garden";
  view = view->With({{item}});
  EXPECT_TRUE(view->IsMasked(*row_of(*view)));
}

TEST(ContentModelTest, WithoutDescriptionsTheModelStaysAsItIs) {
  const Dataset data = Data(false, false);
  TrainedModel model = Train(data);
  Progress quiet(nullptr);
  ASSERT_TRUE(AddContent(data, {}, {}, nullptr, &quiet, &model).ok());
  EXPECT_FALSE(model.contents.content.has_value());
  const Dataset described = Data(true, false);
  TrainedModel other = Train(described);
  ASSERT_TRUE(AddContent(described, {}, {.enabled = false, .fit = {}}, nullptr, &quiet, &other).ok());
  EXPECT_FALSE(other.contents.content.has_value());
  EXPECT_EQ(other.contents.item_ids.size(), described.num_items());
}

TEST(ContentModelTest, ItemsWithoutEventsJoinABlendAndNoModelOfNeighboursAlone) {
  const testing::TempDir dir;
  const Dataset data = Data(true, false);
  Progress quiet(nullptr);
  for (const char* kind : {"ease", "blend"}) {
    SCOPED_TRACE(kind);
    TrainingOptions options;
    options.kind = kind;
    options.attention.als.dim = 8;
    options.attention.als.epochs = 3;
    absl::StatusOr<TrainedModel> model = TrainModel({.data = &data}, options, nullptr, &quiet);
    ASSERT_TRUE(model.ok()) << model.status();
    ASSERT_TRUE(AddContent(data, {}, {}, nullptr, &quiet, &*model).ok());
    const bool has_vectors = model->contents.encoders[0].encoder.kind != kNoVectorKind;
    const auto snapshot = Write(dir.File(kind), *std::move(model), data);
    EXPECT_EQ(snapshot->num_items(), data.num_items() + (has_vectors ? kGroups : 0));
    EXPECT_EQ(snapshot->content_tower() != nullptr, has_vectors);
    const auto view = CatalogView::Build(*snapshot, {});
    const HistoryEvent history[] = {{ItemKeyOf("i0"), 1000, 5, kRating}, {ItemKeyOf("i1"), 2000, 5, kRating}};
    Scratch scratch;
    Recommendation shown;
    ASSERT_TRUE(Recommend(*snapshot, *view, {.k = 5}, {.history = history}, scratch, &shown).ok());
    EXPECT_EQ(shown.items.size(), 5u);
  }
}

TEST(EvaluateColdTest, ContentBeatsChanceOnItemsThatTrainingNeverSaw) {
  const testing::TempDir dir;
  const Dataset data = Data(true, /*new_items_have_events=*/true);
  const auto split = MakeColdSplit(data, {.train_fraction = 0.9, .test_begin = 0.9, .test_end = 1});
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->train.unseen_items.size(), kGroups);
  EXPECT_EQ(split->num_unseen_events, 120u);
  TrainedModel model = Train(split->train);
  Progress quiet(nullptr);
  Dataset seen_only = split->train;
  seen_only.unseen_items.clear();
  ASSERT_TRUE(AddContent(seen_only, {}, {}, nullptr, &quiet, &model).ok());
  const auto snapshot = Write(dir.path(), std::move(model), seen_only);
  const auto content = EvaluateCold(*snapshot, {}, *split, ColdRanker::kModel, {.k = 1});
  const auto chance = EvaluateCold(*snapshot, {}, *split, ColdRanker::kRandom, {.k = 1});
  ASSERT_TRUE(content.ok() && chance.ok());
  EXPECT_EQ(content->num_cold_users, 120u);
  EXPECT_GT(content->recall_among_unseen, 0.9);
  EXPECT_NEAR(chance->recall_among_unseen, 0.25, 0.15);
  EXPECT_LE(content->recall_among_all, content->recall_among_unseen);

  EXPECT_FALSE(MakeColdSplit(data, {.train_fraction = 0.9, .test_begin = 0.5, .test_end = 1}).ok());
  EXPECT_FALSE(MakeColdSplit(data, {.train_fraction = 0, .test_begin = 0.5, .test_end = 1}).ok());
  EXPECT_EQ(MakeColdSplit(Data(true, false), {}).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace swiftlet
