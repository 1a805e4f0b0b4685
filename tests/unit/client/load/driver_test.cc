#include "client/load/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/load/wire.h"
#include "tests/unit/client/fake_server.h"

namespace swiftlet::load {
namespace {

using ::testing::HasSubstr;

// So many calls of one kind; answers are right unless they say otherwise.
class Source final : public CallSource {
 public:
  explicit Source(int64_t calls, Kind kind = Kind::kRecommend) : left_(calls), kind_(kind) {}
  bool Next(Call& call) override {
    if (left_-- <= 0) return false;
    call.kind = kind_;
    call.request.clear();
    AppendRecommend("u", 10, call.request);
    return true;
  }
  Verdict OnAnswer(Call& call, absl::StatusCode code, std::string_view answer) override {
    RankedAnswer ranked;
    Verdict verdict;
    if (code == absl::StatusCode::kOk && !ParseRanked(answer, ranked)) verdict.wrong = "no message";
    verdict.version = ranked.snapshot_version;
    if (ranked.snapshot_version != 0 && ranked.snapshot_version < call.version_before)
      verdict.wrong = "older";
    if (follow_ups > 0) {
      --follow_ups;
      verdict.follow_up = true;
    }
    return verdict;
  }
  int follow_ups = 0;

 private:
  std::atomic<int64_t> left_;
  const Kind kind_;
};

class DriverTest : public ::testing::Test {
 protected:
  std::unique_ptr<Driver> Connect(int channels = 1, int threads = 1,
                                  absl::Duration timeout = absl::Seconds(30)) {
    auto driver = Driver::Create(
        {.address = server_.address(), .channels = channels, .threads = threads, .timeout = timeout});
    EXPECT_TRUE(driver.ok()) << driver.status();
    return *std::move(driver);
  }
  static WindowOptions Closed(int concurrency) {
    return {.warmup = absl::ZeroDuration(), .duration = absl::Minutes(5), .concurrency = concurrency};
  }

  FakeServer server_;
};

TEST_F(DriverTest, AClosedLoopSendsEveryCallOnce) {
  for (const int threads : {1, 3}) {
    const auto driver = Connect(/*channels=*/4, threads);
    Source source(100);
    const size_t before = server_.recommendation.RecommendMethod.requests().size();
    const WindowStats stats = driver->Run(Closed(8), std::vector<CallSource*>(threads, &source));
    EXPECT_EQ(server_.recommendation.RecommendMethod.requests().size() - before, 100u);
    const KindStats& kind = stats.kinds[static_cast<int>(Kind::kRecommend)];
    EXPECT_EQ(kind.good(), 100);
    EXPECT_EQ(kind.latency.count(), 100);
    EXPECT_EQ(stats.completed, 100);
    EXPECT_EQ(stats.completed_good, 100);
    EXPECT_GT(kind.latency.Quantile(0), 0);
    EXPECT_FALSE(stats.interrupted);
    EXPECT_GT(stats.client_cpu_seconds, 0);
    EXPECT_LT(stats.seconds, 300);
  }
}

TEST_F(DriverTest, KeepsSoManyCallsInFlightAndNoMore) {
  std::atomic<int> in_flight{0}, most{0};
  server_.recommendation.RecommendMethod.handler = [&](auto&, auto&, auto&) {
    const int now = ++in_flight;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --in_flight;
    return grpc::Status::OK;
  };
  const auto driver = Connect(2, 2);
  Source source(400);
  driver->Run(Closed(5), {&source, &source});
  EXPECT_LE(most, 5);
  EXPECT_GE(most, 2);
}

TEST_F(DriverTest, FailuresAreCountedByCodeAndReason) {
  std::atomic<int> calls{0};
  server_.recommendation.RecommendMethod.handler = [&](auto&, auto&, auto&) {
    const int call = calls++;
    if (call % 4 == 0) return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many");
    if (call % 4 == 1) return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
    return grpc::Status::OK;
  };
  const auto driver = Connect();
  Source source(40);
  const WindowStats stats = driver->Run(Closed(1), {&source});
  const KindStats& kind = stats.kinds[static_cast<int>(Kind::kRecommend)];
  EXPECT_EQ(kind.by_code[static_cast<int>(absl::StatusCode::kResourceExhausted)], 10);
  EXPECT_EQ(kind.by_code[static_cast<int>(absl::StatusCode::kInternal)], 10);
  EXPECT_EQ(kind.good(), 20);
  EXPECT_EQ(kind.latency.count(), 20);
  EXPECT_EQ(stats.refusal.count(), 20);
  EXPECT_EQ(stats.completed, 40);
  EXPECT_EQ(stats.completed_good, 20);
  EXPECT_EQ(stats.failures.at("recommend: RESOURCE_EXHAUSTED: too many"), 10);
  EXPECT_EQ(stats.failures.at("recommend: INTERNAL: broken"), 10);
}

TEST_F(DriverTest, ACallThatTakesTooLongIsCutOff) {
  std::promise<void> end;
  const std::shared_future<void> ended = end.get_future().share();
  // By value: the server may begin with the call only after the test is over.
  server_.recommendation.RecommendMethod.handler = [ended](auto&, auto&, auto&) {
    ended.wait();
    return grpc::Status::OK;
  };
  const auto driver = Connect(1, 1, absl::Milliseconds(50));
  Source source(1);
  const WindowStats stats = driver->Run(Closed(1), {&source});
  end.set_value();
  EXPECT_EQ(stats.Total().by_code[static_cast<int>(absl::StatusCode::kDeadlineExceeded)], 1);
}

TEST_F(DriverTest, AnUnreachableServerIsUnavailable) {
  auto driver = Driver::Create({.address = "127.0.0.1:1", .channels = 1, .threads = 1});
  ASSERT_TRUE(driver.ok());
  Source source(3);
  const WindowStats stats = (*driver)->Run(Closed(1), {&source});
  EXPECT_EQ(stats.Total().by_code[static_cast<int>(absl::StatusCode::kUnavailable)], 3);
}

// A server that stalls once keeps the calls behind it from being sent, and is charged for them.
TEST_F(DriverTest, OpenLoopLatencyCountsFromTheIntendedTime) {
  std::atomic<int> calls{0};
  server_.recommendation.RecommendMethod.handler = [&](auto&, auto&, auto&) {
    if (calls++ == 10) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    return grpc::Status::OK;
  };
  for (const bool spin : {false, true}) {
    calls = 0;
    const auto driver = Connect();
    Source source(1'000'000);
    WindowOptions options{.warmup = absl::ZeroDuration(), .duration = absl::Seconds(2), .concurrency = 1};
    options.rate = 200;
    options.poisson = false;
    options.spin = spin;
    options.max_in_flight = 1;
    const WindowStats stats = driver->Run(options, {&source});
    // Some 100 calls were due during the stall; had each been timed from its sending, one would be slow.
    int64_t slow = 0;
    const Histogram latency = stats.Total().latency;
    for (double q = 0; q <= 1; q += 1e-3) {
      if (latency.Quantile(q) > 250'000'000) {
        slow = static_cast<int64_t>((1 - q) * static_cast<double>(latency.count()));
        break;
      }
    }
    EXPECT_GE(slow, 30) << "spin " << spin;
    EXPECT_GE(stats.send_lag.max(), 250'000'000);
    EXPECT_EQ(stats.offered_rate, 200);
    // Nothing that was due is missing.
    EXPECT_NEAR(static_cast<double>(stats.Total().count() + stats.unsent), 400, 2);
  }
}

TEST_F(DriverTest, AnOpenLoopEndsWhenThereAreNoMoreCalls) {
  const auto driver = Connect(2, 2);
  Source source(20);
  WindowOptions options{.warmup = absl::ZeroDuration(), .duration = absl::Minutes(5)};
  options.rate = 1000;
  const WindowStats stats = driver->Run(options, {&source, &source});
  EXPECT_EQ(stats.Total().good(), 20);
}

TEST_F(DriverTest, WarmUpIsNotCounted) {
  const auto driver = Connect();
  Source source(1'000'000);
  WindowOptions options{.warmup = absl::Milliseconds(300), .duration = absl::Milliseconds(300)};
  options.rate = 200;
  options.poisson = false;
  const WindowStats stats = driver->Run(options, {&source});
  const size_t all = server_.recommendation.RecommendMethod.requests().size();
  EXPECT_LE(stats.Total().count(), 61);
  EXPECT_GE(static_cast<int64_t>(all), stats.Total().count() + 30);
  EXPECT_EQ(stats.by_second.size(), 1u);
}

TEST_F(DriverTest, AFollowUpTakesThePlaceOfItsCall) {
  const auto driver = Connect(2);
  Source source(10);
  source.follow_ups = 7;
  EXPECT_EQ(driver->Run(Closed(2), {&source}).Total().good(), 17);
}

TEST_F(DriverTest, VersionsThatGoBackOnAConnectionAreSeenBySources) {
  std::atomic<int> calls{0};
  server_.recommendation.RecommendMethod.handler = [&](auto&, auto&, v1::RecommendResponse& response) {
    response.set_snapshot_version(++calls == 5 ? 1 : 2);
    return grpc::Status::OK;
  };
  const auto driver = Connect();
  Source source(8);
  const WindowStats stats = driver->Run(Closed(1), {&source});
  EXPECT_EQ(stats.Total().wrong, 1);
  EXPECT_EQ(stats.failures.at("recommend: older"), 1);
  EXPECT_EQ(stats.completed_good, 7);
}

TEST_F(DriverTest, ServerCpuIsThatOfTheWindow) {
  const auto driver = Connect();
  Source source(10);
  WindowOptions options = Closed(1);
  double cpu = 5;
  options.server_cpu = [&] { return cpu += 0.25; };
  const WindowStats stats = driver->Run(options, {&source});
  EXPECT_DOUBLE_EQ(stats.server_cpu_seconds, 0.25);
  EXPECT_DOUBLE_EQ(stats.server_cpu_us(), 25'000);
  Source more(1);
  EXPECT_EQ(driver->Run(Closed(1), {&more}).server_cpu_us(), -1);
}

TEST(DriverOptionsTest, NonsenseIsRefused) {
  EXPECT_EQ(Driver::Create({.address = ""}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Driver::Create({.address = "a:1", .channels = 1, .threads = 2}).status().message()),
              HasSubstr("threads: 2"));
  EXPECT_FALSE(Driver::Create({.address = "a:1", .timeout = absl::ZeroDuration()}).ok());
}

}  // namespace
}  // namespace swiftlet::load
