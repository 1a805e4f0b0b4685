// The slot that readers acquire the current state from.
//
//   Slot<ServingState> slot;
//   std::shared_ptr<const ServingState> state = slot.Acquire();   // keep it for one request, never longer
//   std::shared_ptr<const ServingState> old = slot.Exchange(std::move(next));
//   // The owner keeps `old` until it is the only holder, and frees it on its own thread.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_SLOT_H_
#define SWIFTLET_ENGINE_SNAPSHOT_SLOT_H_

#include <memory>
#include <utility>

#include "engine/base/mutex.h"

namespace swiftlet {

// Thread-safe.
template <typename T>
class Slot {
 public:
  // Null until the first Exchange.
  std::shared_ptr<const T> Acquire() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return value_;
  }
  // Shows `next` to every later Acquire and returns what was there.
  std::shared_ptr<const T> Exchange(std::shared_ptr<const T> next) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return std::exchange(value_, std::move(next));
  }

 private:
  mutable Mutex mu_;
  std::shared_ptr<const T> value_ ABSL_GUARDED_BY(mu_);
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_SLOT_H_
