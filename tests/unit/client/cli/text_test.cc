#include "client/cli/text.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace swiftlet::cli {
namespace {

TEST(TextTest, WidthCountsColumnsNotBytes) {
  EXPECT_EQ(DisplayWidth(""), 0);
  EXPECT_EQ(DisplayWidth("Amélie"), 6);
  EXPECT_EQ(DisplayWidth("Ame\u0301lie"), 6);  // e + combining acute
  EXPECT_EQ(DisplayWidth("千と千尋"), 8);
  EXPECT_EQ(DisplayWidth("🎬 x"), 4);
  EXPECT_EQ(DisplayWidth("\xC3"), 1);
  EXPECT_EQ(DisplayWidth("\xED\xA0\x80"), 3);  // a surrogate is no character: three bytes
}

TEST(TextTest, PrintableKeepsTextAndDropsWhatSteersTerminals) {
  EXPECT_EQ(Printable("Léon"), "Léon");
  EXPECT_EQ(Printable("a\x1b[31mb\n"), "a\uFFFD[31mb\uFFFD");
  EXPECT_EQ(Printable("a\u202Eb"), "a\uFFFDb");
  EXPECT_EQ(Printable("a\xFF"), "a\uFFFD");
}

TEST(TextTest, PrintableCutsAtTheWidth) {
  EXPECT_EQ(Printable("abcdef", 6), "abcdef");
  EXPECT_EQ(Printable("abcdefg", 6), "abcde…");
  EXPECT_EQ(Printable("千と千尋", 5), "千と…");
  EXPECT_EQ(Printable("千と千尋", 6), "千と…");
  EXPECT_EQ(DisplayWidth(Printable("千と千尋の神隠し", 7)), 7);
}

TEST(TextTest, Numbers) {
  EXPECT_EQ(WithThousands(0), "0");
  EXPECT_EQ(WithThousands(999), "999");
  EXPECT_EQ(WithThousands(100004), "100,004");
  EXPECT_EQ(WithThousands(-1234567), "-1,234,567");
  EXPECT_EQ(WithThousands(-123), "-123");
  EXPECT_EQ(Count(1, "event"), "1 event");
  EXPECT_EQ(Count(2000, "event"), "2,000 events");
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(NumberText(4.0), "4");
  EXPECT_EQ(NumberText(3.5), "3.5");
  EXPECT_EQ(TimeText(0), "-");
  EXPECT_EQ(TimeText(1700000000123), "2023-11-14 22:13:20");
}

TEST(TextTest, TablesAlignByColumns) {
  Table table(
      {{"#", Table::Align::kRight}, {"Title", Table::Align::kLeft, 10}, {"Score", Table::Align::kRight}});
  table.AddRow({"1", "千と千尋", "0.5"});
  table.AddNote("because");
  table.AddRow({"10", "The Godfather (1972)", "0.25"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(),
            " #  Title       Score\n"
            " 1  千と千尋      0.5\n"
            "    because\n"
            "10  The Godfa…   0.25\n");
  std::ostringstream terminal;
  table.Print(terminal, /*bold_header=*/true);
  EXPECT_EQ(terminal.str().substr(0, 30), "\x1b[1m #  Title       Score\x1b[0m\n");
}

}  // namespace
}  // namespace swiftlet::cli
