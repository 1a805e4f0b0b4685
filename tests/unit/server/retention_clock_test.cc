#include "server/retention_clock.h"

#include <gtest/gtest.h>

namespace swiftlet {
namespace {

constexpr int64_t kWall = 1'700'000'000'000, kMinute = 60'000, kHour = 60 * kMinute, kDay = 24 * kHour;

TEST(RetentionClockTest, FollowsAClockThatGoes) {
  RetentionClock clock;
  for (int64_t t = 0; t < 10 * kDay; t += kMinute) EXPECT_EQ(clock.Now(kWall + t, t), kWall + t);
  // Small corrections, also many of them.
  for (int64_t i = 1; i < 100; ++i) {
    const int64_t steady = 10 * kDay + i * kMinute;
    EXPECT_EQ(clock.Now(kWall + steady + i * 30'000, steady), kWall + steady + i * 30'000);
  }
}

TEST(RetentionClockTest, AJumpAheadThatIsTakenBackCountsForNothing) {
  RetentionClock clock;
  EXPECT_EQ(clock.Now(kWall, 0), kWall);
  for (int64_t t = kMinute; t < 50 * kMinute; t += kMinute) {
    EXPECT_EQ(clock.Now(kWall + t + 30 * kDay, t), kWall + t) << "as time has passed";
  }
  EXPECT_EQ(clock.Now(kWall + 50 * kMinute, 50 * kMinute), kWall + 50 * kMinute);
  // The next one is given the whole time again.
  EXPECT_EQ(clock.Now(kWall + kDay, 51 * kMinute), kWall + 51 * kMinute);
  EXPECT_EQ(clock.Now(kWall + kDay, 110 * kMinute), kWall + 110 * kMinute);
}

TEST(RetentionClockTest, AClockThatStaysAheadIsBelieved) {
  RetentionClock clock;
  EXPECT_EQ(clock.Now(kWall, 0), kWall);
  EXPECT_EQ(clock.Now(kWall + kDay, kMinute), kWall + kMinute);
  const int64_t later = kMinute + RetentionClock::kBelieveAfterMs;
  EXPECT_EQ(clock.Now(kWall + kDay + later, later), kWall + kDay + later);
  EXPECT_EQ(clock.Now(kWall + kDay + later + kMinute, later + kMinute), kWall + kDay + later + kMinute);
}

TEST(RetentionClockTest, AClockThatGoesBackIsBelievedAtOnce) {
  RetentionClock clock;
  EXPECT_EQ(clock.Now(kWall, 0), kWall);
  EXPECT_EQ(clock.Now(kWall - kDay, kMinute), kWall - kDay);
}

}  // namespace
}  // namespace swiftlet
