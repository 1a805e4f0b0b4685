// Work that must not be in anybody's way: done step by step on threads of low priority.
//
//   BackgroundJobs jobs({.num_threads = 2});
//   jobs.Add([&]() -> absl::StatusOr<bool> { ...; return there_is_more; });
//   SWIFTLET_RETURN_IF_ERROR(jobs.Run());
#ifndef SWIFTLET_ENGINE_BASE_BACKGROUND_JOBS_H_
#define SWIFTLET_ENGINE_BASE_BACKGROUND_JOBS_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"

namespace swiftlet {

// Of the calling thread, for good: an unprivileged thread cannot go back. It gets a tenth of what others get
// where they want a whole processor, and where it runs, another that wakes up waits a tenth of a millisecond
// for it at most (Linux 6.12; before, for a few). Never starves.
void LowerThreadPriority();

// Of the calling thread, for good: it gets only what nobody else wants, and whoever wakes up takes its place
// at once. Above, a thread that wakes up may wait for the next tick of the scheduler, some milliseconds,
// before the lower one leaves. On a full machine it stands still for seconds: not for a thread that takes
// locks which requests want, in the process or in the kernel.
void MakeThreadIdleClass();

// Add is thread-safe; Run is one call at a time.
class BackgroundJobs {
 public:
  struct Options {
    // 0: the thread that calls Run does all, at its own priority.
    size_t num_threads = 0;
    bool low_priority = true;  // false: like the calling thread's, where nothing else is to be done
    // With low_priority, threads are of the idle class first. Where that has not sufficed after this long,
    // since others want the whole machine, threads of low priority (LowerThreadPriority) take their place:
    // at once for steps to come, and at its end for a step that is begun, which Run waits for.
    absl::Duration idle_patience = absl::Seconds(2);
    // Where there is no time to spare, Run takes part itself after this long.
    absl::Duration patience = absl::Seconds(5);
    // Of all threads together, from disks: what the system has in memory does not count. Steps that read more
    // make the next ones wait. 0: no limit.
    int64_t max_read_bytes_per_second = 0;
    // Asked before every step and while one waits, on any thread: true gives all jobs up, with CANCELLED. May
    // be null.
    std::function<bool()> stopped = nullptr;
  };
  // One step of about a tenth of a millisecond: after each, others may have the processor. False: the job is
  // done. Not called again after an error.
  using Job = std::function<absl::StatusOr<bool>()>;

  explicit BackgroundJobs(const Options& options) : options_(options) {}
  BackgroundJobs(const BackgroundJobs&) = delete;
  BackgroundJobs& operator=(const BackgroundJobs&) = delete;

  // Also from a step of another job, which may so make sure of an order. Steps of one job never run at the
  // same time, and each sees what those before it did.
  void Add(Job job) ABSL_LOCKS_EXCLUDED(mu_);
  // Runs all jobs. On failure returns the error of the job that was added first of those that fail: later
  // ones are given up, earlier ones are finished. The jobs are gone then, done or not.
  absl::Status Run() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Entry {
    Job job;
    bool running = false, done = false;
    absl::Status status = {};
  };

  // Runs steps until there is nothing left to do; of the idle class, until its time is over.
  void Work(bool idle_class) ABSL_LOCKS_EXCLUDED(mu_);
  // The step, and what waiting its reads from disks call for.
  absl::StatusOr<bool> Step(Entry& entry) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether all was done by then.
  bool WaitUntil(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);
  Entry* NextEntry() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsOver() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  mutable Mutex mu_;
  CondVar changed_;
  std::vector<std::unique_ptr<Entry>> entries_ ABSL_GUARDED_BY(mu_);  // in order of Add
  size_t first_failed_ ABSL_GUARDED_BY(mu_) = ~size_t{0};
  bool idle_time_is_over_ ABSL_GUARDED_BY(mu_) = false;
  // When what was read so far may have been read.
  absl::Time reads_until_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_BASE_BACKGROUND_JOBS_H_
