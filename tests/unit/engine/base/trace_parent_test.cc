#include "engine/base/trace_parent.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kParent[] = "b7ad6b7169203331";

std::string Value(const std::string& version, const std::string& trace, const std::string& parent,
                  const std::string& flags) {
  return absl::StrCat(version, "-", trace, "-", parent, "-", flags);
}

TEST(TraceParentTest, TheRecommendationsExample) {
  const std::string value = Value("00", kTrace, kParent, "01");
  const auto parent = ParseTraceParent(value);
  ASSERT_TRUE(parent.has_value());
  EXPECT_EQ(parent->trace_id, kTrace);
  EXPECT_EQ(parent->parent_id, kParent);
  EXPECT_TRUE(parent->sampled);
  EXPECT_FALSE(ParseTraceParent(Value("00", kTrace, kParent, "00"))->sampled);
  EXPECT_FALSE(ParseTraceParent(Value("00", kTrace, kParent, "fe"))->sampled) << "other flags are not ours";
  EXPECT_TRUE(ParseTraceParent(Value("00", kTrace, kParent, "0b"))->sampled);
}

TEST(TraceParentTest, WhatIsNotOneIsRefused) {
  const std::string good = Value("00", kTrace, kParent, "01");
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ParseTraceParent(good.substr(0, size)).has_value()) << size;
  }
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char c : {'g', 'A', ' ', '\0', '_', '\x80'}) {
      std::string bad = good;
      bad[i] = c;
      EXPECT_FALSE(ParseTraceParent(bad).has_value()) << bad;
    }
  }
  const std::string zeros(32, '0');
  for (const std::string& bad :
       {Value("ff", kTrace, kParent, "01"), Value("00", zeros, kParent, "01"),
        Value("00", kTrace, zeros.substr(0, 16), "01"), absl::StrCat(good, "-00"), absl::StrCat(good, " "),
        absl::StrCat(" ", good), Value("00", kTrace, absl::StrCat(kParent, "0"), "01"),
        Value("0", kTrace, kParent, "01")}) {
    EXPECT_FALSE(ParseTraceParent(bad).has_value()) << bad;
  }
}

TEST(TraceParentTest, OfVersionsToComeTheKnownPartIsRead) {
  const std::string known = Value("cc", kTrace, kParent, "01");
  EXPECT_TRUE(ParseTraceParent(known).has_value());
  EXPECT_TRUE(ParseTraceParent(absl::StrCat(known, "-what-the-future-will-be")).has_value());
  EXPECT_FALSE(ParseTraceParent(absl::StrCat(known, ".what")).has_value());
}

}  // namespace
}  // namespace swiftlet
