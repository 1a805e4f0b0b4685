// The commands of swiftlet-load. Private to client/load.
#ifndef SWIFTLET_CLIENT_LOAD_COMMANDS_H_
#define SWIFTLET_CLIENT_LOAD_COMMANDS_H_

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/cli.h"
#include "client/load/experiment.h"
#include "client/load/flags.h"
#include "client/load/report.h"

namespace swiftlet::load {

// One run of the program.
struct Context {
  cli::CliIo& io;
  Flags flags;
  // Set by the command that the arguments chose; called after parsing.
  std::function<int()> command;
  std::string name;

  // Writes "swiftlet-load: <command>: INVALID_ARGUMENT: <message>"; returns kUsage where the message is of a
  // flag, else kFailed.
  int Fail(const absl::Status& status) const;
  // Writes to `err`, unless --quiet.
  Subject::Progress Progress() const;
  // Text for people goes to standard output unless JSON does.
  std::ostream& Text() const;
};

// --- what the commands share ---
// False when a call failed (but see --allow-errors) or an answer was wrong.
bool Acceptable(const WindowStats& stats, const Flags& flags);
// --json and --svg.
absl::Status WriteOutputs(const Context& context, const nlohmann::json& json, const std::string& title,
                          const std::vector<PlotSeries>& series);
// Closed loops of rising concurrency, in short windows.
Saturation Saturate(const Context& context, Subject& subject);
// Sets the rate of `window` from --rate, against the saturation of `subject`.
absl::Status SetRate(const Context& context, Subject& subject, WindowOptions& window);

// --- the commands: each returns an exit code ---
int RunRun(Context& context);
int RunSaturate(Context& context);
int RunCompare(Context& context);
int RunAb(Context& context);
struct NullFlags {
  std::string listen = "127.0.0.1:0", port_file;
};

int RunNullServer(Context& context, const NullFlags& flags);

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_COMMANDS_H_
