// swiftlet-server: see `swiftlet-server --help`.
#include <signal.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "server/flags.h"
#include "server/logging.h"
#include "server/server.h"
#include "spdlog/spdlog.h"

int main(int argc, char** argv) {
  const swiftlet::CommandLine line = swiftlet::ParseCommandLine(argc, argv);
  if (line.exit_code.has_value()) return *line.exit_code;
  swiftlet::InitLogging(line.options.log);

  // Blocked before any thread starts, so that every thread inherits it and sigwait gets the signals.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  absl::StatusOr<std::unique_ptr<swiftlet::Server>> server = swiftlet::Server::Start(line.options);
  if (!server.ok()) {
    spdlog::critical("cannot start: {}", std::string(server.status().message()));
    return 1;
  }
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  spdlog::info("signal {}: draining", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
  (*server)->Shutdown();
  server->reset();
  spdlog::info("stopped");
  return 0;
}
