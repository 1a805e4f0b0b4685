// The subcommands of swiftlet-trainer. Each adds itself to the command line; what it does returns a Status.
#ifndef SWIFTLET_ENGINE_TRAINER_COMMANDS_H_
#define SWIFTLET_ENGINE_TRAINER_COMMANDS_H_

#include <functional>

#include "absl/status/status.h"

namespace CLI {
class App;
}

namespace swiftlet {

// Sets `run` to the command's work when the command line names it; call it after parsing.
using Command = std::function<absl::Status()>;
void AddTrainCommand(CLI::App* app, Command* run);
void AddTuneCommand(CLI::App* app, Command* run);
void AddEvaluateCommand(CLI::App* app, Command* run);
void AddEvaluateRatingsCommand(CLI::App* app, Command* run);
void AddCompareCommand(CLI::App* app, Command* run);
void AddEvaluateColdCommand(CLI::App* app, Command* run);
void AddImportCommand(CLI::App* app, Command* run);
void AddInspectCommand(CLI::App* app, Command* run);
void AddRecommendCommand(CLI::App* app, Command* run);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_COMMANDS_H_
