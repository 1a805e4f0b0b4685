#include "engine/trainer/interrupt.h"

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace swiftlet {
namespace {

TEST(InterruptTest, ATimeLimitEndsWhatRunsWhileItLives) {
  EXPECT_TRUE(CheckInterrupted().ok());
  {
    const ScopedTimeLimit limit(absl::Now() + absl::Hours(1));
    EXPECT_TRUE(CheckInterrupted().ok());
    EXPECT_FALSE(limit.IsOver());
  }
  {
    const ScopedTimeLimit limit(absl::Now() - absl::Milliseconds(1));
    EXPECT_EQ(CheckInterrupted().code(), absl::StatusCode::kCancelled);
    EXPECT_TRUE(limit.IsOver());
    SetInterrupted(true);
    EXPECT_FALSE(limit.IsOver()) << "somebody wants it to end";
    SetInterrupted(false);
  }
  EXPECT_TRUE(CheckInterrupted().ok());
  const ScopedTimeLimit none(absl::InfiniteFuture());
  EXPECT_TRUE(CheckInterrupted().ok());
  EXPECT_FALSE(none.IsOver());
}

}  // namespace
}  // namespace swiftlet
