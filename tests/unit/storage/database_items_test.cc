// Items of storage/database.h.
#include <limits>
#include <map>

#include "rocksdb/db.h"
#include "storage/coding.h"
#include "storage/database.h"
#include "storage/schema.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::Fails;
using storage_testing::Item;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::TempDir;

TEST(DatabaseItemsTest, ItemsAreReadBackAlsoAfterARestart) {
  const TempDir dir;
  const DatabaseOptions options = {.path = dir.Path("db")};
  auto db = OpenOrDie(options);
  std::vector<CatalogItem> items;
  for (int i = 0; i < 100; ++i) {
    items.push_back({.item_id = absl::StrCat("item", i),
                     .deleted = i % 7 == 0,
                     .has_metadata = true,
                     .title = absl::StrCat("Title ", i),
                     .categories = {"A", absl::StrCat("C", i % 3)},
                     .vector = std::vector<float>(static_cast<size_t>(i % 5), 0.5f),
                     .space = "s"});
  }
  ASSERT_OK(db->WriteItems(items));
  items[3].title = "changed";
  ASSERT_OK(db->WriteItems({{items[3]}}));
  ASSERT_OK(db->WriteItems({}));
  ASSERT_OK(db->RecordEvents({{Event("u", "only in an event", 1)}}, kNow).status());
  for (int round = 0; round < 2; ++round) {
    for (const CatalogItem& item : items) {
      const auto read = db->ReadItem(ItemKeyOf(item.item_id));
      ASSERT_OK(read.status());
      ASSERT_TRUE(read->has_value());
      EXPECT_EQ((*read)->title, item.title);
      EXPECT_EQ((*read)->vector, item.vector);
      EXPECT_EQ((*read)->deleted, item.deleted);
    }
    const auto none = db->ReadItem(42);
    ASSERT_OK(none.status());
    EXPECT_FALSE(none->has_value());
    std::map<ItemKey, std::string> seen;
    ItemKey last = 0;
    ASSERT_OK(db->ForEachItem([&](CatalogItem item) {
      const ItemKey key = ItemKeyOf(item.item_id);
      EXPECT_GE(key, last);
      last = key;
      seen[key] = item.title;
    }));
    EXPECT_EQ(seen.size(), items.size());
    EXPECT_EQ(seen[ItemKeyOf("item3")], "changed");
    const auto ids = db->ReadItemIds(
        std::vector<ItemKey>{ItemKeyOf("item5"), 42, ItemKeyOf("only in an event"), ItemKeyOf("item0")});
    ASSERT_OK(ids.status());
    EXPECT_THAT(*ids, testing::ElementsAre("item5", "", "only in an event", "item0"));
    db = nullptr;
    db = OpenOrDie(options);
  }
}

TEST(DatabaseItemsTest, ABadItemStopsTheWholeBatch) {
  const TempDir dir;
  const auto db = OpenOrDie({.path = dir.Path("db")});
  EXPECT_THAT(db->WriteItems(std::vector<CatalogItem>{Item("good"), Item("")}),
              Fails(absl::StatusCode::kInvalidArgument, "items[1].item_id"));
  EXPECT_THAT(db->WriteItems(std::vector<CatalogItem>{
                  Item("good"), Item("x", "", {std::numeric_limits<float>::infinity()})}),
              Fails(absl::StatusCode::kInvalidArgument, "items[1].vector"));
  const auto read = db->ReadItem(ItemKeyOf("good"));
  ASSERT_OK(read.status());
  EXPECT_FALSE(read->has_value());
}

// Two ids with one XXH3-64 value cannot be made at will: the test plants another id under the key.
TEST(DatabaseItemsTest, TwoIdsWithOneKeyAreRefused) {
  const TempDir dir;
  const std::string path = dir.Path("db");
  OpenOrDie({.path = path}).reset();
  {
    std::vector<std::string> names;
    ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, path, &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const std::string& name : names) families.emplace_back(name, FamilyOptions(name, {}));
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, path, families, &handles, &raw).ok());
    for (auto* handle : handles) {
      if (handle->GetName() == kItemIdsFamily) {
        ASSERT_TRUE(raw->Put({}, handle, EncodeKey64(ItemKeyOf("victim")), "impostor").ok());
      }
      ASSERT_TRUE(raw->DestroyColumnFamilyHandle(handle).ok());
    }
    delete raw;
  }
  const auto db = OpenOrDie({.path = path});
  EXPECT_THAT(db->WriteItems({{Item("victim")}}), Fails(absl::StatusCode::kInvalidArgument, "\"impostor\""));
  EXPECT_THAT(db->RecordEvents({{Event("u", "victim", 1)}}, kNow).status(),
              Fails(absl::StatusCode::kInvalidArgument, "same 64-bit key"));
  EXPECT_TRUE(storage_testing::HistoryOf(*db, "u").empty());
}

}  // namespace
}  // namespace swiftlet
