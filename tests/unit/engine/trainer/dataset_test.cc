#include "engine/trainer/dataset.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trainer_testing::kDislike;
using trainer_testing::kRating;
using trainer_testing::kView;

TEST(DatasetTest, SortsIdsByBytesAndEventsByUserTimeArrival) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("b", "y", kView, 0, 20);
  builder.AddEvent("a", "z", kView, 0, 30);
  builder.AddEvent("b", "x", kView, 0, 10);
  builder.AddEvent("b", "z", kView, 0, 10);
  builder.AddEvent("b", "y", kView, 0, 20);  // twice: both are kept
  builder.SetItem("x", "X", {"c"});
  builder.SetItem("unused", "U", {});
  const Dataset data = *builder.Build();
  EXPECT_THAT(data.user_ids, ElementsAre("a", "b"));
  EXPECT_THAT(data.item_ids, ElementsAre("x", "y", "z"));
  EXPECT_THAT(data.user_begin, ElementsAre(0, 1, 5));
  std::vector<uint32_t> items;
  for (const TrainingEvent& e : data.events) items.push_back(e.item);
  EXPECT_THAT(items, ElementsAre(2, 0, 2, 1, 1));
  EXPECT_THAT(data.item_titles, ElementsAre("X", "", ""));
  ASSERT_EQ(data.unseen_items.size(), 1u);
  EXPECT_EQ(data.unseen_items[0].item_id, "unused");
  EXPECT_EQ(data.unseen_items[0].title, "U");
}

TEST(DatasetTest, DropsDeletedItemsAndWhoHasNothingElse) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("a", "gone", kView, 0, 1);
  builder.AddEvent("b", "gone", kView, 0, 1);
  builder.AddEvent("b", "here", kView, 0, 2);
  builder.SetItem("gone", "G", {"c"});
  builder.SetItem("unused", "U", {});
  builder.DropItem("gone");
  builder.DropItem("unused");
  const Dataset data = *builder.Build();
  EXPECT_THAT(data.user_ids, ElementsAre("b"));
  EXPECT_THAT(data.item_ids, ElementsAre("here"));
  EXPECT_TRUE(data.unseen_items.empty()) << "deleted items are not items without events";
}

TEST(DatasetTest, ASubsetKeepsWhatIsKnownAboutItemsThatItLosesAllEventsOf) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("a", "x", kView, 0, 1);
  builder.AddEvent("a", "y", kView, 0, 2);
  builder.AddEvent("a", "z", kView, 0, 3);
  builder.SetItem("x", "X", {"c"}, {{"year", "1953"}});
  builder.SetItem("y", "Y", {});
  builder.SetItem("unused", "U", {});
  const Dataset data = *builder.Build();
  const Dataset part = Subset(data, {false, true, false});
  EXPECT_THAT(part.item_ids, ElementsAre("y"));
  ASSERT_EQ(part.unseen_items.size(), 2u) << "z is not described";
  EXPECT_EQ(part.unseen_items[0].item_id, "unused");
  EXPECT_EQ(part.unseen_items[1].item_id, "x");
  EXPECT_THAT(part.unseen_items[1].categories, ElementsAre("c"));
  EXPECT_EQ(part.unseen_items[1].attributes.at(0).second, "1953");
}

TEST(DatasetTest, FingerprintChangesWithAnyEventAndNotOtherwise) {
  const auto build = [](const std::string& item, float value) {
    DatasetBuilder builder(EventTypeTable::Default());
    builder.AddEvent("u", item, kRating, value, 1);
    builder.SetItem(item, "title", {});
    return Fingerprint(*builder.Build());
  };
  EXPECT_EQ(build("i", 1), build("i", 1));
  EXPECT_NE(build("i", 1), build("j", 1));
  EXPECT_NE(build("i", 1), build("i", 2));
  EXPECT_EQ(build("i", 1).size(), 32u);
}

TEST(DatasetTest, CountsIdenticalEvents) {
  const auto count = [](std::vector<TrainingEvent> events) {
    DatasetBuilder builder(EventTypeTable::Default());
    for (const TrainingEvent& e : events) {
      builder.AddEvent(absl::StrCat(e.user), absl::StrCat(e.item), e.type, e.value, e.timestamp_ms);
    }
    return CountIdentical(*builder.Build());
  };
  const TrainingEvent a{.user = 1, .item = 2, .timestamp_ms = 5, .value = 1, .type = 1};
  TrainingEvent item = a, user = a, time = a, value = a, type = a;
  item.item = user.user = 3;
  time.timestamp_ms = 6;
  value.value = 2;
  type.type = 2;
  EXPECT_EQ(count({a, item, user, time, value, type}), 0u);
  EXPECT_EQ(count({a, item, a, time, item, a}), 3u) << "also where others of the same time are between";
}

TEST(DatasetTest, ClassesSplitValuesAtDecilesOrGivenEdgesAndCarryTheSign) {
  DatasetBuilder builder(EventTypeTable::Default());
  for (int i = 0; i < 10; ++i) builder.AddEvent("u", "i", kRating, static_cast<float>(i / 2), i);
  builder.AddEvent("u", "i", kDislike, 0, 99);
  const Dataset data = *builder.Build();
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(
      MakeEventClasses(data, {}),
      ElementsAre(EventClass{kRating, kLowest, 1}, EventClass{kRating, 1, 1}, EventClass{kRating, 2, 1},
                  EventClass{kRating, 3, 1}, EventClass{kRating, 4, 1}, EventClass{kDislike, kLowest, -1}));
  const ValueEdges given = *ParseValueEdges("rating:2.5", EventTypeTable::Default());
  const std::vector<EventClass> classes = MakeEventClasses(data, {&given, 1});
  EXPECT_THAT(classes, ElementsAre(EventClass{kRating, kLowest, 1}, EventClass{kRating, 2.5f, 1},
                                   EventClass{kDislike, kLowest, -1}));
  EXPECT_EQ(ClassOfEvent(classes, kRating, 2.4f), 0u);
  EXPECT_EQ(ClassOfEvent(classes, kRating, 2.5f), 1u);
  EXPECT_EQ(ClassOfEvent(classes, kDislike, 2.5f), 2u);
}

TEST(DatasetTest, ValueEdgesMustBeWellFormed) {
  const EventTypeTable types = EventTypeTable::Default();
  for (const char* bad : {"rating", "nothing:1", "rating:2,1", "rating:1,1", "rating:x", "rating:nan"}) {
    EXPECT_EQ(ParseValueEdges(bad, types).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_THAT(std::string(ParseValueEdges("rating:x", types).status().message()),
              HasSubstr("expected TYPE:EDGE,EDGE,.. such as rating:2.5,3.5,4.5"));
}

TEST(DatasetTest, SubsetRenumbersUsersAndItems) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("a", "x", kView, 0, 1);
  builder.AddEvent("b", "y", kView, 0, 1);
  builder.AddEvent("c", "z", kView, 0, 1);
  const Dataset part = Subset(*builder.Build(), {true, false, true});
  EXPECT_THAT(part.user_ids, ElementsAre("a", "c"));
  EXPECT_THAT(part.item_ids, ElementsAre("x", "z"));
  EXPECT_THAT(part.events, ElementsAre(TrainingEvent{0, 0, 1, 0, kView}, TrainingEvent{1, 1, 1, 0, kView}));
}

}  // namespace
}  // namespace swiftlet
