#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/cli/cli.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // what fails is said once, by the command
  std::signal(SIGPIPE, SIG_IGN);  // `swiftlet ... | head` ends with a message, not a signal
  swiftlet::cli::CliIo io{.in = std::cin,
                          .out = std::cout,
                          .err = std::cerr,
                          .in_is_terminal = isatty(STDIN_FILENO) == 1,
                          .out_is_terminal = isatty(STDOUT_FILENO) == 1,
                          .err_is_terminal = isatty(STDERR_FILENO) == 1};
  return swiftlet::cli::Run(std::vector<std::string>(argv + 1, argv + argc), io);
}
