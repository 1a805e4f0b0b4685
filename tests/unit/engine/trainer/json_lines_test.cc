#include "engine/trainer/json_lines.h"

#include <zlib.h>

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

class JsonLinesTest : public ::testing::Test {
 protected:
  absl::StatusOr<LoadStats> Load(const std::string& text, uint64_t max_bad_lines = 0) {
    builder_ = DatasetBuilder(EventTypeTable::Default());
    EventFileOptions options;
    options.path = dir_.File("e.jsonl");
    options.max_bad_lines = max_bad_lines;
    WriteFile(options.path, text);
    return LoadEventFile(options, &builder_);
  }
  std::string Error(const std::string& text) { return std::string(Load(text).status().message()); }
  testing::TempDir dir_;
  DatasetBuilder builder_{EventTypeTable::Default()};
};

TEST_F(JsonLinesTest, ReadsEventsAndIgnoresUnknownMembers) {
  const auto stats = Load(
      "{\"user\": \"\xC3\xA4 b\", \"item\": 17, \"rating\": 4.5, \"ts\": 1000, \"more\": {\"deep\": [1, "
      "{}]}}\n"
      "\n"
      "{\"item\": \"m\\u00f6\", \"user\": \"z\", \"ts\": 2000, \"rating\": null}\r\n");
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->num_records, 2u);
  const Dataset data = *builder_.Build();
  EXPECT_THAT(data.user_ids, ElementsAre("z", "\xC3\xA4 b"));
  EXPECT_THAT(data.item_ids, ElementsAre("17", "m\xC3\xB6"));
  EXPECT_THAT(data.events, ElementsAre(TrainingEvent{0, 1, 2'000'000, 0, kRating},
                                       TrainingEvent{1, 0, 1'000'000, 4.5f, kRating}));
}

TEST_F(JsonLinesTest, AMemberThatAppearsLateCounts) {
  std::string text;
  for (int e = 0; e < 50; ++e)
    absl::StrAppend(&text, "{\"user\": \"u\", \"item\": \"i\", \"type\": \"view\"}\n");
  ASSERT_TRUE(
      Load(text + "{\"user\": \"u\", \"item\": \"i\", \"type\": \"dislike\", \"timestamp\": 5}\n", 50).ok());
  EXPECT_THAT(Error(text + "{\"user\": \"u\", \"item\": \"i\", \"type\": \"dislike\", \"timestamp\": 5}\n"),
              HasSubstr("e.jsonl:1: column \"timestamp\": \"\" is not a time"));
}

TEST_F(JsonLinesTest, BadLinesAreNamedCountedAndRefused) {
  const std::string good = "{\"user\": \"u\", \"item\": \"i\"}\n";
  EXPECT_THAT(Error(good + "{\"user\": \"u\",\n"), HasSubstr("e.jsonl:2: not a JSON object"));
  EXPECT_THAT(Error(good + "[1]\n"), HasSubstr("e.jsonl:2: not a JSON object"));
  EXPECT_THAT(Error(good + "{\"user\": \"u\", \"user\": \"v\", \"item\": \"i\"}\n"),
              HasSubstr("\"user\" appears twice"));
  EXPECT_THAT(Error(good + "{\"user\": \"u\"}\n"),
              HasSubstr("e.jsonl:2: column \"item\": \"\" is not an id"));
  EXPECT_THAT(Error(good + "{\"user\": {}, \"item\": \"i\"}\n"), HasSubstr("column \"user\""));
  EXPECT_THAT(Error(good + "{\"user\": \"\xFF\", \"item\": \"i\"}\n"), HasSubstr("not UTF-8"));
  EXPECT_THAT(Error(good + "{\"user\": \"u\", \"item\": \"i\", \"x\": " + std::string(100'000, '[') + "\n"),
              HasSubstr("e.jsonl:2: "));
  EXPECT_THAT(Error(""), HasSubstr("the file is empty"));
  EXPECT_THAT(Error("nothing\n"), HasSubstr("e.jsonl:1: not a JSON object"));
  EXPECT_THAT(Error("{\"user\": \"u\"}\n"), HasSubstr("--item-column"));
  const auto stats = Load("x\n" + good + "{}\n" + good, 2);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->num_records, 2u);
  EXPECT_EQ(stats->num_bad_lines, 2u);
  EXPECT_THAT(stats->first_bad, HasSubstr("e.jsonl:1"));
}

TEST_F(JsonLinesTest, ItemsTakeListsOfCategoriesAndGzip) {
  ItemFileOptions options;
  options.path = dir_.File("i.jsonl.gz");
  const std::string text =
      "{\"id\": \"a\", \"title\": \"A | B\", \"genres\": [\"Sci-Fi|Horror\", \"War\"]}\n"
      "{\"id\": \"b\", \"genres\": \"x|y\"}\n{\"id\": \"c\", \"genres\": []}\n";
  gzFile file = gzopen(options.path.c_str(), "wb");
  ASSERT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
  gzclose(file);
  std::vector<ItemRecord> items;
  const auto stats = LoadItemFile(options, &items);
  ASSERT_TRUE(stats.ok()) << stats.status();
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].title, "A | B");
  EXPECT_THAT(items[0].categories, ElementsAre("Sci-Fi|Horror", "War"));
  EXPECT_THAT(items[1].categories, ElementsAre("x", "y"));
  EXPECT_TRUE(items[2].categories.empty());
  WriteFile(dir_.File("t.jsonl"), "{\"id\": \"a\", \"title\": {\"en\": \"A\"}}\n");
  options.path = dir_.File("t.jsonl");
  EXPECT_THAT(std::string(LoadItemFile(options, &items).status().message()),
              HasSubstr("t.jsonl:1: column \"title\""));
}

}  // namespace
}  // namespace swiftlet
