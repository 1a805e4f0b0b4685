#include "client/cli/interrupt.h"

#include <atomic>

namespace swiftlet::cli {
namespace {

std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void Catch(int signal_number, struct sigaction* old) {
  sigaction(signal_number, nullptr, old);
  if (old->sa_handler == SIG_IGN) return;
  struct sigaction action = {};
  action.sa_handler = [](int) { g_interrupted.store(true); };
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // and not SA_RESTART
  sigaction(signal_number, &action, nullptr);
}

}  // namespace

InterruptScope::InterruptScope() {
  g_interrupted.store(false);
  Catch(SIGINT, &old_int_);
  Catch(SIGTERM, &old_term_);
}

InterruptScope::~InterruptScope() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
}

bool InterruptScope::interrupted() const { return g_interrupted.load(); }

}  // namespace swiftlet::cli
