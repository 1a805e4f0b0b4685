// The threads that read calls: how many there are, and that one of them is always awake.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

namespace fs = std::filesystem;

std::string FirstLine(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Directories below /proc of the threads by which gRPC's callback API reads calls.
std::vector<fs::path> IoThreadsOf(pid_t pid) {
  std::vector<fs::path> threads;
  for (const fs::directory_entry& task : fs::directory_iterator(absl::StrCat("/proc/", pid, "/task"))) {
    if (FirstLine(task.path() / "comm") == "nexting_thread") threads.push_back(task.path());
  }
  return threads;
}

int64_t NumWaits(const fs::path& thread) {
  std::ifstream file(thread / "status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("voluntary_ctxt_switches:", 0) == 0) return std::stoll(line.substr(24));
  }
  return -1;
}

class IoThreadsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir_.path() + "/models"), {.version = 1}).ok());
  }

  // Threads that wait for calls, over 300 calls on three connections.
  int NumBusyThreads(const ServerProcess& server) {
    std::map<fs::path, int64_t> before;
    for (const fs::path& thread : IoThreadsOf(server.pid())) before[thread] = NumWaits(thread);
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i) {
      callers.emplace_back([&server] {
        grpc::ChannelArguments args;
        args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
        auto stub = v1::RecommendationService::NewStub(grpc::CreateCustomChannel(
            absl::StrCat("127.0.0.1:", server.grpc_port()), grpc::InsecureChannelCredentials(), args));
        for (int call = 0; call < 100; ++call) {
          grpc::ClientContext context;
          context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
          v1::RecommendResponse response;
          const grpc::Status status = stub->Recommend(&context, UserRequest("u", 3), &response);
          EXPECT_TRUE(status.ok()) << status.error_message();
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    int num_busy = 0;
    for (const auto& [thread, waits] : before) num_busy += NumWaits(thread) >= waits + 5;
    return num_busy;
  }

  TempDir dir_;
};

TEST_F(IoThreadsTest, AsManyThreadsReadCallsAsConfigured) {
  for (const int wanted : {1, 2}) {
    ServerProcess server({.dir = dir_.path(), .config = absl::StrCat("num_io_threads: ", wanted, "\n")});
    ASSERT_TRUE(server.running());
    if (IoThreadsOf(server.pid()).empty()) GTEST_SKIP() << "gRPC has other threads";
    EXPECT_EQ(NumBusyThreads(server), wanted);
    EXPECT_EQ(server.Terminate(), 0);
  }
}

// Without the calls that wake them, a thread without calls spends a tenth of its time in a sleep of 100 ms.
TEST_F(IoThreadsTest, SomeThreadIsAwakeWhenNoCallComes) {
  ServerProcess server({.dir = dir_.path(), .config = "num_io_threads: 1\n"});
  ASSERT_TRUE(server.running());
  const std::vector<fs::path> threads = IoThreadsOf(server.pid());
  if (threads.empty()) GTEST_SKIP() << "gRPC has other threads";
  if (FirstLine(threads[0] / "syscall").empty()) GTEST_SKIP() << "/proc/PID/task/TID/syscall is not readable";
  int num_looks = 0, num_asleep = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(3500);
  while (std::chrono::steady_clock::now() < end) {
    for (const fs::path& thread : threads) {
      const std::string call = FirstLine(thread / "syscall");
      num_asleep += call.rfind(absl::StrCat(SYS_clock_nanosleep, " "), 0) == 0 ||
                    call.rfind(absl::StrCat(SYS_nanosleep, " "), 0) == 0;
    }
    ++num_looks;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_GT(num_looks, 20);
  EXPECT_EQ(num_asleep, 0);
}

}  // namespace
}  // namespace swiftlet::testing
