#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "engine/trainer/commands.h"
#include "engine/trainer/config_file.h"
#include "engine/trainer/interrupt.h"

int main(int argc, char** argv) {
  CLI::App app("swiftlet-trainer makes, measures and shows model snapshots", "swiftlet-trainer");
  app.require_subcommand(1);
  app.footer("swiftlet-trainer COMMAND --help shows a command's flags and an example.");
  swiftlet::Command run;
  swiftlet::AddTrainCommand(&app, &run);
  swiftlet::AddEvaluateCommand(&app, &run);
  swiftlet::AddEvaluateRatingsCommand(&app, &run);
  swiftlet::AddCompareCommand(&app, &run);
  swiftlet::AddTuneCommand(&app, &run);
  swiftlet::AddEvaluateColdCommand(&app, &run);
  swiftlet::AddImportCommand(&app, &run);
  swiftlet::AddInspectCommand(&app, &run);
  swiftlet::AddRecommendCommand(&app, &run);
  absl::StatusOr<std::vector<std::string>> arguments =
      swiftlet::ExpandConfig(std::vector<std::string>(argv + 1, argv + argc));
  if (!arguments.ok()) {
    std::fprintf(stderr, "swiftlet-trainer: %s\n", std::string(arguments.status().message()).c_str());
    return 1;
  }
  std::reverse(arguments->begin(), arguments->end());  // as CLI11 takes them
  try {
    app.parse(*std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  swiftlet::InstallInterruptHandlers();
  const absl::Status status = run();
  if (status.ok()) return 0;
  if (absl::IsCancelled(status)) {
    std::fprintf(stderr, "\nswiftlet-trainer: interrupted, nothing was published\n");
    return 130;
  }
  std::fprintf(stderr, "\nswiftlet-trainer: %s\n", std::string(status.message()).c_str());
  return 1;
}
