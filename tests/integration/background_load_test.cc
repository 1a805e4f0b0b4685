// Loads beside requests: how long their threads stay in the idle scheduling class, and that the end of the
// server does not wait for them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/server_process.h"
#include "tests/integration/versioned_models.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

// Restricts this thread, and the processes that it starts, to one processor while it lives.
class OnOneCpu {
 public:
  OnOneCpu() {
    sched_getaffinity(0, sizeof(before_), &before_);
    while (!CPU_ISSET(cpu_, &before_)) ++cpu_;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu_, &one);
    sched_setaffinity(0, sizeof(one), &one);
  }
  ~OnOneCpu() { sched_setaffinity(0, sizeof(before_), &before_); }
  OnOneCpu(const OnOneCpu&) = delete;
  OnOneCpu& operator=(const OnOneCpu&) = delete;

 private:
  int cpu_ = 0;
  cpu_set_t before_;
};

// Threads that want all of that processor: one of the idle class gets less than a thousandth of it.
class BusyCpu {
 public:
  BusyCpu() {
    const OnOneCpu there;
    for (int i = 0; i < 16; ++i) {
      threads_.emplace_back([this] {
        while (!stop_.load(std::memory_order_relaxed)) {
        }
      });
    }
  }
  ~BusyCpu() {
    stop_.store(true);
    for (std::thread& thread : threads_) thread.join();
  }
  BusyCpu(const BusyCpu&) = delete;
  BusyCpu& operator=(const BusyCpu&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

int NumThreads(pid_t pid, int policy) {
  int count = 0;
  std::error_code error;
  for (fs::directory_iterator it(absl::StrCat("/proc/", pid, "/task"), error), end; !error && it != end;
       it.increment(error)) {
    if (sched_getscheduler(std::stoi(it->path().filename().string())) == policy) ++count;
  }
  return count;
}

// Some 16 MB, but too few items for an index, which takes long to build.
constexpr VersionedModelOptions kLarge = {.num_items = 8'000, .dim = 256};

TEST(BackgroundLoad, OneThatAnOperatorAskedForLeavesTheIdleClassAfterFiveSeconds) {
  TempDir dir;
  for (const int64_t version : {1, 2}) PublishVersion(dir.File("models"), version, kLarge);
  // By its size a load of it may stay in the idle class for 20 s.
  std::ofstream(dir.File("models/1/padding")).close();
  fs::resize_file(dir.File("models/1/padding"), uint64_t{4} << 30);
  std::unique_ptr<ServerProcess> server;
  {
    const OnOneCpu there;
    server = std::make_unique<ServerProcess>(
        ServerProcess::Options{.dir = dir.path(), .snapshot_config = "read_bytes_per_second: 0"});
  }
  ASSERT_TRUE(server->WaitForVersion(2));
  const int low_before = NumThreads(server->pid(), SCHED_BATCH);
  ASSERT_EQ(NumThreads(server->pid(), SCHED_IDLE), 0);
  // How long a load has threads of the idle class only, but no longer than `at_most`.
  const auto idle_time = [&](seconds at_most) {
    EXPECT_TRUE(Eventually([&] { return NumThreads(server->pid(), SCHED_IDLE) > 0; }));
    const auto start = Clock::now();
    Eventually([&] { return NumThreads(server->pid(), SCHED_BATCH) > low_before; }, at_most);
    return Clock::now() - start;
  };
  v1::LoadSnapshotResponse response;
  {
    std::optional<BusyCpu> busy(std::in_place);
    std::thread load([&] { EXPECT_OK(server->LoadSnapshot(1, &response)); });
    const auto time = idle_time(seconds(15));
    EXPECT_GT(time, seconds(4));
    EXPECT_LT(time, seconds(8));
    busy.reset();
    load.join();
    EXPECT_EQ(response.snapshot().version(), 1);
  }
  // A load of the server's own accord has more time.
  ASSERT_OK(server->LoadSnapshot(0, &response));
  std::optional<BusyCpu> busy(std::in_place);
  std::ofstream(dir.File("models/PINNED.new")) << "1\n";
  fs::rename(dir.File("models/PINNED.new"), dir.File("models/PINNED"));
  EXPECT_GE(idle_time(seconds(7)), seconds(7));
  EXPECT_GT(NumThreads(server->pid(), SCHED_IDLE), 0) << "it goes on";
  busy.reset();
  EXPECT_TRUE(server->WaitForVersion(1));
}

// The system does not have it in memory: at 1 MiB a second a load takes a quarter of a minute.
void PublishLarge(const std::string& models, int64_t version) {
  PublishVersion(models, version, kLarge, [](const std::string& staging) {
    for (const auto& entry : fs::directory_iterator(staging)) {
      const int fd = open(entry.path().c_str(), O_RDWR | O_CLOEXEC);
      EXPECT_EQ(fsync(fd), 0);
      EXPECT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
      close(fd);
    }
  });
}

// The parameter: whether an operator waits for the load.
class ThrottledLoadTest : public ::testing::TestWithParam<bool> {};

TEST_P(ThrottledLoadTest, DoesNotKeepTheServerFromEnding) {
  TempDir dir;
  PublishVersion(dir.File("models"), 1);
  ServerProcess server({.dir = dir.path(), .snapshot_config = "read_bytes_per_second: 1048576"});
  ASSERT_TRUE(server.WaitForVersion(1));
  grpc::Status status;
  std::thread load;
  if (GetParam()) std::ofstream(dir.File("models/PINNED")) << "1\n";
  PublishLarge(dir.File("models"), 2);
  if (GetParam()) {
    load = std::thread([&] {
      v1::LoadSnapshotResponse response;
      status = server.LoadSnapshot(2, &response);
    });
  }
  EXPECT_TRUE(server.WaitForState(2, v1::SNAPSHOT_STATE_LOADING));
  std::this_thread::sleep_for(seconds(1));
  const bool throttled = server.GetStatus().serving().version() == 1;
  const auto start = Clock::now();
  EXPECT_EQ(server.Terminate(), 0) << server.Log();
  EXPECT_LT(Clock::now() - start, seconds(5));
  if (load.joinable()) load.join();
  if (!throttled) GTEST_SKIP() << "reads of this file system are not accounted for";
  if (GetParam()) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    EXPECT_THAT(status.error_message(), ::testing::HasSubstr("shutting down"));
  }
}

INSTANTIATE_TEST_SUITE_P(, ThrottledLoadTest, ::testing::Bool(), [](const auto& info) {
  return info.param ? std::string("AskedForByAnOperator") : std::string("OfAPublication");
});

}  // namespace
}  // namespace swiftlet::testing
