#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"
#include "engine/base/status_macros.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/inspect_model.h"

namespace swiftlet {

void AddInspectCommand(CLI::App* app, Command* run) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app->add_subcommand("inspect", "Show and check a snapshot");
  command->footer(
      "Examples:\n"
      "  swiftlet-trainer inspect models\n"
      "  swiftlet-trainer inspect models/7 --item 260 --k 5");
  command
      ->add_option("path", options->path,
                   "A snapshot directory, or a model directory for its current snapshot")
      ->required();
  command->add_option("--item", options->item_id, "Show the items nearest to this one, by cosine");
  command->add_option("--k", options->k, "How many neighbours")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--top", options->num_items, "How many of the most popular items to list")
      ->capture_default_str();
  command->add_flag("--tensors,!--no-tensors", options->tensors, "List the tensors (default on)");
  command->callback([options, run] {
    *run = [options]() -> absl::Status {
      SWIFTLET_ASSIGN_OR_RETURN(const std::string text, InspectModel(*options));
      std::fputs(text.c_str(), stdout);
      return absl::OkStatus();
    };
  });
}

}  // namespace swiftlet
