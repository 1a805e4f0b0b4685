#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "engine/trainer/commands.h"
#include "engine/trainer/interrupt.h"

int main(int argc, char** argv) {
  CLI::App app("swiftlet-trainer makes, measures and shows model snapshots", "swiftlet-trainer");
  app.require_subcommand(1);
  app.footer("swiftlet-trainer COMMAND --help shows a command's flags and an example.");
  swiftlet::Command run;
  swiftlet::AddTrainCommand(&app, &run);
  swiftlet::AddEvaluateCommand(&app, &run);
  swiftlet::AddEvaluateRatingsCommand(&app, &run);
  swiftlet::AddImportCommand(&app, &run);
  swiftlet::AddInspectCommand(&app, &run);
  swiftlet::AddRecommendCommand(&app, &run);
  try {
    app.parse(argc, argv);
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
