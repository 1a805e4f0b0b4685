#include "engine/trainer/interrupt.h"

#include <atomic>
#include <csignal>
#include <cstdint>

#include "absl/time/clock.h"

namespace swiftlet {
namespace {

volatile std::sig_atomic_t interrupted = 0;
std::atomic<int64_t> deadline_ns{INT64_MAX};  // since 1970

void HandleSignal(int) { interrupted = 1; }

}  // namespace

void InstallInterruptHandlers() {
  struct sigaction action = {};
  action.sa_handler = HandleSignal;
  // The handler is used once: a second signal meets the default action.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

absl::Status CheckInterrupted() {
  if (interrupted != 0) return absl::CancelledError("interrupted");
  const int64_t deadline = deadline_ns.load(std::memory_order_relaxed);
  if (deadline != INT64_MAX && absl::GetCurrentTimeNanos() >= deadline) {
    return absl::CancelledError("out of time");
  }
  return absl::OkStatus();
}

void SetInterrupted(bool value) { interrupted = value ? 1 : 0; }

ScopedTimeLimit::ScopedTimeLimit(absl::Time deadline) { deadline_ns.store(absl::ToUnixNanos(deadline)); }
ScopedTimeLimit::~ScopedTimeLimit() { deadline_ns.store(INT64_MAX); }
bool ScopedTimeLimit::IsOver() const {
  return interrupted == 0 && absl::GetCurrentTimeNanos() >= deadline_ns.load();
}

}  // namespace swiftlet
