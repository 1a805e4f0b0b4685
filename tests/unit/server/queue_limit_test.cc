#include "server/queue_limit.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace swiftlet {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

class QueueLimitTest : public ::testing::Test {
 protected:
  // A window of calls that all waited this long, with nobody behind them.
  void Window(QueueLimit& limit, QueueLimit::Clock::duration waited, int calls = 100) {
    // A server that never stands still.
    const QueueLimit::Clock::time_point end = now_ + QueueLimit::kWindow;
    for (; now_ < end; now_ += QueueLimit::Clock::duration(QueueLimit::kWindow) / calls)
      EXPECT_TRUE(limit.Admit(0, waited, now_));
  }

  QueueLimit::Clock::time_point now_{milliseconds(1'000'000)};
  QueueLimit limit_{{.min_limit = 10, .max_limit = 1000, .target_wait = absl::Milliseconds(20)}};
};

TEST_F(QueueLimitTest, BeginsAtTheCeilingAndRefusesBeyondIt) {
  EXPECT_EQ(limit_.limit(), 1000);
  EXPECT_TRUE(limit_.Admit(1000, milliseconds(1), now_));
  EXPECT_FALSE(limit_.Admit(1001, milliseconds(1), now_));
}

TEST_F(QueueLimitTest, FallsWhileCallsWaitTooLongButNotBelowTheFloor) {
  int64_t before = limit_.limit();
  for (int i = 0; i < 3; ++i) {
    Window(limit_, milliseconds(400));
    EXPECT_LT(limit_.limit(), before);
    EXPECT_GE(limit_.limit(), before / 2) << "one window at most halves it";
    before = limit_.limit();
  }
  for (int i = 0; i < 100; ++i) Window(limit_, std::chrono::hours(1));
  EXPECT_EQ(limit_.limit(), 10);
  EXPECT_TRUE(limit_.Admit(10, std::chrono::hours(1), now_));
  EXPECT_FALSE(limit_.Admit(11, std::chrono::hours(1), now_));
}

TEST_F(QueueLimitTest, ComesBackToTheCeilingWhenNobodyWaits) {
  for (int i = 0; i < 100; ++i) Window(limit_, milliseconds(400));
  ASSERT_EQ(limit_.limit(), 10);
  int windows = 0;
  for (; limit_.limit() < 1000 && windows < 1000; ++windows) Window(limit_, microseconds(5));
  EXPECT_EQ(limit_.limit(), 1000);
  EXPECT_LT(windows, 100) << "5 seconds";
}

TEST_F(QueueLimitTest, NewOptionsOfTheSameRangeKeepWhatWasLearnt) {
  for (int i = 0; i < 3; ++i) Window(limit_, milliseconds(400));
  const int64_t learnt = limit_.limit();
  ASSERT_LT(learnt, 1000);
  limit_.SetOptions({.min_limit = 10, .max_limit = 1000, .target_wait = absl::Milliseconds(30)});
  EXPECT_EQ(limit_.limit(), learnt);
  limit_.SetOptions({.min_limit = learnt + 1, .max_limit = 1000, .target_wait = absl::Milliseconds(30)});
  EXPECT_EQ(limit_.limit(), learnt + 1);
  limit_.SetOptions({.min_limit = 10, .max_limit = 2000, .target_wait = absl::Milliseconds(30)});
  EXPECT_EQ(limit_.limit(), 2000);
}

// A server whose callers wait for as many calls as the limit admits, 100 us each.
TEST_F(QueueLimitTest, SettlesWhereTheWaitIsTheTarget) {
  double sum = 0;
  for (int i = 0; i < 200; ++i) {
    const microseconds wait(100 * limit_.limit());
    Window(limit_, wait);
    if (i >= 100) sum += static_cast<double>(limit_.limit());
  }
  // 200 calls of 100 us are 20 ms; the square root asks for a little more.
  EXPECT_GT(sum / 100, 190);
  EXPECT_LT(sum / 100, 240);
}

TEST_F(QueueLimitTest, FewCallsSayNothing) {
  for (int i = 0; i + 1 < QueueLimit::kMinSamples; ++i) {
    now_ += milliseconds(10);
    limit_.Admit(0, milliseconds(900), now_);
  }
  EXPECT_EQ(limit_.limit(), 1000) << "too few to say";
  limit_.Admit(0, milliseconds(900), now_);
  EXPECT_LT(limit_.limit(), 1000);
}

TEST_F(QueueLimitTest, NobodyHavingCalledIsNoStall) {
  Window(limit_, microseconds(5));
  now_ += std::chrono::seconds(10);
  for (int i = 0; i < 2; ++i)
    Window(limit_, milliseconds(400));  // waited less than half of the time in which nothing was looked at
  EXPECT_LT(limit_.limit(), 1000);
}

// A server that answers 6 calls a millisecond, 3 come in, and that stands still for 300 ms.
TEST_F(QueueLimitTest, AStallThatHasPassedCostsNothing) {
  constexpr microseconds kBetween(333), kService(167);
  for (int stall = 0; stall < 5; ++stall) {
    for (int window = 0; window < 4; ++window) Window(limit_, microseconds(5));
    QueueLimit::Clock::time_point arrived = now_;
    now_ += milliseconds(300);
    int calls = 0;
    for (; arrived < now_; arrived += kBetween, ++calls) {
      ASSERT_TRUE(limit_.Admit((now_ - arrived) / kBetween, now_ - arrived, now_)) << "call " << calls;
      now_ += kService;
    }
    EXPECT_GT(calls, 1500);
    EXPECT_EQ(limit_.limit(), 1000);
  }
}

TEST_F(QueueLimitTest, AnOverloadThatLastsIsLimitedWithinASecond) {
  // 12 calls a millisecond come, of which 6 can be answered; refusing one costs nothing here.
  constexpr microseconds kBetween(83), kService(167);
  QueueLimit::Clock::time_point arrived = now_;
  const QueueLimit::Clock::time_point end = now_ + std::chrono::seconds(3);
  QueueLimit::Clock::duration longest{0};
  for (; arrived < end; arrived += kBetween) {
    now_ = std::max(now_, arrived);
    const QueueLimit::Clock::duration waited = now_ - arrived;
    if (!limit_.Admit(waited / kBetween, waited, now_)) continue;
    now_ += kService;
    if (arrived > end - std::chrono::seconds(2)) longest = std::max(longest, waited);
  }
  EXPECT_LT(longest, milliseconds(60)) << "the target is 20 ms";
}

TEST_F(QueueLimitTest, AnOverloadOfLongCallsIsNoStall) {
  // One thread, 40 ms a call, twice as many as it can answer.
  constexpr milliseconds kBetween(20), kService(40);
  QueueLimit::Clock::time_point arrived = now_;
  for (int i = 0; i < 3000; ++i, arrived += kBetween) {
    now_ = std::max(now_, arrived);
    const QueueLimit::Clock::duration waited = now_ - arrived;
    if (limit_.Admit(waited / kBetween, waited, now_)) now_ += kService;
  }
  EXPECT_LT(limit_.limit(), 20);
}

TEST_F(QueueLimitTest, AnOverloadThatStandsStillAgainAndAgainIsLimited) {
  // As a control group's quota does it: 100 ms of work, 150 ms of nothing; 3 calls a millisecond, 6 can be
  // answered.
  constexpr microseconds kBetween(333), kService(167);
  Window(limit_, microseconds(5));
  QueueLimit::Clock::time_point arrived = now_, pause = now_ + milliseconds(100);
  const QueueLimit::Clock::time_point end = now_ + std::chrono::seconds(10);
  for (; arrived < end; arrived += kBetween) {
    now_ = std::max(now_, arrived);
    if (now_ >= pause) {
      now_ += milliseconds(150);
      pause = now_ + milliseconds(100);
    }
    const QueueLimit::Clock::duration waited = now_ - arrived;
    if (limit_.Admit(waited / kBetween, waited, now_)) now_ += kService;
  }
  EXPECT_LT(limit_.limit(), 600);
}

TEST_F(QueueLimitTest, WaitsOfRefusedCallsDoNotCount) {
  now_ += QueueLimit::kWindow;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(limit_.Admit(1001, std::chrono::hours(1), now_));
  EXPECT_EQ(limit_.limit(), 1000);
}

TEST_F(QueueLimitTest, StaysInItsBoundsWhateverManyThreadsSay) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      QueueLimit::Clock::time_point now = now_;
      for (int i = 0; i < 20'000; ++i) {
        now += milliseconds(1);
        limit_.Admit(i % 1500, milliseconds((i * (t + 1)) % 60), now);
        const int64_t limit = limit_.limit();
        ASSERT_GE(limit, 10);
        ASSERT_LE(limit, 1000);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace swiftlet
