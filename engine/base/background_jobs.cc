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

void BackgroundJobs::Work() {
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
      while ((mine = NextEntry()) == nullptr && !IsOver()) changed_.Wait(mu_);
      if (mine == nullptr) return;
      mine->running = true;
    }
    absl::StatusOr<bool> step = mine->job();
    status = step.status();
    more = step.ok() && *step;
  }
}

absl::Status BackgroundJobs::Run() {
  std::vector<std::thread> threads;
  for (size_t i = 0; i < options_.num_threads; ++i) {
    threads.emplace_back([this] {
      if (options_.low_priority) LowerThreadPriority();
      Work();
    });
  }
  if (!threads.empty()) {
    const absl::Time deadline = absl::Now() + options_.patience;
    MutexLock lock(mu_);
    while (!IsOver() && absl::Now() < deadline) changed_.WaitFor(mu_, deadline - absl::Now());
  }
  Work();
  for (std::thread& thread : threads) thread.join();
  MutexLock lock(mu_);
  absl::Status status = first_failed_ < entries_.size() ? entries_[first_failed_]->status : absl::OkStatus();
  entries_.clear();
  first_failed_ = ~size_t{0};
  return status;
}

}  // namespace swiftlet
