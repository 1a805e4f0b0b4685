#include "engine/trainer/text_table.h"

#include <zlib.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trainer_testing::ReadFile;
using trainer_testing::WriteFile;

class TextTableTest : public ::testing::Test {
 protected:
  std::unique_ptr<TextTable> Open(const std::string& name, const std::string& text, char delimiter = 0) {
    WriteFile(dir_.File(name), text);
    auto table = TextTable::Open(dir_.File(name), delimiter);
    EXPECT_TRUE(table.ok()) << table.status();
    return table.ok() ? std::move(*table) : nullptr;
  }
  absl::Status OpenStatus(const std::string& name, const std::string& text) {
    WriteFile(dir_.File(name), text);
    return TextTable::Open(dir_.File(name), 0).status();
  }
  testing::TempDir dir_;
};

TEST_F(TextTableTest, ReadsCsvWithQuotesCrLfEmptyLinesAndByteOrderMark) {
  auto table = Open("t.csv", "\xEF\xBB\xBFuser,title\r\nada,\"a, \"\"b\"\"\nc\"\r\n\r\nbob,\n");
  EXPECT_THAT(table->columns(), ElementsAre("user", "title"));
  std::vector<std::string> fields;
  ASSERT_EQ(*table->Next(&fields), TextTable::Row::kFields);
  EXPECT_THAT(fields, ElementsAre("ada", "a, \"b\"\nc"));
  EXPECT_EQ(table->line(), 2u);
  ASSERT_EQ(*table->Next(&fields), TextTable::Row::kFields);
  EXPECT_THAT(fields, ElementsAre("bob", ""));
  EXPECT_EQ(table->line(), 5u);
  EXPECT_EQ(*table->Next(&fields), TextTable::Row::kEnd);
}

TEST_F(TextTableTest, OnlyOneCarriageReturnBelongsToALineEnd) {
  EXPECT_THAT(Open("t.csv", "a,b\r\r\n1,2\n")->columns(), ElementsAre("a", "b\r"));
  // Nothing but a carriage return is a name too, if a strange one; the next line is not the header then.
  auto table = Open("t.csv", "\r\r\n1\n");
  EXPECT_THAT(table->columns(), ElementsAre("\r"));
  std::vector<std::string> fields;
  ASSERT_EQ(*table->Next(&fields), TextTable::Row::kFields);
  EXPECT_THAT(fields, ElementsAre("1"));
  EXPECT_EQ(table->line(), 2u);
}

TEST_F(TextTableTest, TabsDoNotQuoteAndLastLineMayLackItsEnd) {
  auto table = Open("t.tsv", "a\tb\n\"x\ty\"");
  std::vector<std::string> fields;
  ASSERT_EQ(*table->Next(&fields), TextTable::Row::kFields);
  EXPECT_THAT(fields, ElementsAre("\"x", "y\""));
  EXPECT_EQ(*table->Next(&fields), TextTable::Row::kEnd);
}

TEST_F(TextTableTest, DelimiterOfOtherNamesComesFromTheHeaderOrTheCaller) {
  EXPECT_THAT(Open("t.txt", "a\tb,c\n")->columns(), ElementsAre("a", "b,c"));
  EXPECT_THAT(Open("t.dat", "a,b\n")->columns(), ElementsAre("a", "b"));
  EXPECT_THAT(Open("t.csv", "a;b\n", ';')->columns(), ElementsAre("a", "b"));
}

TEST_F(TextTableTest, ReadsGzipAndRefusesATruncatedOne) {
  std::string text = "a,b\n";
  for (int i = 0; i < 100000; ++i) text += std::to_string(i * 7919) + "," + std::to_string(i) + "\n";
  gzFile file = gzopen(dir_.File("t.csv.gz").c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  auto table = TextTable::Open(dir_.File("t.csv.gz"), 0);
  ASSERT_TRUE(table.ok()) << table.status();
  std::vector<std::string> fields;
  int rows = 0;
  while (*(*table)->Next(&fields) == TextTable::Row::kFields) ++rows;
  EXPECT_EQ(rows, 100000);
  EXPECT_THAT(fields, ElementsAre());

  const std::string packed = ReadFile(dir_.File("t.csv.gz"));
  WriteFile(dir_.File("short.csv.gz"), packed.substr(0, packed.size() / 2));
  table = TextTable::Open(dir_.File("short.csv.gz"), 0);
  ASSERT_TRUE(table.ok()) << table.status();
  absl::StatusOr<TextTable::Row> row = TextTable::Row::kFields;
  while (row.ok() && *row == TextTable::Row::kFields) row = (*table)->Next(&fields);
  EXPECT_EQ(row.status().code(), absl::StatusCode::kDataLoss) << row.status();
  EXPECT_THAT(std::string(row.status().message()), HasSubstr("truncated"));
}

TEST_F(TextTableTest, ABadRecordIsReportedAndReadingGoesOn) {
  auto table = Open("t.csv", "a,b\n1\n1,2,3\n\"x\"y,2\n\xff,2\n1,2\n\"open,2\n");
  std::vector<std::string> fields;
  const char* reasons[] = {"1 fields, expected 2", "3 fields, expected 2", "after the closing quote",
                           "not UTF-8"};
  for (uint64_t line = 2; line <= 5; ++line) {
    ASSERT_EQ(*table->Next(&fields), TextTable::Row::kBad);
    EXPECT_EQ(table->line(), line);
    EXPECT_THAT(table->bad_reason(), HasSubstr(reasons[line - 2]));
  }
  EXPECT_EQ(*table->Next(&fields), TextTable::Row::kFields);
  EXPECT_EQ(*table->Next(&fields), TextTable::Row::kBad);
  EXPECT_THAT(table->bad_reason(), HasSubstr("not closed"));
  EXPECT_EQ(*table->Next(&fields), TextTable::Row::kEnd);
}

// Each field is closed and short, but every quote opens the next: without a limit the record is the whole
// file.
TEST_F(TextTableTest, ARecordThatGoesOnForeverIsBad) {
  std::string text = "a,b\n\"";
  while (text.size() < 3'000'000) text += "\n\",\"";
  auto table = Open("t.csv", text + "\n1,2\n");
  std::vector<std::string> fields;
  ASSERT_EQ(*table->Next(&fields), TextTable::Row::kBad);
  EXPECT_THAT(table->bad_reason(), HasSubstr("not closed within 1048576 bytes"));
  EXPECT_LT(fields.size(), size_t{1} << 20);
  // What follows is read on its own: a field too few in each line, then a good record.
  while (*table->Next(&fields) == TextTable::Row::kBad) {
  }
  EXPECT_THAT(fields, ElementsAre("1", "2"));
}

TEST_F(TextTableTest, AHeaderOfVeryManyColumnsTakesNoLongerThanItMust) {
  std::string text = "0";
  for (int i = 1; i < 150'000; ++i) text += "," + std::to_string(i);
  // Comparing each name with each takes half a minute.
  EXPECT_EQ(Open("t.csv", text + "\n")->columns().size(), 150'000u);
  EXPECT_THAT(std::string(OpenStatus("u.csv", text + ",77\n").message()), HasSubstr("\"77\" appears twice"));
}

TEST_F(TextTableTest, RefusesWhatIsNoTable) {
  EXPECT_EQ(TextTable::Open(dir_.File("none.csv"), 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(OpenStatus("t.csv", "").message()), HasSubstr("the file is empty"));
  EXPECT_THAT(std::string(OpenStatus("t.csv", "a,,b\n").message()), HasSubstr("column 2 is empty"));
  EXPECT_THAT(std::string(OpenStatus("t.csv", "a,b,a\n").message()), HasSubstr("\"a\" appears twice"));
  EXPECT_THAT(std::string(OpenStatus("t.csv", "a,\xff\n").message()), HasSubstr("not UTF-8"));
  EXPECT_THAT(std::string(TextTable::Open(dir_.File(""), 0).status().message()), HasSubstr("is a directory"));
}

}  // namespace
}  // namespace swiftlet
