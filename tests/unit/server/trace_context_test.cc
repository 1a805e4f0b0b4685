#include "server/trace_context.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

TEST(TraceIdTest, NewTracesAreValidAndDiffer) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = NewTraceId();
    EXPECT_TRUE(ParseTraceParent(absl::StrCat("00-", id, "-b7ad6b7169203331-00")).has_value()) << id;
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 1000u);
}

TEST(RequestIdTest, PrintableAndNotLong) {
  EXPECT_TRUE(IsRequestId("a"));
  EXPECT_TRUE(IsRequestId("5f0c-\"{}~!"));
  EXPECT_TRUE(IsRequestId(std::string(128, 'x')));
  EXPECT_FALSE(IsRequestId(""));
  EXPECT_FALSE(IsRequestId(std::string(129, 'x')));
  for (const char c : {' ', '\n', '\t', '\x7f', '\x80', '\0'}) {
    EXPECT_FALSE(IsRequestId(absl::StrCat("id", std::string(1, c)))) << int{c};
  }
}

}  // namespace
}  // namespace swiftlet
