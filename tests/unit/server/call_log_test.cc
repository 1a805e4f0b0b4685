#include "server/call_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "server/logging.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class CallLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto logger =
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_));
    logger->set_pattern("%l %v");
    before_ = spdlog::default_logger();
    spdlog::set_default_logger(logger);
    log_.SetSlowRequests(absl::Milliseconds(100), false);
  }
  void TearDown() override { spdlog::set_default_logger(before_); }

  static CallSummary Call(absl::Duration took, absl::Status result = absl::OkStatus()) {
    return {.method = Method::kRecommend,
            .result = std::move(result),
            .took = took,
            .queued = absl::Microseconds(13),
            .stages = {0, 0.25F, 0, 0.000002F, 0},
            .request_id = "r-1",
            .trace_id = "0af7651916cd43dd8448eb211c80319c",
            .user = "Jane \"J\" Doe"};
  }
  std::vector<std::string> Lines() {
    std::istringstream in(text_.str());
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  nlohmann::json Line() {
    const std::string prefix = "warning slow: ", line = Lines().back();
    EXPECT_TRUE(line.starts_with(prefix)) << line;
    return nlohmann::json::parse(line.substr(prefix.size()));
  }

  std::ostringstream text_;
  std::shared_ptr<spdlog::logger> before_;
  CallLog log_;
};

TEST_F(CallLogTest, KeepsSlowCallsAndTheServersFaults) {
  const auto ok = absl::StatusCode::kOk;
  EXPECT_FALSE(log_.Keeps(Method::kRecommend, ok, absl::Milliseconds(100)));
  EXPECT_TRUE(log_.Keeps(Method::kRecommend, ok, absl::Milliseconds(101)));
  EXPECT_FALSE(log_.Keeps(Method::kCreateBackup, ok, absl::Hours(1)));
  EXPECT_FALSE(log_.Keeps(Method::kRecommend, absl::StatusCode::kInvalidArgument, absl::ZeroDuration()));
  EXPECT_TRUE(log_.Keeps(Method::kRecommend, absl::StatusCode::kInternal, absl::ZeroDuration()));
  log_.SetSlowRequests(absl::ZeroDuration(), false);
  EXPECT_FALSE(log_.Keeps(Method::kRecommend, ok, absl::Hours(1)));
}

TEST_F(CallLogTest, ASlowCallIsOneLineWithoutTheUser) {
  log_.Write(Call(absl::Milliseconds(251)));
  ASSERT_THAT(Lines(), SizeIs(1));
  const nlohmann::json line = Line();
  EXPECT_EQ(line["method"], "Recommend");
  EXPECT_EQ(line["ms"], 251.0);
  EXPECT_EQ(line["queue_ms"], 0.013);
  EXPECT_EQ(line["user_state_ms"], 250.0);
  EXPECT_FALSE(line.contains("encode_retrieve_ms")) << "it had no such stage";
  EXPECT_EQ(line["respond_ms"], 0.002);
  EXPECT_EQ(line["result"], "OK");
  EXPECT_EQ(line["request_id"], "r-1");
  EXPECT_EQ(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
  EXPECT_THAT(text_.str(), Not(HasSubstr("Jane")));
  const std::string hash = line["user_hash"];
  EXPECT_THAT(hash, SizeIs(16));
  log_.Write(Call(absl::Milliseconds(251)));
  EXPECT_EQ(Line()["user_hash"], hash) << "so that calls of one user are seen to be so";
  CallLog other;
  other.SetSlowRequests(absl::Milliseconds(100), false);
  other.Write(Call(absl::Milliseconds(251)));
  EXPECT_NE(Line()["user_hash"], hash) << "nobody can look a user up by it";
  log_.SetSlowRequests(absl::Milliseconds(100), true);
  log_.Write(Call(absl::Milliseconds(251)));
  EXPECT_EQ(Line()["user"], "Jane \"J\" Doe");
}

TEST_F(CallLogTest, RefusedCallersAreNamedNowAndThen) {
  int num_asked = 0;
  const auto refuse = [&](Refusal reason, std::string_view client) {
    log_.WriteRefusal(reason, Method::kRecommend, client, [&] {
      ++num_asked;
      return std::string("ipv4:10.0.0.7:4711");
    });
  };
  for (int i = 0; i < 1000; ++i) refuse(Refusal::kRateLimit, "shop");
  ASSERT_THAT(Lines(), SizeIs(2));
  EXPECT_EQ(Lines()[0], "warning refused, rate_limit: Recommend of shop, ipv4:10.0.0.7:4711");
  EXPECT_EQ(num_asked, 2);
  refuse(Refusal::kUnknownToken, "");
  ASSERT_THAT(Lines(), SizeIs(3)) << "each reason has lines of its own";
  EXPECT_EQ(Lines()[2], "warning refused, unknown_token: Recommend of ipv4:10.0.0.7:4711");
}

TEST_F(CallLogTest, FailuresNameTheRequest) {
  log_.Write(Call(absl::Milliseconds(1), absl::DataLossError("users: block checksum")));
  ASSERT_THAT(Lines(), SizeIs(1));
  EXPECT_EQ(Lines()[0],
            "error Recommend failed: DATA_LOSS: users: block checksum (request r-1, trace "
            "0af7651916cd43dd8448eb211c80319c)");
  CallSummary call = Call(absl::Milliseconds(1), absl::DataLossError("users: block checksum"));
  call.request_id = "r\nerror Recommend failed";
  log_.Write(call);
  ASSERT_THAT(Lines(), SizeIs(2)) << "a caller writes no lines of its own";
  EXPECT_THAT(Lines()[1], HasSubstr("(request r\\nerror Recommend failed, "));
}

TEST_F(CallLogTest, AFloodIsNotLogged) {
  for (int i = 0; i < 1000; ++i) {
    log_.Write(Call(absl::Seconds(1)));
    log_.Write(Call(absl::ZeroDuration(), absl::InternalError("broken")));
  }
  EXPECT_GE(Lines().size(), 20u);
  EXPECT_LE(Lines().size(), 500u) << "ten a second of each, and a slow machine";
}

// A disk or a pipe that takes nothing until it is told to.
class StalledSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  void Resume() { resume_.Notify(); }
  int num_lines() const { return num_lines_; }

 private:
  void sink_it_(const spdlog::details::log_msg&) override {
    resume_.WaitForNotification();
    ++num_lines_;
  }
  void flush_() override {}
  absl::Notification resume_;
  std::atomic<int> num_lines_{0};
};

TEST_F(CallLogTest, NoCallWaitsForTheLog) {
  const auto sink = std::make_shared<StalledSink>();
  InitCallLogger(sink);
  for (int i = 0; i < 5; ++i) {
    log_.Write(Call(absl::Seconds(1)));
    log_.Write(Call(absl::ZeroDuration(), absl::InternalError("broken")));
  }
  sink->Resume();
  while (sink->num_lines() < 10) std::this_thread::yield();
  EXPECT_THAT(Lines(), SizeIs(0));
  spdlog::drop(CallLogger()->name());
}

TEST_F(CallLogTest, ServerTimingNamesTheStages) {
  EXPECT_EQ(ServerTiming(Call(absl::Milliseconds(251))),
            "queue;dur=0.013, user_state;dur=250.000, respond;dur=0.002, total;dur=251.013");
}

}  // namespace
}  // namespace swiftlet
