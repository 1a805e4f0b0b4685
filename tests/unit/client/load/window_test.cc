#include "client/load/window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace swiftlet::load {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::SizeIs;

TEST(WindowStatsTest, ReasonsThatDifferInDurationsAreOne) {
  WindowStats stats;
  for (int i = 0; i < 100; ++i) {
    stats.CountFailure(absl::StrCat("cold: the deadline is in 5.00", i, "s and the call would wait ", i,
                                    ".5ms for a thread"),
                       1);
  }
  stats.CountFailure("events: 256 writes wait", 3);
  stats.CountFailure("events: 255 writes wait", 1);
  stats.CountFailure("127.0.0.1:5 says 1.", 1);
  EXPECT_THAT(stats.failures,
              ElementsAre(Pair("127.0.0.1:5 says 1.", 1),
                          Pair("cold: the deadline is in #s and the call would wait #ms for a thread", 100),
                          Pair("events: 255 writes wait", 1), Pair("events: 256 writes wait", 3)));
}

TEST(WindowStatsTest, ReasonsAreBounded) {
  WindowStats stats;
  for (int i = 0; i < 1000; ++i) stats.CountFailure(absl::StrCat("reason ", i), 1);
  EXPECT_THAT(stats.failures, SizeIs(20));
  EXPECT_EQ(stats.failures.at("other"), 981);
}

}  // namespace
}  // namespace swiftlet::load
