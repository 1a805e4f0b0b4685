#include "engine/base/background_jobs.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <thread>
#include <utility>

#include "absl/time/clock.h"

namespace swiftlet {
namespace {

constexpr int kMoreNice = 10;
constexpr uint64_t kSliceNs = 100'000;  // how long others may have to wait
constexpr absl::Duration kStopPoll = absl::Milliseconds(50);

// From disks, by the calling thread, page faults and reading ahead included: getrusage(2), where the kernel
// accounts for it.
int64_t BytesRead() {
  constexpr int64_t kBlock = 512;
  rusage usage = {};
  return ::getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_inblock * kBlock : 0;
}

}  // namespace

void LowerThreadPriority() {
  // struct sched_attr of sched_setattr(2), first version.
  struct {
    uint32_t size = 48, policy = SCHED_BATCH;
    uint64_t flags = 0;
    int32_t nice = 0;
    uint32_t priority = 0;
    uint64_t runtime = kSliceNs, deadline = 0, period = 0;
  } attributes;
  attributes.nice = std::min(getpriority(PRIO_PROCESS, 0) + kMoreNice, 19);
  if (syscall(SYS_sched_setattr, 0, &attributes, 0) == 0) return;
  // Of this thread alone, on Linux. Where that fails too, the work is done at normal priority.
  static_cast<void>(setpriority(PRIO_PROCESS, 0, attributes.nice));
}

void MakeThreadIdleClass() {
  const sched_param none = {};
  if (sched_setscheduler(0, SCHED_IDLE, &none) != 0) LowerThreadPriority();
}

void BackgroundJobs::Add(Job job) {
  MutexLock lock(mu_);
  entries_.push_back(std::make_unique<Entry>(Entry{.job = std::move(job)}));
  changed_.NotifyAll();
}

bool BackgroundJobs::IsOver() const {
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i]->running || (!entries_[i]->done && i < first_failed_)) return false;
  }
  return true;
}

BackgroundJobs::Entry* BackgroundJobs::NextEntry() {
  const size_t end = std::min(entries_.size(), first_failed_);
  for (size_t i = 0; i < end; ++i) {
    if (!entries_[i]->running && !entries_[i]->done) return entries_[i].get();
  }
  return nullptr;
}

absl::StatusOr<bool> BackgroundJobs::Step(Entry& entry) {
  const auto stopped = [this] { return options_.stopped != nullptr && options_.stopped(); };
  if (stopped()) return absl::CancelledError("stopped");
  if (options_.max_read_bytes_per_second <= 0) return entry.job();
  const int64_t before = BytesRead();
  absl::StatusOr<bool> more = entry.job();
  const int64_t bytes = BytesRead() - before;
  if (bytes <= 0) return more;
  absl::Time until;
  {
    MutexLock lock(mu_);
    reads_until_ =
        std::max(reads_until_, absl::Now()) +
        absl::Seconds(static_cast<double>(bytes) / static_cast<double>(options_.max_read_bytes_per_second));
    until = reads_until_;
  }
  for (absl::Duration left; (left = until - absl::Now()) > absl::ZeroDuration();) {
    if (stopped()) break;
    absl::SleepFor(std::min(left, kStopPoll));
  }
  return more;
}

void BackgroundJobs::Work(bool idle_class) {
  Entry* mine = nullptr;
  bool more = false;
  absl::Status status;
  for (;;) {
    {
      MutexLock lock(mu_);
      if (mine != nullptr) {
        mine->running = false;
        mine->done = !more;
        mine->status = status;
        if (!status.ok()) {
          for (size_t i = 0; i < entries_.size() && i < first_failed_; ++i) {
            if (entries_[i].get() == mine) first_failed_ = i;
          }
        }
        changed_.NotifyAll();
      }
      const auto leaves = [&]()
                              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return idle_class && idle_time_is_over_; };
      while (!leaves() && (mine = NextEntry()) == nullptr && !IsOver()) changed_.Wait(mu_);
      if (leaves() || mine == nullptr) return;
      mine->running = true;
    }
    const absl::StatusOr<bool> step = Step(*mine);
    // Whoever woke up meanwhile runs now, not when the scheduler next looks.
    if (options_.low_priority) ::sched_yield();
    status = step.status();
    more = step.ok() && *step;
  }
}

bool BackgroundJobs::WaitUntil(absl::Time deadline) {
  MutexLock lock(mu_);
  while (!IsOver() && absl::Now() < deadline) changed_.WaitFor(mu_, deadline - absl::Now());
  return IsOver();
}

absl::Status BackgroundJobs::Run() {
  const absl::Time start = absl::Now();
  std::vector<std::thread> threads;
  const auto add_threads = [&](void (*set_priority)(), bool idle_class) {
    for (size_t i = 0; i < options_.num_threads; ++i) {
      threads.emplace_back([this, set_priority, idle_class] {
        if (set_priority != nullptr) set_priority();
        Work(idle_class);
      });
    }
  };
  if (options_.low_priority && options_.num_threads > 0) {
    add_threads(MakeThreadIdleClass, true);
    if (!WaitUntil(start + std::min(options_.idle_patience, options_.patience))) {
      {
        MutexLock lock(mu_);
        idle_time_is_over_ = true;
        changed_.NotifyAll();
      }
      add_threads(LowerThreadPriority, false);
    }
  } else {
    add_threads(nullptr, false);
  }
  if (!threads.empty()) WaitUntil(start + options_.patience);
  Work(false);
  for (std::thread& thread : threads) thread.join();
  MutexLock lock(mu_);
  absl::Status status = first_failed_ < entries_.size() ? entries_[first_failed_]->status : absl::OkStatus();
  entries_.clear();
  first_failed_ = ~size_t{0};
  idle_time_is_over_ = false;
  return status;
}

}  // namespace swiftlet
