#include "server/reaper.h"

#include <utility>

#include "absl/time/time.h"

namespace swiftlet {

Reaper::Reaper() : thread_([this] { Run(); }) {}

Reaper::~Reaper() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.join();
}

void Reaper::Retire(std::shared_ptr<const void> object) {
  if (object == nullptr) return;
  {
    MutexLock lock(mu_);
    waiting_.push_back(std::move(object));
  }
  wake_.NotifyOne();
}

size_t Reaper::num_waiting() const {
  MutexLock lock(mu_);
  return waiting_.size();
}

void Reaper::Run() {
  std::vector<std::shared_ptr<const void>> free;
  for (;;) {
    {
      MutexLock lock(mu_);
      while (waiting_.empty() && !stopping_) wake_.Wait(mu_);
      if (stopping_) {
        free = std::move(waiting_);
        break;
      }
      // A count of 1 is final: only this list holds the object, and nobody can copy from it.
      for (size_t i = 0; i < waiting_.size();) {
        if (waiting_[i].use_count() == 1) {
          free.push_back(std::move(waiting_[i]));
          waiting_[i] = std::move(waiting_.back());
          waiting_.pop_back();
        } else {
          ++i;
        }
      }
    }
    free.clear();  // outside the lock: unmapping a snapshot takes a while
    MutexLock lock(mu_);
    // Requests last less than a millisecond: look again soon, for as long as something waits.
    if (!waiting_.empty() && !stopping_) wake_.WaitFor(mu_, absl::Milliseconds(1));
  }
}

}  // namespace swiftlet
