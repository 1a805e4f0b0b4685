#include "server/retention_clock.h"

namespace swiftlet {

int64_t RetentionClock::Now(int64_t wall_ms, int64_t steady_ms) {
  if (believed_.has_value()) {
    const int64_t expected_ms = believed_->wall_ms + (steady_ms - believed_->steady_ms);
    if (wall_ms > expected_ms + kToleranceMs) {
      if (!ahead_since_ms_.has_value()) ahead_since_ms_ = steady_ms;
      if (steady_ms - *ahead_since_ms_ < kBelieveAfterMs) return expected_ms;
    }
  }
  ahead_since_ms_.reset();
  believed_ = {.wall_ms = wall_ms, .steady_ms = steady_ms};
  return wall_ms;
}

}  // namespace swiftlet
