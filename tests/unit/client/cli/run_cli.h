// Runs the CLI in the test's process.
#ifndef SWIFTLET_TESTS_UNIT_CLIENT_CLI_RUN_CLI_H_
#define SWIFTLET_TESTS_UNIT_CLIENT_CLI_RUN_CLI_H_

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/cli.h"
#include "tests/unit/client/fake_server.h"

namespace swiftlet::cli {

struct CliResult {
  int code = 0;
  std::string out, err;
};

struct CliInput {
  std::string text = {};  // what is typed
  bool terminal = false;  // all streams are terminals
};

inline CliResult RunCli(std::vector<std::string> args, const CliInput& input = {}) {
  std::istringstream in(input.text);
  std::ostringstream out, err;
  CliIo io{.in = in,
           .out = out,
           .err = err,
           .in_is_terminal = input.terminal,
           .out_is_terminal = input.terminal,
           .err_is_terminal = input.terminal};
  CliResult result;
  result.code = Run(std::move(args), io);
  result.out = out.str();
  result.err = err.str();
  return result;
}

inline CliResult RunCli(const FakeServer& server, std::vector<std::string> args, const CliInput& input = {}) {
  args.insert(args.begin(), {"--server", server.address()});
  return RunCli(std::move(args), input);
}

}  // namespace swiftlet::cli

#endif  // SWIFTLET_TESTS_UNIT_CLIENT_CLI_RUN_CLI_H_
