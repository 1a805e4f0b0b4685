#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/input.h"
#include "engine/trainer/protocol.h"
#include "engine/trainer/split.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

struct EvaluateOptions {
  InputOptions input;
  ModelOptions model;
  ProtocolOptions protocol;
  std::vector<uint32_t> cutoffs = {10, 20};
  uint32_t max_history = 0;
  std::string snapshot_dir, save_dir, json_path;
};

absl::StatusOr<TrainedSnapshot> LoadSnapshot(const std::string& directory) {
  TrainedSnapshot loaded;
  SWIFTLET_ASSIGN_OR_RETURN(loaded.snapshot, ModelSnapshot::Load(directory, {}));
  SWIFTLET_ASSIGN_OR_RETURN(loaded.users, LoadUserVectors(*loaded.snapshot));
  return loaded;
}

// A new directory that the evaluated snapshot stays in.
absl::Status MakeSaveDirectory(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::create_directories(path, error) && !error &&
      !std::filesystem::is_empty(path, error)) {
    return absl::AlreadyExistsError(absl::StrCat("--save: ", path, " exists and is not empty"));
  }
  if (error) return absl::UnavailableError(absl::StrCat("--save: ", path, ": ", error.message()));
  return absl::OkStatus();
}

absl::Status RunEvaluate(const EvaluateOptions& options) {
  Progress progress(stderr);
  SWIFTLET_ASSIGN_OR_RETURN(Dataset data, LoadInput(options.input, &progress));
  SWIFTLET_ASSIGN_OR_RETURN(const TrainingOptions training,
                            FinishTrainingOptions(options.model, data.event_types));
  SWIFTLET_ASSIGN_OR_RETURN(const Protocol protocol, MakeProtocol(options.protocol, options.input,
                                                                  std::move(data), training.seed, &progress));
  const Split& split = protocol.split;
  const std::unique_ptr<ThreadPool> pool = MakePool(options.model.threads);
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> model_dir, MakeTemporaryDirectory());
  EvaluationOptions evaluation{.cutoffs = options.cutoffs, .max_history = options.max_history};

  TrainedSnapshot model;
  std::vector<NamedResult> results;
  if (!options.snapshot_dir.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(model, LoadSnapshot(options.snapshot_dir));
    progress.Say(absl::StrCat("snapshot ", model.snapshot->version(),
                              " is evaluated as it is: the figures are honest only if "
                              "it was trained without the held-out events"));
  } else {
    SWIFTLET_RETURN_IF_ERROR(SaySizes(split.train, training, &progress));
    if (!options.save_dir.empty()) SWIFTLET_RETURN_IF_ERROR(MakeSaveDirectory(options.save_dir));
    SWIFTLET_ASSIGN_OR_RETURN(
        model, TrainByProtocol(protocol, training, evaluation,
                               options.save_dir.empty() ? model_dir->path() : options.save_dir, pool.get(),
                               &progress));
    progress.Say(absl::StrFormat("trained in %.1f s%s", model.train_seconds,
                                 model.epochs > 0 ? absl::StrCat(", ", model.epochs, " epochs") : ""));
  }
  const std::string& kind = model.snapshot->manifest().model_kind;
  SWIFTLET_ASSIGN_OR_RETURN(EvaluationResult result,
                            Evaluate(*model.snapshot, model.users, split.test, evaluation, pool.get()));
  progress.Say(absl::StrCat("ranked all items for ", WithCommas(result.num_users), " users; ",
                            WithCommas(result.num_without_history), " of them are unknown to the model"));
  results.push_back({kind, std::move(result)});
  if (model.validation.has_value()) results.push_back({kind + " (validation)", *std::move(model.validation)});
  if (kind == "attention") {
    SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> mean_dir, MakeTemporaryDirectory());
    SWIFTLET_RETURN_IF_ERROR(WriteSnapshot(
        mean_dir->path(), MeanOfHistoryContents(*model.snapshot, absl::ToUnixMillis(absl::Now()))));
    SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> mean,
                              ModelSnapshot::Load(mean_dir->path(), {}));
    SWIFTLET_ASSIGN_OR_RETURN(result, Evaluate(*mean, {}, split.test, evaluation, pool.get()));
    results.push_back({"mean of history", std::move(result)});
  }
  evaluation.ranker = Ranker::kPopularity;
  SWIFTLET_ASSIGN_OR_RETURN(result,
                            Evaluate(*model.snapshot, model.users, split.test, evaluation, pool.get()));
  results.push_back({"popularity", std::move(result)});
  std::fputs(FormatResults(results).c_str(), stdout);

  if (options.json_path.empty()) return absl::OkStatus();
  std::ofstream file(options.json_path, std::ios::trunc);
  file << ResultsToJson(results);
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat(options.json_path, ": ", std::strerror(errno)));
  return absl::OkStatus();
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
      "  swiftlet-trainer evaluate --model attention --events train.tsv.gz --test-events test.tsv.gz --k 20");
  command->add_option("--k", options->cutoffs, "Cut-offs, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command
      ->add_option("--max-history", options->max_history,
                   "Newest events of a user that the engine is given; a server keeps 200 (0: all)")
      ->capture_default_str();
  command->add_option("--snapshot", options->snapshot_dir,
                      "Evaluate this snapshot directory instead of training");
  command->add_option("--json", options->json_path, "Write the results to this file, too");
  command->add_option("--save", options->save_dir,
                      "Keep the evaluated snapshot in this new directory (it was fitted without the held-out "
                      "events)");
  AddProtocolFlags(command, &options->protocol);
  AddInputFlags(command, &options->input);
  AddModelFlags(command, &options->model);
  command->callback([options, run] { *run = [options] { return RunEvaluate(*options); }; });
}

}  // namespace swiftlet
