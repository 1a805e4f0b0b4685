// A server that is killed with SIGKILL again and again, under load, while it starts and while it swaps
// snapshots, loses nothing that it acknowledged and keeps nothing in part.
//
//   SWIFTLET_KILLS=20000 server_kill_test     for hours by hand; default 200 (fewer under a sanitizer)
//   SWIFTLET_KILL_SEED=7                      the calls of an earlier run; a failure prints its seed
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/event_types.h"
#include "storage/training_reader.h"
#include "tests/integration/kill_load.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTests = 4;  // that share the kills, to run side by side
constexpr int kClients = 4;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kDefaultKills = 24;
#else
constexpr int kDefaultKills = 200;
#endif

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

class KillTest : public ::testing::TestWithParam<int> {
 protected:
  KillTest()
      : seed_(static_cast<uint64_t>(FromEnvironment("SWIFTLET_KILL_SEED", std::random_device()()))),
        random_(seed_ * kTests + static_cast<uint64_t>(GetParam())),
        load_(seed_ * kTests + static_cast<uint64_t>(GetParam()), kClients) {}

  uint32_t Random(uint32_t below) { return static_cast<uint32_t>(random_() % below); }
  ServerProcess::Options Options(bool wait) const {
    return {.dir = dir_.path(),
            .config = absl::StrCat("limits { max_history_events: ", kKillMaxHistory, " }"),
            .wait = wait};
  }
  void Publish() {
    constexpr uint64_t kUsers = kClients * kKillUsersPerClient;
    const absl::Status status = PublishRandomSnapshot(ModelDirectory(dir_.path() + "/models"),
                                                      {.dim = kKillDim,
                                                       .version = ++version_,
                                                       .num_users = kUsers,
                                                       .write_user_vectors = RandomUserVectors(kUsers, 1)});
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void Sleep(uint32_t below_us) { std::this_thread::sleep_for(std::chrono::microseconds(Random(below_us))); }
  void Kill(ServerProcess& server) {
    ASSERT_EQ(server.Kill(), 128 + SIGKILL) << "the server ended by itself:\n" << server.Log();
    ++kills_;
  }
  std::unique_ptr<ServerProcess> Start() {
    const auto start = Clock::now();
    auto server = std::make_unique<ServerProcess>(Options(/*wait=*/true));
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
    start_us_ = static_cast<uint32_t>(took.count());
    return server;
  }
  void ExpectLogged(const std::string& data_dir) {
    auto log = TrainingReader::Open(data_dir, dir_.File("scratch"));
    ASSERT_TRUE(log.ok()) << log.status().ToString();
    load_.ExpectLogged(**log);
  }

  const uint64_t seed_;
  std::mt19937_64 random_;
  TempDir dir_;
  KillLoad load_;
  int64_t version_ = 0;
  int kills_ = 0;
  uint32_t start_us_ = 100'000;
};

TEST_P(KillTest, LosesNothingAndKeepsNothingInPart) {
  SCOPED_TRACE(absl::StrCat("SWIFTLET_KILL_SEED=", seed_));
  const auto kills =
      static_cast<int>(std::max<int64_t>(1, FromEnvironment("SWIFTLET_KILLS", kDefaultKills) / kTests));
  int starting = 0, swapping = 0;
  ASSERT_NO_FATAL_FAILURE(Publish());
  while (kills_ < kills && !HasFailure()) {
    const uint32_t moment = Random(10);
    if (moment < 2) {  // while it starts: creates, recovers, loads
      ServerProcess server(Options(/*wait=*/false));
      Sleep(start_us_);
      ASSERT_NO_FATAL_FAILURE(Kill(server));
      ++starting;
      continue;
    }
    const std::unique_ptr<ServerProcess> server = Start();
    ASSERT_TRUE(server->running());
    load_.Settle(*server);
    load_.ExpectStored(*server, /*all=*/false);
    if (HasFailure()) break;
    load_.Start(*server);
    if (moment < 4) {  // while it swaps
      load_.WaitForAcknowledged(static_cast<int>(Random(20)));
      ASSERT_NO_FATAL_FAILURE(Publish());
      Sleep(40'000);
      ++swapping;
    } else if (moment < 6) {
      Sleep(30'000);
    } else {
      load_.WaitForAcknowledged(static_cast<int>(Random(120)));
    }
    ASSERT_NO_FATAL_FAILURE(Kill(*server));
    load_.Join();
  }
  ASSERT_FALSE(HasFailure()) << "after " << kills_ << " kills";

  std::unique_ptr<ServerProcess> server = Start();
  ASSERT_TRUE(server->running());
  load_.Settle(*server);
  load_.ExpectStored(*server, /*all=*/true);
  ExpectLogged(server->data_dir());
  const std::string data_dir = server->data_dir();
  ASSERT_NO_FATAL_FAILURE(Kill(*server));
  ExpectLogged(data_dir);

  const KillLoad::Totals totals = load_.totals();
  std::printf(
      "%d kills, %d of them while starting and %d while swapping; %lu calls acknowledged: %lu events and %lu "
      "duplicates, %lu items written and %lu deleted, %lu users erased; %lu calls cut off, %lu of them "
      "stored; "
      "%lu reads\n",
      kills_, starting, swapping, totals.acknowledged, totals.events, totals.duplicates, totals.items,
      totals.deleted_items, totals.deleted_users, totals.cut_off, totals.cut_off_stored, totals.reads);
  if (kills_ < 20) return;  // chance may have put all of a few kills into starts
  EXPECT_GT(totals.events, 0u);
  EXPECT_GT(totals.cut_off, 0u);
  EXPECT_LT(totals.cut_off_stored, totals.cut_off);
}

INSTANTIATE_TEST_SUITE_P(Kills, KillTest, ::testing::Range(0, kTests));

}  // namespace
}  // namespace swiftlet::testing
