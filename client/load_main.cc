// swiftlet-load: see `swiftlet-load --help`.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "client/load/driver.h"
#include "client/load/load.h"

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // what fails is said once, by the command
  std::signal(SIGPIPE, SIG_IGN);
  // As swiftlet-server does, for the client's sake and so that its null server is comparable.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  for (const int number : {SIGINT, SIGTERM}) {
    std::signal(number, [](int again) {
      if (swiftlet::load::Interrupted()) _exit(128 + again);  // the second time: at once
      swiftlet::load::Interrupt();
    });
  }
  swiftlet::cli::CliIo io{.in = std::cin,
                          .out = std::cout,
                          .err = std::cerr,
                          .in_is_terminal = isatty(STDIN_FILENO) == 1,
                          .out_is_terminal = isatty(STDOUT_FILENO) == 1,
                          .err_is_terminal = isatty(STDERR_FILENO) == 1};
  return swiftlet::load::Run(std::vector<std::string>(argv + 1, argv + argc), io);
}
