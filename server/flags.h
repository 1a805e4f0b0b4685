// The command line of swiftlet-server.
#ifndef SWIFTLET_SERVER_FLAGS_H_
#define SWIFTLET_SERVER_FLAGS_H_

#include <optional>

#include "server/config.h"

namespace swiftlet {

struct CommandLine {
  // Set: the process ends with this code; what there was to say has been printed (help, version, an error).
  std::optional<int> exit_code;
  ServerOptions options;
};

// The configuration file with the flags on top. Exit codes: 0 for --help, --version and a good
// --check-config, 2 for a bad command line or configuration.
CommandLine ParseCommandLine(int argc, const char* const* argv);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_FLAGS_H_
