#include "client/cli/interrupt.h"

#include <unistd.h>

#include <atomic>

namespace swiftlet::cli {
namespace {

std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void Catch(int signal_number, void (*handler)(int), int flags, struct sigaction* old) {
  sigaction(signal_number, nullptr, old);
  if (signal_number != SIGALRM && old->sa_handler == SIG_IGN) return;
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;  // never SA_RESTART
  sigaction(signal_number, &action, nullptr);
}

void Note(int /*signal_number*/) {
  g_interrupted.store(true);
  alarm(1);
}

// The signal may have come just before a call that blocks: interrupts that one, too.
void Again(int /*signal_number*/) { alarm(1); }

}  // namespace

InterruptScope::InterruptScope() {
  g_interrupted.store(false);
  Catch(SIGALRM, Again, 0, &old_alarm_);
  Catch(SIGINT, Note, static_cast<int>(SA_RESETHAND), &old_int_);
  Catch(SIGTERM, Note, static_cast<int>(SA_RESETHAND), &old_term_);
}

InterruptScope::~InterruptScope() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
  alarm(0);
  sigaction(SIGALRM, &old_alarm_, nullptr);
}

bool InterruptScope::interrupted() const { return g_interrupted.load(); }

}  // namespace swiftlet::cli
