#include "engine/base/item_key.h"

#include <gtest/gtest.h>

#include <string>

namespace swiftlet {
namespace {

// Stored histories and snapshots hold these keys: the function may never change.
TEST(ItemKey, IsXxh3Forever) {
  EXPECT_EQ(ItemKeyOf(""), 0x2D06800538D394C2u);
  EXPECT_EQ(ItemKeyOf("a"), 0xE6C632B61E964E1Fu);
  EXPECT_EQ(ItemKeyOf("movie-296"), 0xEA26313279DCE7B6u);
  EXPECT_EQ(ItemKeyOf(std::string(256, 'x')), 0xD1D05738849BAEC9u);
  EXPECT_NE(ItemKeyOf("a"), ItemKeyOf("b"));
  EXPECT_NE(ItemKeyOf(std::string_view("a\0b", 3)), ItemKeyOf("a"));
}

TEST(IsValidId, LengthIsCountedInBytes) {
  EXPECT_FALSE(IsValidId(""));
  EXPECT_TRUE(IsValidId("x"));
  EXPECT_TRUE(IsValidId(std::string(kMaxIdBytes, 'x')));
  EXPECT_FALSE(IsValidId(std::string(kMaxIdBytes + 1, 'x')));
  EXPECT_FALSE(IsValidId(std::string(10'000, 'x')));
  std::string umlauts;
  for (size_t i = 0; i < kMaxIdBytes / 2; ++i) umlauts += "\xC3\xA4";
  EXPECT_TRUE(IsValidId(umlauts));
  EXPECT_FALSE(IsValidId(umlauts + "x"));
}

TEST(IsValidId, NulIsRefusedAndOtherTextTaken) {
  EXPECT_FALSE(IsValidId(std::string_view("a\0b", 3)));
  EXPECT_FALSE(IsValidId(std::string_view("\0", 1)));
  EXPECT_TRUE(IsValidId("item 1\n\t/\\\"'"));
  EXPECT_TRUE(IsValidId("\xE6\x97\xA5\xE6\x9C\xAC"));
  EXPECT_FALSE(IsValidId("caf\xE9")) << "Latin-1";
}

// Encodes a code point without any check.
std::string Encode(uint32_t c) {
  std::string s;
  if (c < 0x80) {
    s += static_cast<char>(c);
  } else if (c < 0x800) {
    s += static_cast<char>(0xC0 | c >> 6);
    s += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    s += static_cast<char>(0xE0 | c >> 12);
    s += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    s += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    s += static_cast<char>(0xF0 | c >> 18);
    s += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    s += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    s += static_cast<char>(0x80 | (c & 0x3F));
  }
  return s;
}

TEST(IsValidUtf8, EveryCodePointButSurrogatesAndNoneAbove10Ffff) {
  for (uint32_t c = 0; c < 0x120000; ++c) {
    const bool valid = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
    ASSERT_EQ(IsValidUtf8(Encode(c)), valid) << std::hex << c;
    if (c >= 0x80) {
      const std::string s = Encode(c);
      ASSERT_FALSE(IsValidUtf8(s.substr(0, s.size() - 1))) << "cut short: " << std::hex << c;
      ASSERT_FALSE(IsValidUtf8(s.substr(1))) << "without its first byte: " << std::hex << c;
    }
  }
}

TEST(IsValidUtf8, OverlongFormsAndStrayBytesAreRefused) {
  for (const char* s :
       {"\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF",
        "\x80", "\xFF", "\xFE", "\xF5\x80\x80\x80", "a\x80", "\xC3\x28"}) {
    EXPECT_FALSE(IsValidUtf8(s));
  }
  EXPECT_TRUE(IsValidUtf8(""));
}

}  // namespace
}  // namespace swiftlet
