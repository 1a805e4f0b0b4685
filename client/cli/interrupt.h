// Ctrl-C, for commands that end in good order.
#ifndef SWIFTLET_CLIENT_CLI_INTERRUPT_H_
#define SWIFTLET_CLIENT_CLI_INTERRUPT_H_

#include <csignal>

namespace swiftlet::cli {

// While it lives, the first SIGINT or SIGTERM is only noted, and makes the main thread's system calls
// that block fail with EINTR, now and every second from then on (by SIGALRM); a second one of the same kind
// ends the process. Signals that are ignored stay ignored. One at a time in a process.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  bool interrupted() const;

 private:
  struct sigaction old_int_ = {}, old_term_ = {}, old_alarm_ = {};
};

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_INTERRUPT_H_
