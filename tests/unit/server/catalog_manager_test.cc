#include "server/catalog_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

class CatalogManagerTest : public ::testing::Test {
 protected:
  CatalogManagerTest() {
    database_ = *Database::Open({.path = dir_.File("data")}, EventTypeTable::Default());
    snapshot_ = testing::WriteAndLoad(dir_.File("model"), testing::RandomSnapshot({.dim = 4}));
    catalog_ = std::make_unique<CatalogManager>(database_.get(), &reaper_);
  }
  ~CatalogManagerTest() override { catalog_->Clear(); }
  void Serve() {
    absl::StatusOr<std::shared_ptr<const ServingState>> state = catalog_->Prepare(snapshot_);
    ASSERT_TRUE(state.ok());
    catalog_->Publish(*std::move(state));
  }
  ItemInfo Get(const std::string& id) {
    const std::shared_ptr<const ServingState> state = catalog_->Acquire();
    return catalog_->Get(state.get(), std::vector<std::string>{id})->front();
  }
  absl::Status Upsert(const ItemChange& change) { return catalog_->Upsert({&change, 1}); }

  testing::TempDir dir_;
  std::unique_ptr<Database> database_;
  std::shared_ptr<const ModelSnapshot> snapshot_;
  Reaper reaper_;
  std::unique_ptr<CatalogManager> catalog_;
};

TEST_F(CatalogManagerTest, AChangeIsDurableAndVisibleWhenItIsAcknowledged) {
  Serve();
  ASSERT_TRUE(Upsert({.item_id = "new", .vector = {1, 2, 3, 4}}).ok());
  EXPECT_EQ(Get("new").status, ItemStatus::kRecommendable);
  EXPECT_THAT(Get("new").vector, ::testing::ElementsAre(1, 2, 3, 4));
  const absl::StatusOr<std::optional<CatalogItem>> stored = database_->ReadItem(ItemKeyOf("new"));
  ASSERT_TRUE(stored.ok() && stored->has_value());
  EXPECT_EQ((*stored)->space, "test-space");
}

TEST_F(CatalogManagerTest, AChangeBetweenPrepareAndPublishIsInThePublishedState) {
  Serve();
  ASSERT_TRUE(Upsert({.item_id = "before", .vector = {1, 0, 0, 0}}).ok());
  absl::StatusOr<std::shared_ptr<const ServingState>> prepared = catalog_->Prepare(snapshot_);
  ASSERT_TRUE(prepared.ok());
  ASSERT_TRUE(Upsert({.item_id = "during", .vector = {0, 1, 0, 0}}).ok());
  ASSERT_TRUE(Upsert({.item_id = "during", .has_metadata = true, .title = "Twice"}).ok());
  ASSERT_TRUE(catalog_->Delete(std::vector<std::string>{"item-3", "before"}).ok());
  catalog_->Publish(*std::move(prepared));
  EXPECT_EQ(Get("during").status, ItemStatus::kRecommendable);
  EXPECT_EQ(Get("during").title, "Twice");
  EXPECT_THAT(Get("during").vector, ::testing::ElementsAre(0, 1, 0, 0));
  EXPECT_EQ(Get("before").status, ItemStatus::kDeleted);
  const std::shared_ptr<const ServingState> state = catalog_->Acquire();
  EXPECT_TRUE(state->view->IsMasked(*state->view->FindRow(ItemKeyOf("item-3"))));
}

TEST_F(CatalogManagerTest, AnAbandonedPreparationChangesNothing) {
  Serve();
  absl::StatusOr<std::shared_ptr<const ServingState>> prepared = catalog_->Prepare(snapshot_);
  ASSERT_TRUE(prepared.ok());
  const std::shared_ptr<const ServingState> before = catalog_->Acquire();
  catalog_->Abandon(*std::move(prepared));
  EXPECT_EQ(catalog_->Acquire(), before);
  ASSERT_TRUE(Upsert({.item_id = "x", .vector = {1, 1, 1, 1}}).ok());
  EXPECT_EQ(Get("x").status, ItemStatus::kRecommendable);
}

TEST_F(CatalogManagerTest, AnItemWithoutAVectorFollowsItsCategoriesAndTheSnapshot) {
  ASSERT_TRUE(Upsert({.item_id = "early", .has_metadata = true, .categories = {"cat-1"}}).ok());
  EXPECT_EQ(Get("early").status, ItemStatus::kNoVector) << "no snapshot, no categories";
  Serve();
  ItemInfo early = Get("early");
  EXPECT_EQ(early.status, ItemStatus::kRecommendable);
  EXPECT_TRUE(early.vector_from_categories);
  EXPECT_TRUE(early.changed_since_snapshot);
  ASSERT_TRUE(
      Upsert({.item_id = "late", .has_metadata = true, .categories = {"cat-1", "nothing has it"}}).ok());
  EXPECT_EQ(Get("late").vector, early.vector);
  ASSERT_TRUE(Upsert({.item_id = "late", .has_metadata = true, .categories = {"nothing has it"}}).ok());
  EXPECT_EQ(Get("late").status, ItemStatus::kNoVector);
  EXPECT_TRUE(Get("late").vector.empty());

  // Of the next snapshot it is the mean of that one, until a snapshot has the item.
  absl::StatusOr<std::shared_ptr<const ServingState>> prepared = catalog_->Prepare(testing::WriteAndLoad(
      dir_.File("model-2"), testing::RandomSnapshot({.dim = 4, .seed = 2, .version = 2})));
  ASSERT_TRUE(prepared.ok());
  ASSERT_TRUE(Upsert({.item_id = "late", .has_metadata = true, .categories = {"cat-1"}}).ok());
  catalog_->Publish(*std::move(prepared));
  EXPECT_NE(Get("early").vector, early.vector);
  EXPECT_EQ(Get("early").vector, Get("late").vector) << "one came with the build, one with the changes since";
  SnapshotContents with_early = testing::RandomSnapshot({.dim = 4, .seed = 3, .version = 3});
  with_early.item_ids[7] = "early";
  snapshot_ = testing::WriteAndLoad(dir_.File("model-3"), with_early);
  Serve();
  early = Get("early");
  EXPECT_FALSE(early.vector_from_categories);
  EXPECT_THAT(early.vector, ::testing::ElementsAreArray(snapshot_->ItemVector(7).Values()));
  EXPECT_TRUE(Get("late").vector_from_categories);
}

TEST_F(CatalogManagerTest, ARefusedBatchWritesNothing) {
  Serve();
  const std::vector<ItemChange> changes = {{.item_id = "good", .vector = {1, 2, 3, 4}},
                                           {.item_id = "bad", .vector = {1, 2, 3}}};
  EXPECT_EQ(catalog_->Upsert(changes).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Get("good").status, ItemStatus::kUnknown);
  EXPECT_FALSE(database_->ReadItem(ItemKeyOf("good"))->has_value());
}

TEST_F(CatalogManagerTest, WithoutASnapshotMetadataIsKeptAndVectorsAreRefused) {
  EXPECT_EQ(Upsert({.item_id = "a", .vector = {1, 2, 3, 4}}).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Upsert({.item_id = "a", .has_metadata = true, .title = "A"}).ok());
  EXPECT_EQ(Get("a").status, ItemStatus::kNoVector);
  EXPECT_EQ(*catalog_->Delete(std::vector<std::string>{"a", "b", "a"}), 1);
  EXPECT_EQ(Get("a").status, ItemStatus::kDeleted);
  Serve();
  EXPECT_EQ(Get("a").status, ItemStatus::kDeleted);
  EXPECT_EQ(Get("item-1").status, ItemStatus::kRecommendable);
  EXPECT_FALSE(Get("item-1").changed_since_snapshot);
}

}  // namespace
}  // namespace swiftlet
