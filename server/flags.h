// The command line of swiftlet-server.
#ifndef SWIFTLET_SERVER_FLAGS_H_
#define SWIFTLET_SERVER_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "server/config.h"

namespace swiftlet {

struct CommandLine {
  // Set: the process ends with this code; what there was to say has been printed (help, version, a bad
  // command line), or is the error.
  std::optional<int> exit_code;
  // What is wrong with the configuration, a line for each error; with `exit_code`, or the doctor's to report.
  std::string error;
  enum class Action { kServe, kDoctor, kDoctorJson, kBackup, kRestore, kListBackups };
  Action action = Action::kServe;
  ServerOptions options;
  v1::ServerConfig config;  // what `options` was made of: the file with the flags on top
  bool has_config_file = false;
  std::string backups;     // kBackup, kRestore, kListBackups: the directory of backups
  uint32_t backup_id = 0;  // kRestore: 0: the newest
};

// The configuration file with the flags on top. Exit codes: 0 for --help, --version and a good
// --check-config, 2 for a bad command line or configuration.
CommandLine ParseCommandLine(int argc, const char* const* argv);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_FLAGS_H_
