#include "engine/base/background_jobs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using testing::TempDir;

// A job of `steps` steps that counts them.
BackgroundJobs::Job Counting(int steps, std::atomic<int>& count) {
  return [left = steps, &count]() mutable -> absl::StatusOr<bool> {
    ++count;
    return --left > 0;
  };
}

TEST(BackgroundJobsTest, RunsEveryStepOnce) {
  for (const size_t num_threads : {0, 1, 3}) {
    BackgroundJobs jobs({.num_threads = num_threads});
    std::atomic<int> count{0};
    for (int steps = 1; steps <= 20; ++steps) jobs.Add(Counting(steps, count));
    EXPECT_TRUE(jobs.Run().ok());
    EXPECT_EQ(count, 210);
    EXPECT_TRUE(jobs.Run().ok()) << "there is nothing left";
    EXPECT_EQ(count, 210);
  }
}

TEST(BackgroundJobsTest, StepsOfOneJobFollowEachOther) {
  BackgroundJobs jobs({.num_threads = 4});
  std::vector<int> steps(8);  // not atomic
  for (int& step : steps) {
    jobs.Add([&step]() -> absl::StatusOr<bool> { return ++step < 1000; });
  }
  ASSERT_TRUE(jobs.Run().ok());
  for (const int step : steps) EXPECT_EQ(step, 1000);
}

TEST(BackgroundJobsTest, AJobMayAddOthers) {
  for (const size_t num_threads : {0, 2}) {
    BackgroundJobs jobs({.num_threads = num_threads});
    std::atomic<int> count{0};
    jobs.Add([&]() -> absl::StatusOr<bool> {
      for (int i = 0; i < 10; ++i) jobs.Add(Counting(3, count));
      return false;
    });
    EXPECT_TRUE(jobs.Run().ok());
    EXPECT_EQ(count, 30);
  }
}

TEST(BackgroundJobsTest, TheErrorIsThatOfTheFirstJobThatFails) {
  for (const size_t num_threads : {0, 1, 3}) {
    BackgroundJobs jobs({.num_threads = num_threads});
    std::atomic<int> count{0};
    jobs.Add(Counting(100, count));
    // Fails after the next one did.
    jobs.Add([left = 50]() mutable -> absl::StatusOr<bool> {
      if (--left > 0) return true;
      return absl::DataLossError("first");
    });
    jobs.Add([]() -> absl::StatusOr<bool> { return absl::DataLossError("second"); });
    std::atomic<int> never{0};
    jobs.Add([&never]() -> absl::StatusOr<bool> { return ++never > 0; });  // has no end by itself
    EXPECT_EQ(jobs.Run(), absl::DataLossError("first"));
    EXPECT_EQ(count, 100) << "jobs before the failure are finished";
    EXPECT_TRUE(jobs.Run().ok()) << "the failure is forgotten";
  }
}

TEST(BackgroundJobsTest, ThreadsAreOfTheIdleClassAndTheCallerIsNot) {
  const std::thread::id caller = std::this_thread::get_id();
  const int policy = sched_getscheduler(0);
  for (const bool low_priority : {true, false}) {
    BackgroundJobs jobs({.num_threads = 1,
                         .low_priority = low_priority,
                         .idle_patience = absl::Hours(1),
                         .patience = absl::Hours(1)});
    int policy_of_job = -100;
    std::thread::id thread_of_job;
    jobs.Add([&]() -> absl::StatusOr<bool> {
      policy_of_job = sched_getscheduler(0);
      thread_of_job = std::this_thread::get_id();
      return false;
    });
    ASSERT_TRUE(jobs.Run().ok());
    EXPECT_NE(thread_of_job, caller);
    EXPECT_EQ(policy_of_job, low_priority ? SCHED_IDLE : policy);
    EXPECT_EQ(sched_getscheduler(0), policy);
  }
}

TEST(BackgroundJobsTest, OthersTakeThePlaceOfIdleThreadsThatDoNotGetOn) {
  const int nice = getpriority(PRIO_PROCESS, 0);
  BackgroundJobs jobs({.num_threads = 2, .idle_patience = absl::Milliseconds(1), .patience = absl::Hours(1)});
  std::atomic<bool> seen{false};
  std::atomic<int> num_idle{0};
  // Only a step on one of the others ends them.
  for (int i = 0; i < 3; ++i) {
    jobs.Add([&]() -> absl::StatusOr<bool> {
      if (sched_getscheduler(0) == SCHED_IDLE) {
        ++num_idle;
      } else {
        EXPECT_EQ(getpriority(PRIO_PROCESS, 0), std::min(nice + 10, 19));
        seen = true;
      }
      return !seen;
    });
  }
  EXPECT_TRUE(jobs.Run().ok());
  EXPECT_TRUE(seen);
  // The next time begins with idle ones again.
  jobs.Add([&]() -> absl::StatusOr<bool> {
    num_idle = sched_getscheduler(0) == SCHED_IDLE ? -1 : -2;
    return false;
  });
  EXPECT_TRUE(jobs.Run().ok());
  EXPECT_EQ(num_idle, -1);
}

TEST(BackgroundJobsTest, WaitsForWhatItReadsFromDisks) {
  TempDir dir;
  const std::string path = dir.File("cold");
  constexpr int64_t kBytes = int64_t{4} << 20, kStep = 64 << 10, kRate = int64_t{20} << 20;
  std::ofstream(path, std::ios::binary) << std::string(kBytes, 'x');
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::fsync(fd), 0);
  ASSERT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  BackgroundJobs jobs({.num_threads = 2, .patience = absl::Hours(1), .max_read_bytes_per_second = kRate});
  std::atomic<int64_t> blocks{0};
  for (int64_t half = 0; half < 2; ++half) {
    jobs.Add([&, at = half * kBytes / 2, end = (half + 1) * kBytes / 2]() mutable -> absl::StatusOr<bool> {
      rusage before = {}, after = {};
      char buffer[16];
      ::getrusage(RUSAGE_THREAD, &before);
      EXPECT_EQ(::pread(fd, buffer, sizeof(buffer), at), 16);
      ::getrusage(RUSAGE_THREAD, &after);
      blocks += after.ru_inblock - before.ru_inblock;
      at += kStep;
      return at < end;
    });
  }
  const absl::Time start = absl::Now();
  EXPECT_TRUE(jobs.Run().ok());
  const absl::Duration elapsed = absl::Now() - start;
  ::close(fd);
  const int64_t bytes = blocks * 512;
  EXPECT_GE(elapsed, absl::Seconds(static_cast<double>(bytes) / kRate)) << bytes << " bytes";
  if (bytes == 0) GTEST_SKIP() << "reads of this file system are not accounted for";
}

TEST(BackgroundJobsTest, GivesAllUpWhenItIsStopped) {
  for (const size_t num_threads : {0, 2}) {
    std::atomic<bool> stopped{false};
    BackgroundJobs jobs({.num_threads = num_threads, .stopped = [&] { return stopped.load(); }});
    std::atomic<int> count{0};
    for (int i = 0; i < 3; ++i) {
      jobs.Add([&]() -> absl::StatusOr<bool> {
        if (++count == 100) stopped = true;
        return true;  // has no end by itself
      });
    }
    EXPECT_TRUE(absl::IsCancelled(jobs.Run()));
    EXPECT_GE(count, 100);
  }
}

TEST(BackgroundJobsTest, WhenThereIsNoTimeToSpareTheCallerTakesPart) {
  BackgroundJobs jobs({.num_threads = 1, .patience = absl::Milliseconds(1)});
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> caller_took_part{false};
  // Two jobs: while the thread has one, which ends when the caller has come, the caller has the other.
  for (int i = 0; i < 2; ++i) {
    jobs.Add([&]() -> absl::StatusOr<bool> {
      if (std::this_thread::get_id() == caller) caller_took_part = true;
      return !caller_took_part;
    });
  }
  EXPECT_TRUE(jobs.Run().ok());
  EXPECT_TRUE(caller_took_part);
}

}  // namespace
}  // namespace swiftlet
