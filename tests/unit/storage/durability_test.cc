// Acknowledged events survive kill -9 at any moment, and no batch is half there.
//
// The writer is this binary, started again with the name of the data directory in the environment: after a
// fork alone, RocksDB's threads would be missing.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <random>
#include <set>
#include <thread>

#include "storage/database.h"
#include "storage/training_reader.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::HistoryOf;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::Oracle;
using storage_testing::TempDir;

constexpr char kPathVariable[] = "SWIFTLET_DURABILITY_PATH";
constexpr char kRoundVariable[] = "SWIFTLET_DURABILITY_ROUND";
constexpr int kAckFd = 3;
constexpr int kUsers = 4;

DatabaseOptions Options(const std::string& path) { return {.path = path, .max_history_events = 50}; }

// Event ids: "<round>-<thread>-<call>/<size of the batch>/<index>".
std::string BatchOf(const std::string& event_id) { return event_id.substr(0, event_id.find('/')); }

// Not a test of its own: what the child runs until it is killed.
TEST(DurabilityChild, DISABLED_RecordsAndAcknowledges) {
  const char* path = getenv(kPathVariable);
  const char* round = getenv(kRoundVariable);
  ASSERT_TRUE(path != nullptr && round != nullptr) << "started by DurabilityTest only";
  const auto db = OpenOrDie(Options(path));
  ASSERT_NE(db, nullptr);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 rng(static_cast<unsigned>(t));
      for (int call = 0;; ++call) {
        const std::string batch = absl::StrCat(round, "-", t, "-", call);
        const size_t size = 1 + rng() % 6;
        std::vector<EventRecord> events;
        for (size_t i = 0; i < size; ++i) {
          events.push_back(Event(absl::StrCat("u", rng() % kUsers), absl::StrCat("item ", batch, i),
                                 static_cast<int64_t>(rng() % 8), absl::StrCat(batch, "/", size, "/", i)));
        }
        if (!db->RecordEvents(events, kNow).ok()) _exit(2);
        const std::string line = absl::StrCat(batch, " ", size, "\n");
        if (write(kAckFd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) _exit(3);
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

// Starts the child, reads acknowledgements until there are `kill_after` of them, kills it, and returns all.
std::map<std::string, size_t> RunAndKill(const std::string& path, int round, int kill_after) {
  int ack[2];
  EXPECT_EQ(pipe(ack), 0);
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string path_setting = absl::StrCat(kPathVariable, "=", path);
  const std::string round_setting = absl::StrCat(kRoundVariable, "=", round);
  std::vector<char*> environment;
  for (char** e = environ; *e != nullptr; ++e) {
    if (std::string_view(*e).starts_with("GTEST_") || std::string_view(*e).starts_with("TESTBRIDGE_"))
      continue;
    environment.push_back(*e);
  }
  environment.push_back(const_cast<char*>(path_setting.c_str()));
  environment.push_back(const_cast<char*>(round_setting.c_str()));
  environment.push_back(nullptr);
  const char* const arguments[] = {self.c_str(), "--gtest_filter=DurabilityChild.*",
                                   "--gtest_also_run_disabled_tests", nullptr};
  const pid_t child = fork();
  if (child == 0) {
    if (dup2(ack[1], kAckFd) < 0) _exit(4);
    execve(self.c_str(), const_cast<char**>(arguments), environment.data());
    _exit(5);
  }
  close(ack[1]);
  std::string received;
  char buffer[4096];
  bool killed = false;
  for (ssize_t n; (n = read(ack[0], buffer, sizeof(buffer))) > 0;) {
    received.append(buffer, static_cast<size_t>(n));
    if (!killed && std::count(received.begin(), received.end(), '\n') >= kill_after) {
      kill(child, SIGKILL);
      killed = true;  // what it wrote before it died still comes
    }
  }
  close(ack[0]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
      << "status " << status << " in round " << round;
  std::map<std::string, size_t> acknowledged;
  std::istringstream lines(received);
  std::string batch;
  for (size_t size; lines >> batch >> size;) acknowledged[batch] = size;
  return acknowledged;
}

TEST(DurabilityTest, KillLosesNoAcknowledgedEventAndHalvesNoBatch) {
  const TempDir dir;
  const std::string path = dir.Path("db");
  std::mt19937 rng(11);
  std::map<std::string, size_t> acknowledged;
  for (int round = 0; round < 20; ++round) {
    const auto now = RunAndKill(path, round, 1 + static_cast<int>(rng() % 200));
    ASSERT_FALSE(now.empty());
    acknowledged.insert(now.begin(), now.end());

    const auto db = OpenOrDie(Options(path));
    ASSERT_NE(db, nullptr);
    const auto reader = TrainingReader::Open(path, dir.Path("scratch"));
    ASSERT_OK(reader.status());
    std::map<std::string, std::set<std::string>> stored;  // batch -> event ids
    std::map<std::string, std::vector<EventRecord>> of_user;
    uint64_t num_events = 0;
    EventRecord last;
    ASSERT_OK((*reader)->ForEachEvent([&](int64_t, const EventRecord& event) {
      stored[BatchOf(event.event_id)].insert(event.event_id);
      of_user[event.user_id].push_back(event);
      ++num_events;
      last = event;
      return absl::OkStatus();
    }));
    uint64_t num_ids = 0;
    for (const auto& [batch, ids] : stored) {
      num_ids += ids.size();
      const size_t size = std::stoul(ids.begin()->substr(batch.size() + 1));
      EXPECT_EQ(ids.size(), size) << "half of batch " << batch << " in round " << round;
    }
    EXPECT_EQ(num_ids, num_events) << "an event is stored twice";
    for (const auto& [batch, size] : acknowledged) {
      EXPECT_TRUE(stored.contains(batch)) << "lost: " << batch << " in round " << round;
    }
    for (int u = 0; u < kUsers; ++u) {
      const std::string user = absl::StrCat("u", u);
      EXPECT_EQ(HistoryOf(*db, user), Oracle(of_user[user], 50)) << user << " in round " << round;
    }
    // A retry after the crash is a duplicate.
    const auto retried = db->RecordEvents({{last}}, kNow);
    ASSERT_OK(retried.status());
    EXPECT_EQ(retried->num_duplicates, 1);
  }
}

}  // namespace
}  // namespace swiftlet
