// The load generator `swiftlet-load`, as a function.
//
//   cli::CliIo io{.in = std::cin, .out = std::cout, .err = std::cerr};
//   return swiftlet::load::Run({"run", "--server", "127.0.0.1:50051", "--seconds", "5"}, io);
#ifndef SWIFTLET_CLIENT_LOAD_LOAD_H_
#define SWIFTLET_CLIENT_LOAD_LOAD_H_

#include <string>
#include <vector>

#include "client/cli/cli.h"

namespace swiftlet::load {

// Runs one command; `args` are the arguments after the program's name. Returns an exit code of
// client/cli/cli.h: kFailed also when an answer was wrong or a call failed, unless --allow-errors is given.
int Run(std::vector<std::string> args, cli::CliIo& io);

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_LOAD_H_
