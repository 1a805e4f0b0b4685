#include "server/security/rate_limit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace swiftlet {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(RateBucketTest, ABurstAndThenTheRate) {
  RateBucket bucket({.calls_per_second = 10, .burst = 3});
  const int64_t start = 5 * kSecond;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(bucket.Take(start), 0) << i;
  EXPECT_EQ(bucket.Take(start), kSecond / 10);
  EXPECT_EQ(bucket.Take(start + kSecond / 20), kSecond / 20) << "a refused call takes nothing";
  EXPECT_EQ(bucket.Take(start + kSecond / 10), 0);
  EXPECT_EQ(bucket.Take(start + kSecond / 10), kSecond / 10);
  // However long nobody calls, it holds no more than a burst.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(bucket.Take(start + 100 * kSecond), 0) << i;
  EXPECT_GT(bucket.Take(start + 100 * kSecond), 0);
}

TEST(RateBucketTest, NoLimitIsNoLimit) {
  RateBucket bucket({});
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(bucket.Take(kSecond), 0);
}

TEST(RateBucketTest, ALimitChangesForTheCallsFromThenOn) {
  RateBucket bucket({.calls_per_second = 1, .burst = 1});
  EXPECT_EQ(bucket.Take(5 * kSecond), 0);
  EXPECT_GT(bucket.Take(5 * kSecond), 0);
  bucket.SetLimit({.calls_per_second = 1, .burst = 3});
  EXPECT_EQ(bucket.Take(5 * kSecond), 0) << "two more of the larger burst";
  EXPECT_EQ(bucket.Take(5 * kSecond), 0);
  EXPECT_GT(bucket.Take(5 * kSecond), 0) << "what was taken counts on";
  bucket.SetLimit({});
  for (int i = 0; i < 100; ++i) ASSERT_EQ(bucket.Take(5 * kSecond), 0);
}

TEST(RateBucketTest, WhoUsedUpASlowBucketIsNotMadeToWaitForItByAFasterOne) {
  RateBucket bucket({.calls_per_second = 1, .burst = 20});
  for (int i = 0; i < 20; ++i) EXPECT_EQ(bucket.Take(5 * kSecond), 0);
  bucket.SetLimit({.calls_per_second = 1000, .burst = 1000});
  EXPECT_EQ(bucket.Take(5 * kSecond), kSecond / 1000) << "empty, as it was";
  EXPECT_EQ(bucket.Take(5 * kSecond + kSecond / 1000), 0);
}

TEST(RateBucketsTest, ALimitBeginsAndEnds) {
  RateBuckets buckets({});
  EXPECT_FALSE(buckets.limits());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(buckets.Take("a", kSecond), 0);
  EXPECT_EQ(buckets.size(), 0u) << "nobody is kept where nothing is limited";
  buckets.SetLimit({.calls_per_second = 1, .burst = 1});
  EXPECT_TRUE(buckets.limits());
  EXPECT_EQ(buckets.Take("a", kSecond), 0);
  EXPECT_GT(buckets.Take("a", kSecond), 0);
  buckets.SetLimit({});
  EXPECT_EQ(buckets.Take("a", kSecond), 0);
}

TEST(RateBucketTest, ThreadsShareIt) {
  RateBucket bucket({.calls_per_second = 1, .burst = 500});
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) taken += bucket.Take(kSecond) == 0 ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, 500);
}

TEST(RateBucketsTest, EachClientHasItsOwnAndTheyAreBounded) {
  RateBuckets buckets({.calls_per_second = 1, .burst = 2});
  EXPECT_EQ(buckets.Take("a", kSecond), 0);
  EXPECT_EQ(buckets.Take("a", kSecond), 0);
  EXPECT_GT(buckets.Take("a", kSecond), 0);
  EXPECT_EQ(buckets.Take("b", kSecond), 0);
  for (size_t i = 0; i < 2 * RateBuckets::kMaxClients; ++i) {
    ASSERT_EQ(buckets.Take("client-" + std::to_string(i), 2 * kSecond), 0);
  }
  EXPECT_LE(buckets.size(), RateBuckets::kMaxClients);
}

TEST(PeerKeyTest, IsTheAddressWithoutThePort) {
  EXPECT_EQ(PeerKey("ipv4:10.0.0.7:4711"), "10.0.0.7");
  EXPECT_EQ(PeerKey("unix:"), "unix");
  EXPECT_EQ(PeerKey("unix:/run/a"), PeerKey("unix:/run/b"));
  const std::string prefix = PeerKey("ipv6:[2001:db8:1:2:3:4:5:6]:4711");
  EXPECT_EQ(prefix.size(), 8);
  EXPECT_EQ(PeerKey("ipv6:%5B2001:db8:1:2::9%5D:1"), prefix) << "of one customer";
  EXPECT_EQ(PeerKey("ipv6:[2001:db8:1:2::9%25eth0]:1"), prefix);
  EXPECT_NE(PeerKey("ipv6:[2001:db8:1:3::9]:1"), prefix);
  EXPECT_EQ(PeerKey("ipv6:[::ffff:10.0.0.7]:1"), "10.0.0.7");
  EXPECT_EQ(PeerKey(""), "");
}

}  // namespace
}  // namespace swiftlet
