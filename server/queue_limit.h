// How many calls may wait for a thread before more are refused, by how long they wait.
//
// The limit follows the gradient of Netflix's concurrency-limits (Gradient2Limit: limit * gradient +
// sqrt(limit), the gradient in [1/2, 1]), with a delay that is asked for in the place of one that is learned:
// noise cannot teach it a wrong one, and it never goes below a floor. It does not fall for what a stall
// leaves behind: when no call was looked at for a while, though some waited, the machine stood still, and
// what waits gets the time to be answered, once, until all is well again.
//
//   QueueLimit limit({.min_limit = 64, .max_limit = 1024, .target_wait = absl::Milliseconds(20)});
//   if (!limit.Admit(num_behind, waited, now)) return ResourceExhausted();
#ifndef SWIFTLET_SERVER_QUEUE_LIMIT_H_
#define SWIFTLET_SERVER_QUEUE_LIMIT_H_

#include <atomic>
#include <chrono>
#include <cstdint>

#include "absl/time/time.h"

namespace swiftlet {

// Thread-safe, without locks.
class QueueLimit {
 public:
  using Clock = std::chrono::steady_clock;

  struct Options {
    int64_t min_limit = 64;  // at least 1; not above max_limit
    int64_t max_limit = 1024;
    absl::Duration target_wait = absl::Milliseconds(20);  // more than 0
  };
  static constexpr std::chrono::milliseconds kWindow{50};
  static constexpr int64_t kMinSamples = 16;  // a window lasts until it has them
  // What a stall leaves behind may take so many times as long as it did, and a second at most: a server at
  // two thirds of what it can answer needs twice as long.
  static constexpr int kDrainTimes = 2;
  // Single calls take less, even on one thread.
  static constexpr std::chrono::milliseconds kShortestStall{100};
  static constexpr std::chrono::milliseconds kLongestDrain{1000};

  explicit QueueLimit(const Options& options);

  // For a call that has waited this long for its thread while `num_behind` others arrived: whether it is let
  // in. Those that have waited longest are refused first, so that the others wait no longer.
  bool Admit(int64_t num_behind, Clock::duration waited, Clock::time_point now);

  // For calls from now on.
  void SetOptions(const Options& options);

  int64_t limit() const { return limit_.load(std::memory_order_relaxed); }

 private:
  // may_fall: else it only rises.
  void EndWindow(bool may_fall);

  std::atomic<int64_t> min_limit_, max_limit_, target_wait_ns_;
  std::atomic<int64_t> limit_;
  // Of calls that were let in, since the last change. A sample that is counted in the next window does no
  // harm.
  std::atomic<int64_t> num_samples_{0};
  std::atomic<int64_t> waited_ns_{0};
  std::atomic<Clock::rep> window_end_{0};
  std::atomic<bool> may_excuse_{true};     // there was a good window since the last stall
  std::atomic<Clock::rep> last_call_{0};   // when one was looked at
  std::atomic<Clock::rep> drained_by_{0};  // until then the limit does not fall
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_QUEUE_LIMIT_H_
