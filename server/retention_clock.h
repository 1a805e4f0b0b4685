// The time by which old events are dropped: a wall clock that a short jump forward cannot fool.
//
//   RetentionClock clock;
//   database->Maintain(clock.Now(wall_ms, steady_ms));   // from time to time
#ifndef SWIFTLET_SERVER_RETENTION_CLOCK_H_
#define SWIFTLET_SERVER_RETENTION_CLOCK_H_

#include <cstdint>
#include <optional>

namespace swiftlet {

// What was dropped is gone: a clock that is set days ahead by mistake must not drop the whole event log
// before somebody sets it right. The first reading is believed; later ones as far as time has passed by a
// steady clock. A wall clock that stays ahead for kBelieveAfterMs is believed again, and one that goes back
// at once. Thread-compatible.
class RetentionClock {
 public:
  // Beyond this much, the wall clock has jumped.
  static constexpr int64_t kToleranceMs = 60'000;
  static constexpr int64_t kBelieveAfterMs = 3'600'000;

  // Milliseconds since 1970, for two clocks that are read together; steady_ms never decreases.
  int64_t Now(int64_t wall_ms, int64_t steady_ms);

 private:
  struct Reading {
    int64_t wall_ms, steady_ms;
  };
  std::optional<Reading> believed_;
  std::optional<int64_t> ahead_since_ms_;  // steady
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_RETENTION_CLOCK_H_
