// Ctrl-C and SIGTERM as a flag that long work looks at between small steps.
#ifndef SWIFTLET_ENGINE_TRAINER_INTERRUPT_H_
#define SWIFTLET_ENGINE_TRAINER_INTERRUPT_H_

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace swiftlet {

// SIGINT and SIGTERM set the flag from now on; a second one of either kills the process at once.
void InstallInterruptHandlers();
// CANCELLED once the flag is set, else OK. Thread-safe and cheap.
absl::Status CheckInterrupted();
// Sets or clears the flag. For tests.
void SetInterrupted(bool interrupted);

// While it lives, CheckInterrupted is CANCELLED after `deadline`, too. One at a time.
class ScopedTimeLimit {
 public:
  explicit ScopedTimeLimit(absl::Time deadline);
  ~ScopedTimeLimit();
  ScopedTimeLimit(const ScopedTimeLimit&) = delete;
  ScopedTimeLimit& operator=(const ScopedTimeLimit&) = delete;
  // Whether it was the time that made an end, and not somebody's signal.
  bool IsOver() const;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_INTERRUPT_H_
