// A trainer that is killed at any moment, or whose disk is full, while a server watches the model directory:
// what is there is whole, CURRENT names it, and the next run clears away what was left.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/model_snapshot.h"
#include "tests/integration/server_process.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Clock = std::chrono::steady_clock;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // whose runtime wants to be loaded first: nothing is preloaded
constexpr int kRandomKills = 10;
#else
constexpr bool kSanitized = false;
constexpr int kRandomKills = 80;
#endif
constexpr int kKilled = 128 + SIGKILL;

class TrainerKillTest : public ::testing::Test {
 protected:
  TrainerKillTest() {
    std::ofstream events(dir_.File("events.csv"));
    events << "user,item,rating,timestamp\n";
    for (int user = 0; user < 12; ++user) {
      for (int i = 0; i < 5; ++i)
        events << "u" << user << ",i" << (user * 3 + i * i) % 17 << ",4," << i << "\n";
    }
  }

  // Starts swiftlet-trainer, with a setting of file_fault_shim.cc.
  pid_t Start(const std::string& fault) {
    const std::vector<std::string> args = {SWIFTLET_TRAINER_BINARY,
                                           "train",
                                           "--events",
                                           dir_.File("events.csv"),
                                           "--models",
                                           models_.path(),
                                           "--no-holdout",
                                           "--dim",
                                           "4",
                                           "--als-epochs",
                                           "1",
                                           "--max-epochs",
                                           "1",
                                           "--threads",
                                           "1",
                                           "--num-negatives",
                                           "5"};
    std::vector<char*> argv;
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    const int out = open(dir_.File("output").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(out, STDOUT_FILENO);
      dup2(out, STDERR_FILENO);
      if (!fault.empty()) {
        putenv(const_cast<char*>("LD_PRELOAD=" SWIFTLET_FAULT_SHIM));
        putenv(const_cast<char*>(fault.c_str()));
      }
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(out);
    return pid;
  }
  // The exit code, or 128 + the signal.
  static int Wait(pid_t pid) {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int Run(const std::string& fault = "") { return Wait(Start(fault)); }
  std::string Output() const {
    std::ifstream in(dir_.File("output"));
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // Every version is whole, CURRENT names one of them or one is there without it (killed between the two),
  // and nothing else is there but what has a staging name.
  void CheckDirectory() {
    const absl::StatusOr<std::optional<int64_t>> current = models_.ReadCurrent();
    ASSERT_TRUE(current.ok()) << current.status();
    ASSERT_GE(current->value_or(0), last_current_);
    last_current_ = current->value_or(0);
    if (current->has_value()) {
      const auto snapshot = ModelSnapshot::Load(models_.VersionPath(**current), {});
      ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    }
    const std::vector<int64_t> versions = *models_.ListVersions();
    for (const int64_t version : versions) {
      if (version <= newest_) continue;  // was looked at
      const auto snapshot = ModelSnapshot::Load(models_.VersionPath(version), {});
      ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    }
    ASSERT_LE(versions.empty() ? 0 : versions.back(), newest_ + 1) << "one run makes one version";
    if (!versions.empty()) newest_ = versions.back();
    for (const auto& entry : fs::directory_iterator(models_.path())) {
      const std::string name = entry.path().filename();
      EXPECT_TRUE(name == "CURRENT" || name.starts_with(".staging-") || name == "PINNED" ||
                  std::atoi(name.c_str()) > 0)
          << name;
    }
  }
  std::vector<std::string> Leftovers() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(models_.path())) {
      if (entry.path().filename().string().starts_with(".")) names.push_back(entry.path().filename());
    }
    return names;
  }
  // A server may be deleting an old version at the moment, which it renames first.
  void ExpectNoLeftovers() {
    const Clock::time_point end = Clock::now() + std::chrono::seconds(30);
    while (!Leftovers().empty() && Clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_THAT(Leftovers(), IsEmpty());
  }

  TempDir dir_;
  const ModelDirectory models_{dir_.File("models")};
  int64_t last_current_ = 0, newest_ = 0;
};

TEST_F(TrainerKillTest, KilledAtEveryStepOfPublishingItLeavesNothingThatAServerWouldLoad) {
  if (kSanitized) GTEST_SKIP() << "nothing can be preloaded into a sanitized program";
  ServerProcess server({.dir = dir_.path()});
  ASSERT_TRUE(server.running());
  int step = 1, num_without_current = 0;
  for (;; ++step) {
    SCOPED_TRACE(absl::StrCat("killed at step ", step));
    const int code = Run(absl::StrCat("SWIFTLET_KILL_AT=", step));
    ASSERT_NO_FATAL_FAILURE(CheckDirectory()) << Output();
    if (code == 0) break;
    ASSERT_EQ(code, kKilled) << Output();
    const std::vector<int64_t> versions = *models_.ListVersions();
    num_without_current += !versions.empty() && versions.back() > last_current_;
  }
  std::printf("%d steps; a whole version that CURRENT does not name was left after %d of them\n", step - 1,
              num_without_current);
  EXPECT_GT(step, 50) << "the steps of writing three files";
  ASSERT_EQ(Run(), 0) << Output();
  ASSERT_NO_FATAL_FAILURE(CheckDirectory());
  ExpectNoLeftovers();  // the next run clears them away
  ASSERT_TRUE(server.WaitForVersion(last_current_)) << server.Log();
  EXPECT_EQ(server.Metric("swiftlet_snapshot_loads_total{result=\"failed\"}"), 0) << server.Log();
  EXPECT_EQ(server.Terminate(), 0) << server.Log();
}

TEST_F(TrainerKillTest, KilledAtRandomMomentsItLeavesNothingThatAServerWouldLoad) {
  ServerProcess server({.dir = dir_.path()});
  ASSERT_TRUE(server.running());
  const Clock::time_point start = Clock::now();
  ASSERT_EQ(Run(), 0) << Output();
  const auto whole = Clock::now() - start;
  ASSERT_NO_FATAL_FAILURE(CheckDirectory());
  ASSERT_TRUE(server.WaitForVersion(1));
  v1::LoadSnapshotResponse response;
  ASSERT_OK(server.LoadSnapshot(1, &response));  // pinned while others are published
  std::mt19937_64 random(7);
  int num_killed = 0;
  for (int i = 0; i < kRandomKills; ++i) {
    const pid_t pid = Start("");
    std::this_thread::sleep_for(whole * static_cast<int64_t>(random() % 1200) / 1000);
    kill(pid, SIGKILL);
    const int code = Wait(pid);
    ASSERT_TRUE(code == kKilled || code == 0) << Output();
    num_killed += code == kKilled;
    ASSERT_NO_FATAL_FAILURE(CheckDirectory()) << Output();
  }
  std::printf("%d of %d killed before they were done\n", num_killed, kRandomKills);
  EXPECT_GT(num_killed, kRandomKills / 4);
  ASSERT_EQ(Run(), 0) << Output();
  ExpectNoLeftovers();
  EXPECT_EQ(server.GetStatus().serving().version(), 1) << "pinned";
  ASSERT_OK(server.LoadSnapshot(0, &response));
  EXPECT_EQ(response.snapshot().version(), **models_.ReadCurrent());
  EXPECT_EQ(server.Metric("swiftlet_snapshot_loads_total{result=\"failed\"}"), 0) << server.Log();
  EXPECT_EQ(server.Terminate(), 0) << server.Log();
}

TEST_F(TrainerKillTest, AFullDiskIsACleanErrorThatPublishesNothing) {
  if (kSanitized) GTEST_SKIP() << "nothing can be preloaded into a sanitized program";
  ASSERT_EQ(Run(), 0) << Output();
  int step = 1, num_failed = 0;
  for (;; step += 3) {
    SCOPED_TRACE(absl::StrCat("full from step ", step));
    const int code = Run(absl::StrCat("SWIFTLET_FULL_AT=", step));
    if (code == 0) break;
    ++num_failed;
    ASSERT_EQ(code, 1) << Output();
    EXPECT_THAT(Output(), HasSubstr("No space left on device"));
    EXPECT_THAT(*models_.ListVersions(), ::testing::ElementsAre(1)) << Output();
    EXPECT_EQ(*models_.ReadCurrent(), 1);
    EXPECT_THAT(Leftovers(), IsEmpty()) << Output();
  }
  EXPECT_GT(num_failed, 15);
  EXPECT_EQ(*models_.ReadCurrent(), 2) << "nothing was written after the last step";
}

}  // namespace
}  // namespace swiftlet::testing
