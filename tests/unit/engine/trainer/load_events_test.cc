#include "engine/trainer/load_events.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trainer_testing::kDislike;
using trainer_testing::kRating;
using trainer_testing::kView;
using trainer_testing::WriteFile;

class LoadEventsTest : public ::testing::Test {
 protected:
  absl::StatusOr<LoadStats> Load(const std::string& text, EventFileOptions options = {}) {
    builder_ = DatasetBuilder(EventTypeTable::Default());
    options.path = dir_.File("e.csv");
    WriteFile(options.path, text);
    return LoadEventFile(options, &builder_);
  }
  std::string Error(const std::string& text, const EventFileOptions& options = {}) {
    return std::string(Load(text, options).status().message());
  }
  testing::TempDir dir_;
  DatasetBuilder builder_{EventTypeTable::Default()};
};

TEST_F(LoadEventsTest, FindsTheUsualColumnsInAnyCaseAndOrder) {
  ASSERT_TRUE(Load("rating,movieId,timestamp,userId\n4.5,m 1,1000,\xC3\xA4\n").ok());
  const Dataset data = *builder_.Build();
  EXPECT_THAT(data.user_ids, ElementsAre("\xC3\xA4"));
  EXPECT_THAT(data.item_ids, ElementsAre("m 1"));
  EXPECT_THAT(data.events, ElementsAre(TrainingEvent{0, 0, 1'000'000, 4.5f, kRating}));
}

TEST_F(LoadEventsTest, TakesNamedColumnsTypesAndUnits) {
  EventFileOptions options;
  options.user_column = "who";
  options.item_column = "what";
  options.time_column = "when";
  options.type_column = "how";
  options.time_unit = TimeUnit::kMilliseconds;
  ASSERT_TRUE(Load("who,what,when,how\nu,i,5,view\nu,j,6,dislike\n", options).ok());
  EXPECT_THAT(builder_.Build()->events,
              ElementsAre(TrainingEvent{0, 0, 5, 0, kView}, TrainingEvent{0, 1, 6, 0, kDislike}));
}

TEST_F(LoadEventsTest, GuessesMillisecondsAndKeepsFileOrderWithoutATime) {
  ASSERT_TRUE(Load("user,item,timestamp\nu,i,1700000000000\n").ok());
  EXPECT_EQ(builder_.Build()->events[0].timestamp_ms, 1'700'000'000'000);
  ASSERT_TRUE(Load("user,item,timestamp\nu,i,1700000000.5\n").ok());
  EXPECT_EQ(builder_.Build()->events[0].timestamp_ms, 1'700'000'000'500);
  ASSERT_TRUE(Load("user,item\nu,z\nu,a\n").ok());
  const Dataset data = *builder_.Build();
  EXPECT_EQ(data.item_ids[data.events[0].item], "z");
  EXPECT_EQ(data.events[0].type, kView);
}

TEST_F(LoadEventsTest, ErrorsNameFileLineColumnValueAndExpectation) {
  EXPECT_THAT(Error("user,item,rating\nu,i,4\nu,j,nan\n"),
              HasSubstr("e.csv:3: column \"rating\": \"nan\" is not a finite number"));
  EXPECT_THAT(Error("user,item,rating\nu,i,four\n"), HasSubstr("e.csv:2: column \"rating\": \"four\""));
  EXPECT_THAT(Error("user,item,timestamp\nu,i,-5\n"), HasSubstr("\"-5\" is not a time; expected seconds"));
  EXPECT_THAT(Error("user,item,timestamp\nu,i,inf\n"), HasSubstr("column \"timestamp\""));
  EXPECT_THAT(Error("user,item\n,i\n"),
              HasSubstr("e.csv:2: column \"user\": \"\" is not an id; expected 1 to 256"));
  EXPECT_THAT(Error("user,item\nu," + std::string(257, 'x') + "\n"), HasSubstr("column \"item\""));
  EXPECT_THAT(Error("user,item,type\nu,i,buy\n"),
              HasSubstr("\"buy\" is not an event type; expected one of view"));
  EXPECT_THAT(Error("user,item\nu\n"), HasSubstr("e.csv:2: 1 fields, expected 2"));
  EXPECT_THAT(Error("person,item\nu,i\n"),
              HasSubstr("e.csv:1: no column called one of user, user_id, userid"));
  EventFileOptions options;
  options.value_column = "stars";
  EXPECT_THAT(Error("user,item\nu,i\n", options),
              HasSubstr("no column \"stars\" (--value-column); the header has: user, item"));
  options = {};
  options.time_unit = TimeUnit::kSeconds;
  EXPECT_THAT(Error("user,item,time\nu,i,1700000000000\n", options), HasSubstr("--time-unit ms?"));
  options = {};
  options.default_type = "buy";
  EXPECT_THAT(Error("user,item\nu,i\n", options), HasSubstr("--default-type: \"buy\""));
}

TEST_F(LoadEventsTest, ToleratesAsManyBadLinesAsAllowedAndCountsThem) {
  EventFileOptions options;
  options.max_bad_lines = 2;
  const std::string two = "user,item,rating\nu,i,x\nu,j,3\nu\n";
  auto stats = Load(two, options);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->num_bad_lines, 2u);
  EXPECT_EQ(stats->num_records, 1u);
  EXPECT_THAT(stats->first_bad, HasSubstr("e.csv:2: column \"rating\""));
  EXPECT_THAT(Error(two + "u,k,y\n", options),
              HasSubstr("e.csv:5: column \"rating\": \"y\" is not a finite number "
                        "(more than 2 bad lines; the first:"));
}

TEST_F(LoadEventsTest, AnEmptyFileOrAHeaderAloneLeavesNothingToTrainOn) {
  EXPECT_THAT(Error(""), HasSubstr("the file is empty"));
  ASSERT_TRUE(Load("user,item\n").ok());
  EXPECT_EQ(builder_.Build().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(LoadEventsTest, ReadsItemsWithCategories) {
  WriteFile(dir_.File("i.tsv"), "item\ttitle\tgenres\n1\tToy Story\tComedy| Drama |Comedy|\n2\t\t\n");
  std::vector<ItemRecord> items;
  ItemFileOptions options;
  options.path = dir_.File("i.tsv");
  ASSERT_TRUE(LoadItemFile(options, &items).ok());
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].title, "Toy Story");
  EXPECT_THAT(items[0].categories, ElementsAre("Comedy", "Drama"));
  EXPECT_TRUE(items[1].categories.empty());
  WriteFile(dir_.File("i.tsv"), "item\ttitle\n1\t" + std::string(1025, 'x') + "\n");
  EXPECT_THAT(std::string(LoadItemFile(options, &items).status().message()),
              HasSubstr("i.tsv:2: column \"title\": a title of 1025 bytes"));
}

// The snapshot's writer takes no such name: it would fail when the model has been trained.
TEST_F(LoadEventsTest, ACategoryWithANulByteIsABadLine) {
  WriteFile(dir_.File("i.tsv"), std::string("item\tgenres\n1\tDra\0ma\n2\tComedy\n", 30));
  std::vector<ItemRecord> items;
  ItemFileOptions options;
  options.path = dir_.File("i.tsv");
  EXPECT_THAT(std::string(LoadItemFile(options, &items).status().message()),
              HasSubstr("i.tsv:2: column \"genres\": \"Dra\\000ma\" holds a NUL byte"));
  options.max_bad_lines = 1;
  items.clear();
  ASSERT_TRUE(LoadItemFile(options, &items).ok());
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].item_id, "2");
}

}  // namespace
}  // namespace swiftlet
