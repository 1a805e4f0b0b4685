#include "storage/key_queue.h"

#include <algorithm>
#include <utility>

namespace swiftlet {

KeyQueue::Turn::Turn(KeyQueue& queue, std::vector<uint64_t> keys) : queue_(queue), keys_(std::move(keys)) {
  std::sort(keys_.begin(), keys_.end());
  keys_.erase(std::unique(keys_.begin(), keys_.end()), keys_.end());
  MutexLock lock(queue_.mu_);
  for (const uint64_t key : keys_) {
    auto& waiting = queue_.queues_[key];
    waiting.push_back(this);
    if (waiting.size() > 1) ++num_blocked_;
  }
  while (num_blocked_ > 0) ready_.Wait(queue_.mu_);
}

KeyQueue::Turn::~Turn() {
  MutexLock lock(queue_.mu_);
  for (const uint64_t key : keys_) {
    const auto it = queue_.queues_.find(key);
    auto& waiting = it->second;
    waiting.erase(waiting.begin());
    if (waiting.empty()) {
      queue_.queues_.erase(it);
    } else if (Turn* next = waiting.front(); --next->num_blocked_ == 0) {
      next->ready_.NotifyOne();  // under the lock: `next` is gone soon after it
    }
  }
}

size_t KeyQueue::NumKeysInUse() const {
  MutexLock lock(mu_);
  return queues_.size();
}

}  // namespace swiftlet
