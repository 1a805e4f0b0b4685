#include "client/cli/hammer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/unit/client/cli/run_cli.h"
#include "tests/unit/client/fake_server.h"

namespace swiftlet::cli {
namespace {

using ::testing::HasSubstr;

v1::RecommendResponse GoodAnswer(const v1::RecommendRequest& request, int64_t version) {
  v1::RecommendResponse response;
  response.set_snapshot_version(version);
  response.set_request_id(request.request_id());
  for (int i = 0; i < request.k(); ++i) {
    v1::ScoredItem& item = *response.add_items();
    item.set_item_id(absl::StrCat(request.user_id(), "-", i));
    item.set_score(static_cast<float>(request.k() - i));
  }
  return response;
}

// Answers call number n (from 0) with `answer(n, request)`.
void Answer(FakeServer& server,
            std::function<v1::RecommendResponse(int64_t, const v1::RecommendRequest&)> answer) {
  auto calls = std::make_shared<std::atomic<int64_t>>(0);
  server.recommendation.RecommendMethod.handler = [calls, answer](auto&, const v1::RecommendRequest& request,
                                                                  v1::RecommendResponse& response) {
    response = answer(calls->fetch_add(1), request);
    return grpc::Status::OK;
  };
}

HammerReport Hammer(const FakeServer& server, HammerOptions options) {
  auto client = Client::Connect({.address = server.address()});
  EXPECT_TRUE(client.ok());
  options.users = {"a", "b", "c"};
  if (options.call.timeout == std::nullopt) options.call.timeout = absl::Seconds(30);
  return RunHammer(**client, options);
}

TEST(HammerTest, StopsAfterTheVersionItWaitsFor) {
  FakeServer server;
  Answer(server, [](int64_t n, const auto& request) { return GoodAnswer(request, n < 50 ? 1 : 2); });
  const HammerReport report = Hammer(server, {.duration = absl::Seconds(60),
                                              .num_threads = 1,
                                              .until_version = 2,
                                              .linger = absl::Milliseconds(20)});
  EXPECT_EQ(report.num_failures, 0) << report.failures.begin()->first;
  EXPECT_TRUE(report.until_version_seen);
  EXPECT_LT(report.seconds, 50);
  EXPECT_EQ(report.calls_by_version.at(1), 50);
  EXPECT_EQ(report.calls_by_version.at(2), report.num_calls - 50);
  EXPECT_GT(report.p50_ms, 0);
  EXPECT_LE(report.p50_ms, report.p99_ms);
  EXPECT_LE(report.p99_ms, report.max_ms);
}

TEST(HammerTest, AnOlderVersionIsAFailureUnlessRollbacksAreAllowed) {
  FakeServer server;
  Answer(server, [](int64_t n, const auto& request) {
    return GoodAnswer(request, n == 10 ? 1 : n < 20 ? 2 : 3);
  });
  const HammerOptions options = {
      .duration = absl::Seconds(60), .num_threads = 1, .until_version = 3, .linger = absl::ZeroDuration()};
  const HammerReport report = Hammer(server, options);
  EXPECT_EQ(report.num_failures, 1);
  EXPECT_THAT(report.failures.begin()->first,
              HasSubstr("snapshot 1 answered a call that began after an answer of 2"));

  FakeServer other;
  Answer(other, [](int64_t n, const auto& request) {
    return GoodAnswer(request, n == 10 ? 1 : n < 20 ? 2 : 3);
  });
  HammerOptions allowed = options;
  allowed.allow_rollback = true;
  EXPECT_EQ(Hammer(other, allowed).num_failures, 0);
}

TEST(HammerTest, ExpectStableFindsMixedAnswers) {
  FakeServer server;
  Answer(server, [](int64_t n, const v1::RecommendRequest& request) {
    v1::RecommendResponse response = GoodAnswer(request, n < 40 ? 1 : 2);
    if (n == 9) response.mutable_items(0)->set_score(1000);
    return response;
  });
  const HammerReport report = Hammer(server, {.duration = absl::Seconds(60),
                                              .num_threads = 1,
                                              .until_version = 2,
                                              .linger = absl::ZeroDuration(),
                                              .expect_stable = true});
  EXPECT_EQ(report.num_failures, 1);
  EXPECT_THAT(report.failures.begin()->first, HasSubstr("two different answers of snapshot 1"));
}

TEST(HammerTest, FailedCallsAreCountedByReason) {
  FakeServer server;
  server.recommendation.RecommendMethod.handler = [](auto&, const auto&, auto&) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "no snapshot is loaded");
  };
  const HammerReport report = Hammer(server, {.duration = absl::Milliseconds(50), .num_threads = 3});
  EXPECT_GT(report.num_calls, 0);
  EXPECT_EQ(report.num_failures, report.num_calls);
  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_EQ(report.failures.at("FAILED_PRECONDITION: no snapshot is loaded"), report.num_calls);
}

TEST(HammerTest, CheckAnswerFindsWhatIsWrong) {
  v1::RecommendRequest request;
  request.set_user_id("u");
  request.set_k(3);
  request.set_request_id("r");
  const v1::RecommendResponse good = GoodAnswer(request, 1);
  EXPECT_TRUE(CheckAnswer(request, good).ok());
  const auto message = [&](auto change) {
    v1::RecommendResponse response = good;
    change(response);
    return std::string(CheckAnswer(request, response).message());
  };
  EXPECT_EQ(message([](auto& r) { r.mutable_items()->RemoveLast(); }), "2 items, asked for 3");
  EXPECT_EQ(message([](auto& r) { r.mutable_items(2)->set_item_id("u-0"); }), "item u-0 twice in one answer");
  EXPECT_EQ(message([](auto& r) { r.set_snapshot_version(0); }), "snapshot_version 0");
  EXPECT_EQ(message([](auto& r) { r.set_request_id("other"); }), "request_id is not that of the request");
  EXPECT_THAT(
      message([](auto& r) { r.mutable_items(0)->set_score(std::numeric_limits<float>::quiet_NaN()); }),
      HasSubstr("item u-0 has the score"));
}

TEST(HammerTest, TheCommandReportsAndFailsWithItsCalls) {
  FakeServer server;
  Answer(server, [](int64_t n, const auto& request) { return GoodAnswer(request, n < 20 ? 1 : 2); });
  const std::string path = ::testing::TempDir() + "/hammer_users.txt";
  std::ofstream(path) << "u1\nu2\r\n\n";
  const CliResult good =
      RunCli(server, {"hammer", "--users", path, "--seconds", "30", "--until-version", "2", "--json"});
  EXPECT_EQ(good.code, kOk) << good.err;
  const nlohmann::json object = nlohmann::json::parse(good.out);
  EXPECT_EQ(object["failures"], 0);
  EXPECT_EQ(object["versions"]["1"], 20);
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().at(0).k(), 10);
  for (const auto& request : server.recommendation.RecommendMethod.requests()) {
    EXPECT_TRUE(request.user_id() == "u1" || request.user_id() == "u2") << request.user_id();
  }

  const CliResult unseen =
      RunCli(server, {"hammer", "--users", "a,b", "--seconds", "0.05", "--until-version", "9"});
  EXPECT_EQ(unseen.code, kFailed);
  EXPECT_THAT(unseen.out, HasSubstr(", none failed\n"));
  EXPECT_EQ(unseen.err, "swiftlet: hammer: no answer of snapshot 9 was seen\n");

  FakeServer broken;
  Answer(broken, [](int64_t, const v1::RecommendRequest&) { return v1::RecommendResponse(); });
  const CliResult bad = RunCli(broken, {"hammer", "--users", "a,b", "--seconds", "0.05"});
  EXPECT_EQ(bad.code, kFailed);
  EXPECT_THAT(bad.out, HasSubstr("Failed: INTERNAL: 0 items, asked for 10"));
}

TEST(LatencyHistogramTest, QuantilesAreWithinFivePercent) {
  LatencyHistogram one, two;
  EXPECT_EQ(one.Quantile(0.5), 0);
  for (int i = 1; i <= 500; ++i) one.Add(absl::Milliseconds(i));
  for (int i = 501; i <= 1000; ++i) two.Add(absl::Milliseconds(i));
  one.Merge(two);
  EXPECT_NEAR(one.Quantile(0.5), 500, 26);
  EXPECT_NEAR(one.Quantile(0.99), 990, 50);
  EXPECT_EQ(one.Quantile(1.0), 1000);
  EXPECT_EQ(one.max_ms(), 1000);
  one.Add(absl::Hours(1));  // beyond the last bucket
  EXPECT_EQ(one.max_ms(), 3600000);
}

}  // namespace
}  // namespace swiftlet::cli
