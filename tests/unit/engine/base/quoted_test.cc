#include "engine/base/quoted.h"

#include <gtest/gtest.h>

#include "engine/base/item_key.h"

namespace swiftlet {
namespace {

TEST(QuotedTest, ShortTextIsShownAsItIs) {
  EXPECT_EQ(Quoted(""), "\"\"");
  EXPECT_EQ(Quoted("abc"), "\"abc\"");
  EXPECT_EQ(Quoted("\xC3\xA9t\xC3\xA9"), "\"\xC3\xA9t\xC3\xA9\"");
  EXPECT_EQ(Shortened("a b", 3), "a b");
}

TEST(QuotedTest, ControlCharactersAndQuotesAreEscaped) {
  EXPECT_EQ(Quoted("a\"\n\x01\x7F\\"), "\"a\\\"\\n\\001\\177\\\\\"");
  EXPECT_EQ(Quoted(std::string_view("\0", 1)), "\"\\000\"");
  EXPECT_EQ(Shortened("\x1B[2J", 10), "\\033[2J");
}

TEST(QuotedTest, LongTextIsCutShort) {
  EXPECT_EQ(Quoted(std::string(64, 'y')), "\"" + std::string(64, 'y') + "\"");
  EXPECT_EQ(Quoted(std::string(5000, 'y')), "\"" + std::string(64, 'y') + "...\" (5000 bytes)");
  EXPECT_EQ(Shortened("abcdef", 5), "abcde...");
  EXPECT_EQ(Shortened(std::string(5000, '\x7F'), 200).size(), 4 * 200u + 3);
}

TEST(QuotedTest, NoCharacterIsCut) {
  const std::string two = "\xC3\xA9", four = "\xF0\x9F\x98\x80";
  EXPECT_EQ(Shortened("ab" + two, 3), "ab...");
  EXPECT_EQ(Shortened("ab" + two + "c", 4), "ab" + two + "...");
  for (size_t n = 1; n < 4; ++n) EXPECT_EQ(Shortened("ab" + four, 2 + n), "ab...");
  EXPECT_EQ(Shortened(four, 3), "...");
}

TEST(QuotedTest, WhatIsNoUtf8IsEscapedAndShown) {
  EXPECT_EQ(Quoted("a\xFF"), "\"a\\377\"");
  const std::string tails(100, '\xBF');
  EXPECT_EQ(Shortened(tails, 5).size(), 2 * 4 + 3u) << "of five bytes up to three may belong to the next";
  for (size_t n = 0; n < 100; ++n) EXPECT_TRUE(IsValidUtf8(Shortened("\xE2\x82" + tails, n)));
}

}  // namespace
}  // namespace swiftlet
