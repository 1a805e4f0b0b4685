#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/config_file.h"
#include "engine/trainer/experiment.h"
#include "engine/trainer/input.h"

namespace swiftlet {
namespace {

struct EvaluateOptions {
  InputOptions input;
  ModelOptions model;
  ProtocolOptions protocol;
  ExperimentOptions experiment;
  std::string snapshot_dir, save_dir;
};

absl::Status RunEvaluate(const EvaluateOptions& options) {
  Progress progress(stderr);
  Candidate candidate;
  candidate.snapshot_dir = options.snapshot_dir;
  candidate.save_dir = options.save_dir;
  candidate.model = options.model;
  ExperimentOptions experiment = options.experiment;
  experiment.seed = static_cast<uint64_t>(options.model.seed);
  return RunExperiment(options.input, options.protocol, {&candidate, 1}, experiment, options.model.threads,
                       &progress);
}

std::map<std::string, std::vector<std::string>> GivenFlags(const CLI::App& command) {
  std::map<std::string, std::vector<std::string>> flags;
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() > 0) flags[option->get_single_name()] = option->results();
  }
  return flags;
}

struct CompareOptions {
  InputOptions input;
  ModelOptions model;
  ProtocolOptions protocol;
  ExperimentOptions experiment;
  std::vector<std::string> kinds, configs, snapshots;
};

absl::Status RunCompare(const CompareOptions& options) {
  Progress progress(stderr);
  std::vector<Candidate> candidates;
  for (const std::string& kind : options.kinds) {
    Candidate& candidate = candidates.emplace_back();
    candidate.model = options.model;
    TrainingOptions& training = candidate.model.training;
    training.kind = kind;
    if (!training.checkpoint_dir.empty()) training.checkpoint_dir += "/" + kind;
  }
  for (const std::string& path : options.configs) {
    SWIFTLET_ASSIGN_OR_RETURN(const ConfigFlags flags, ReadConfigFile(path));
    Candidate& candidate = candidates.emplace_back();
    candidate.name = std::filesystem::path(path).stem().string();
    SWIFTLET_ASSIGN_OR_RETURN(candidate.model, WithFlags(options.model, flags, path));
    std::string& checkpoint_dir = candidate.model.training.checkpoint_dir;
    if (!checkpoint_dir.empty()) checkpoint_dir += "/" + candidate.name;
  }
  for (const std::string& directory : options.snapshots) {
    Candidate& candidate = candidates.emplace_back();
    candidate.snapshot_dir = directory;
    candidate.name = std::filesystem::path(directory).filename().string();
    if (candidate.name.empty()) candidate.name = directory;
  }
  if (candidates.empty()) {
    return absl::InvalidArgumentError("there is nothing to compare: give --models, --configs or --snapshots");
  }
  ExperimentOptions experiment = options.experiment;
  experiment.seed = static_cast<uint64_t>(options.model.seed);
  return RunExperiment(options.input, options.protocol, candidates, experiment, options.model.threads,
                       &progress);
}

}  // namespace

void AddEvaluateCommand(CLI::App* app, Command* run) {
  auto options = std::make_shared<EvaluateOptions>();
  CLI::App* command = app->add_subcommand(
      "evaluate", "Hold events out, train on the rest, and measure through the serving engine");
  command->footer(
      "Examples:\n"
      "  swiftlet-trainer evaluate --events ratings.csv\n"
      "  swiftlet-trainer evaluate --events ratings.csv --split time --test-fraction 0.1 --k 10,50 --json "
      "result.json\n"
      "  swiftlet-trainer evaluate --model attention --events train.tsv.gz --test-events test.tsv.gz --k 20 "
      "--html report.html");
  AddExperimentFlags(command, &options->experiment);
  command->add_option("--snapshot", options->snapshot_dir,
                      "Evaluate this snapshot directory instead of training");
  command->add_option("--save", options->save_dir,
                      "Keep the evaluated snapshot in this new directory (it was fitted without the held-out "
                      "events)");
  AddProtocolFlags(command, &options->protocol);
  AddInputFlags(command, &options->input);
  AddModelFlags(command, &options->model);
  AddConfigFlag(command);
  command->callback([options, run, command] {
    options->experiment.flags = GivenFlags(*command);
    *run = [options] { return RunEvaluate(*options); };
  });
}

void AddCompareCommand(CLI::App* app, Command* run) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command =
      app->add_subcommand("compare", "Measure several models side by side, on the same held-out events");
  command->footer(
      "Every model is held against the first one, user by user.\n"
      "Examples:\n"
      "  swiftlet-trainer compare --events ratings.csv --items movies.csv --split leave-one-out --models "
      "attention --snapshots models/7,models/8 --html report.html\n"
      "  swiftlet-trainer compare --events ratings.csv --configs base.json,tuned.json");
  command->add_option("--models", options->kinds, "Kinds of models to train, separated by commas")
      ->delimiter(',')
      ->check(CLI::IsMember(std::vector<std::string>(ModelKinds().begin(), ModelKinds().end())));
  command
      ->add_option("--configs", options->configs,
                   "Models to train by configuration files (see tune), separated by commas")
      ->delimiter(',');
  command
      ->add_option("--snapshots", options->snapshots, "Snapshot directories to measure, separated by commas")
      ->delimiter(',');
  AddExperimentFlags(command, &options->experiment);
  AddProtocolFlags(command, &options->protocol);
  AddInputFlags(command, &options->input);
  AddModelFlags(command, &options->model);
  command->remove_option(command->get_option("--model"));
  command->callback([options, run, command] {
    options->experiment.flags = GivenFlags(*command);
    *run = [options] { return RunCompare(*options); };
  });
}

}  // namespace swiftlet
