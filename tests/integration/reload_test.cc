// SIGHUP: what a running server takes up of a changed configuration, and what it does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "server/security/roles.h"
#include "server/security/sha256.h"
#include "server/security/token_file.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kOk[] = "swiftlet_reloads_total{result=\"ok\",what=\"configuration\"}";
constexpr char kFailed[] = "swiftlet_reloads_total{result=\"failed\",what=\"configuration\"}";

class ReloadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir_.path() + "/models"), {.version = 1}).ok());
    server_ = std::make_unique<ServerProcess>(
        ServerProcess::Options{.dir = dir_.path(), .config = "log { slow_request_ms: 0 }"});
    ASSERT_TRUE(server_->running());
  }
  // Waits until the server has looked at it; returns what was logged meanwhile.
  std::string Reload(const std::string& config) {
    std::ofstream(dir_.path() + "/server.textproto") << config;
    const size_t logged = server_->Log().size();
    const double before = server_->Metric(kOk) + server_->Metric(kFailed);
    server_->Signal(SIGHUP);
    EXPECT_TRUE(Eventually([&] { return server_->Metric(kOk) + server_->Metric(kFailed) > before; }));
    // The count comes before the last line.
    EXPECT_TRUE(Eventually(
        [&] { return server_->Log().substr(logged).find("configuration: ") != std::string::npos; }));
    return server_->Log().substr(logged);
  }
  grpc::Status Recommend() {
    v1::RecommendResponse response;
    return server_->Recommend(UserRequest("u", 5), &response);
  }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
};

TEST_F(ReloadTest, WhatCanChangeChanges) {
  ASSERT_OK(Recommend());
  EXPECT_THAT(Reload("snapshots { poll_interval_ms: 10 } log { slow_request_ms: 0 }\n"
                     "security { rate_limit { calls_per_second: 0.001 burst: 2 } }"),
              HasSubstr("security.rate_limit.calls_per_second, security.rate_limit.burst"));
  EXPECT_EQ(server_->Metric(kOk), 1);
  EXPECT_THAT(server_->Log(), Not(HasSubstr("need a restart")));
  EXPECT_OK(Recommend());
  EXPECT_OK(Recommend());
  EXPECT_CODE(Recommend(), grpc::StatusCode::RESOURCE_EXHAUSTED, "rate limit");

  Reload(
      "snapshots { poll_interval_ms: 10 } log { slow_request_ms: 0 }\n"
      "limits { methods { method: \"GetStatus\" max_concurrent: 1 } max_queued_calls: 300 }\n"
      "backup { directory: \"" +
      dir_.File("backups") + "\" expected_every_hours: 2 }");
  EXPECT_OK(Recommend());
  EXPECT_EQ(server_->Metric("swiftlet_call_queue_limit"), 300);
  EXPECT_EQ(server_->Metric("swiftlet_backup_expected_interval_seconds"), 7200);
  const auto admin = v1::AdminService::NewStub(server_->channel());
  grpc::ClientContext context;
  v1::CreateBackupResponse created;
  EXPECT_OK(admin->CreateBackup(&context, {}, &created));  // its directory came with the reload
}

TEST_F(ReloadTest, ABadFileChangesNothing) {
  std::string log =
      Reload("security { rate_limit { calls_per_second: 0.001 burst: 1 } }\nlimits {\n  max_k: -5\n}\n");
  EXPECT_THAT(log, HasSubstr("configuration: not reloaded, that from before stays in use: "));
  EXPECT_THAT(log, HasSubstr("server.textproto:3:3: limits.max_k: -5 is not in [1, 100000]"));
  EXPECT_EQ(server_->Metric(kFailed), 1);
  for (int i = 0; i < 5; ++i) EXPECT_OK(Recommend());  // none of it is taken up
  log = Reload("this is { not a configuration");
  EXPECT_THAT(log, HasSubstr("not reloaded"));
  // What only shows when all is put together: flags are on top of the file.
  log = Reload("security { client_rate_limits { client: \"a\" limit { calls_per_second: 1 } } }");
  EXPECT_THAT(log, HasSubstr("security.client_rate_limits: without token_file"));
  EXPECT_EQ(server_->Metric(kFailed), 3);
  EXPECT_EQ(std::remove((dir_.path() + "/server.textproto").c_str()), 0);
  server_->Signal(SIGHUP);
  EXPECT_TRUE(Eventually([&] { return server_->Metric(kFailed) == 4; }))
      << "no file is no configuration either";
  EXPECT_OK(Recommend());
  EXPECT_EQ(server_->Terminate(), 0);
}

TEST_F(ReloadTest, FieldsThatNeedARestartAreNamedEachTime) {
  for (int i = 0; i < 2; ++i) {
    const std::string log = Reload(
        "snapshots { poll_interval_ms: 10 keep_versions: 3 } log { slow_request_ms: 0 }\n"
        "limits { max_k: 7 queue_target_us: 5000 } num_worker_threads: 2\n");
    EXPECT_THAT(log, HasSubstr("differs from that of the start in: limits.queue_target_us"));
    EXPECT_TRUE(Eventually([&] {
      return server_->Log().find(
                 "need a restart: limits.max_k, snapshots.keep_versions, num_worker_threads") !=
             std::string::npos;
    })) << server_->Log();
  }
  v1::RecommendResponse response;
  EXPECT_OK(server_->Recommend(UserRequest("u", 8), &response));  // max_k is as it was
}

TEST_F(ReloadTest, WithoutAConfigurationFileItSaysWhatIsReloaded) {
  std::ofstream(dir_.File("tokens")) << FormatToken(
      {.name = "a", .roles = RoleSet::Of(Role::kRecommend), .digest = Sha256("a")});
  for (const bool tokens : {false, true}) {
    server_ = nullptr;
    ServerProcess::Options options = {.dir = dir_.path(), .has_config = false};
    if (tokens) options.args = {"--token-file", dir_.File("tokens")};
    server_ = std::make_unique<ServerProcess>(options);
    ASSERT_TRUE(server_->running());
    server_->Signal(SIGHUP);
    const std::string expected =
        std::string("configuration: there is no file (--config) to read again; ") +
        (tokens ? "tokens are taken up where they have changed" : "nothing is reloaded");
    EXPECT_TRUE(Eventually([&] { return server_->Log().find(expected) != std::string::npos; }))
        << server_->Log();
    EXPECT_THAT(server_->Log(), Not(HasSubstr("configuration: reloaded")));
    EXPECT_EQ(server_->Metric(kOk), 0);
    EXPECT_EQ(server_->Metric(kFailed), 0);
  }
}

TEST_F(ReloadTest, AHigherLimitThanAConnectionHasRoomForNeedsARestart) {
  // The defaults, 1,024 calls in progress and 1,024 that wait, leave room for twice as many.
  EXPECT_THAT(Reload("snapshots { poll_interval_ms: 10 } log { slow_request_ms: 0 } limits { "
                     "max_concurrent_requests: 4096 }"),
              HasSubstr("reloaded; differs from that of the start in: limits.max_concurrent_requests"));
  EXPECT_OK(Recommend());
  EXPECT_THAT(server_->Log(), Not(HasSubstr("max_concurrent_requests (until")));
  Reload(
      "snapshots { poll_interval_ms: 10 } log { slow_request_ms: 0 } limits { max_concurrent_requests: 4097 "
      "}");
  EXPECT_TRUE(Eventually([&] {
    return server_->Log().find(
               "need a restart: limits.max_concurrent_requests (until then at most 4096 over one "
               "connection)") != std::string::npos;
  })) << server_->Log();
}

TEST_F(ReloadTest, UnderLoadNoCallFails) {
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0}, answered{0};
  std::thread caller([&] {
    while (!stop.load()) {
      if (!Recommend().ok()) ++failed;
      ++answered;
    }
  });
  for (int i = 0; i < 20; ++i) {
    Reload(i % 2 == 0 ? "retrieval { mode: \"approximate\" budget_rows: 500 } drain_timeout_ms: 500"
                      : "limits { max_concurrent_requests: 10 min_queued_calls: 4 max_queued_calls: 8 }");
  }
  EXPECT_TRUE(Eventually([&] { return answered.load() > 50; }));
  stop.store(true);
  caller.join();
  EXPECT_EQ(failed.load(), 0);
  EXPECT_EQ(server_->Metric(kOk), 20);
}

}  // namespace
}  // namespace swiftlet::testing
