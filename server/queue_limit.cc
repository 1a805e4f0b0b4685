#include "server/queue_limit.h"

#include <algorithm>
#include <cmath>

namespace swiftlet {

QueueLimit::QueueLimit(const Options& options)
    : min_limit_(options.min_limit),
      max_limit_(options.max_limit),
      target_wait_ns_(absl::ToInt64Nanoseconds(options.target_wait)),
      limit_(options.max_limit) {}

void QueueLimit::SetOptions(const Options& options) {
  min_limit_.store(options.min_limit, std::memory_order_relaxed);
  const bool same = max_limit_.exchange(options.max_limit, std::memory_order_relaxed) == options.max_limit;
  target_wait_ns_.store(absl::ToInt64Nanoseconds(options.target_wait), std::memory_order_relaxed);
  // The next windows adapt it. What they have found stays where the range is as it was.
  const auto limit =
      same ? std::clamp(limit_.load(std::memory_order_relaxed), options.min_limit, options.max_limit)
           : options.max_limit;
  limit_.store(limit, std::memory_order_relaxed);
}

bool QueueLimit::Admit(int64_t num_behind, Clock::duration waited, Clock::time_point now) {
  const bool admitted = num_behind <= limit_.load(std::memory_order_relaxed);
  if (admitted) {
    num_samples_.fetch_add(1, std::memory_order_relaxed);
    waited_ns_.fetch_add(std::chrono::nanoseconds(waited).count(), std::memory_order_relaxed);
  }
  const Clock::rep ticks = now.time_since_epoch().count();
  const Clock::duration since(ticks - last_call_.exchange(ticks, std::memory_order_relaxed));
  if (since >= kShortestStall && waited > since / 2 && may_excuse_.exchange(false)) {
    const Clock::duration drain = std::min<Clock::duration>(kDrainTimes * since, kLongestDrain);
    drained_by_.store((now + drain).time_since_epoch().count(), std::memory_order_relaxed);
  }
  Clock::rep end = window_end_.load(std::memory_order_relaxed);
  if (ticks >= end && num_samples_.load(std::memory_order_relaxed) >= kMinSamples &&
      window_end_.compare_exchange_strong(end, ticks + Clock::duration(kWindow).count())) {
    EndWindow(ticks >= drained_by_.load(std::memory_order_relaxed));
  }
  return admitted;
}

void QueueLimit::EndWindow(bool may_fall) {
  const int64_t n = num_samples_.exchange(0, std::memory_order_relaxed);
  const int64_t sum = waited_ns_.exchange(0, std::memory_order_relaxed);
  if (n == 0) return;
  const double mean = std::max(1.0, static_cast<double>(sum) / static_cast<double>(n));
  const double target = static_cast<double>(target_wait_ns_.load(std::memory_order_relaxed));
  if (mean > target && !may_fall) return;
  if (mean <= target) may_excuse_.store(true, std::memory_order_relaxed);
  const double gradient = std::clamp(target / mean, 0.5, 1.0);
  const double limit = static_cast<double>(limit_.load(std::memory_order_relaxed));
  const auto next = static_cast<int64_t>(limit * gradient + std::sqrt(limit));
  // Not clamp: while options change, the least may be above the most for a moment.
  limit_.store(std::min(std::max(next, min_limit_.load(std::memory_order_relaxed)),
                        max_limit_.load(std::memory_order_relaxed)),
               std::memory_order_relaxed);
}

}  // namespace swiftlet
