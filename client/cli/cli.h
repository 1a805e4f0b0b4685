// The command line client `swiftlet`, as a function.
//
//   CliIo io{.in = std::cin, .out = std::cout, .err = std::cerr};
//   return swiftlet::cli::Run({"recommend", "u42", "-k", "5"}, io);
#ifndef SWIFTLET_CLIENT_CLI_CLI_H_
#define SWIFTLET_CLIENT_CLI_CLI_H_

#include <istream>
#include <ostream>
#include <string>
#include <vector>

namespace swiftlet::cli {

// Where a command reads and writes. Only terminals get colour, progress bars and questions.
struct CliIo {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
};

// Exit codes.
inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;  // a call, a file or a check failed; the reason is on `err`
inline constexpr int kUsage = 2;   // the arguments make no sense; the reason is on `err`

// Runs one command. `args` are the arguments after the program's name. Reads SWIFTLET_SERVER and the
// variables of client/channel_security.h from the environment.
int Run(std::vector<std::string> args, CliIo& io);

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_CLI_H_
