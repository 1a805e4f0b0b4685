#include "engine/trainer/interrupt.h"

#include <csignal>

namespace swiftlet {
namespace {

volatile std::sig_atomic_t interrupted = 0;

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
  return interrupted != 0 ? absl::CancelledError("interrupted") : absl::OkStatus();
}

void SetInterrupted(bool value) { interrupted = value ? 1 : 0; }

}  // namespace swiftlet
