// Orders calls that touch the same keys, and only those. Private to storage/.
//
//   KeyQueue::Turn turn(queue, {UserKey("u"), EventIdKey("e")});   // waits for earlier calls with one of
//   these keys
//   ... write, fsync ...
//   // the destructor lets the next ones go
#ifndef SWIFTLET_STORAGE_KEY_QUEUE_H_
#define SWIFTLET_STORAGE_KEY_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "engine/base/mutex.h"

namespace swiftlet {

// Thread-safe. A call joins the queues of all its keys at one moment and runs when it is first in each:
// first come, first served, without deadlock and without starvation. Keys are 64-bit hashes; two names with
// one hash only wait for each other without need.
class KeyQueue {
 public:
  class Turn {
   public:
    // Blocks until it is this call's turn. `keys` may repeat.
    Turn(KeyQueue& queue, std::vector<uint64_t> keys);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    friend class KeyQueue;
    KeyQueue& queue_;
    std::vector<uint64_t> keys_;  // sorted, no key twice; constant after construction
    size_t num_blocked_ = 0;      // queues in which another call is first; guarded by queue_.mu_
    CondVar ready_;
  };

  // Calls that wait or run. For tests.
  size_t NumKeysInUse() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  mutable Mutex mu_;
  absl::flat_hash_map<uint64_t, absl::InlinedVector<Turn*, 2>> queues_ ABSL_GUARDED_BY(mu_);
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_KEY_QUEUE_H_
