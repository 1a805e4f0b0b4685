#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/input.h"
#include "engine/trainer/split.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

struct EvaluateOptions {
  InputOptions input;
  ModelOptions model;
  std::string split = "leave-last-out";
  double test_fraction = 0.1;
  std::vector<uint32_t> cutoffs = {10, 20};
  uint32_t max_history = 0;
  std::string snapshot_dir, json_path;
};

absl::StatusOr<std::shared_ptr<const ModelSnapshot>> WriteAndLoad(const std::string& directory,
                                                                  SnapshotContents contents) {
  SWIFTLET_RETURN_IF_ERROR(WriteSnapshot(directory, contents));
  return ModelSnapshot::Load(directory, {});
}

absl::Status RunEvaluate(const EvaluateOptions& options) {
  Progress progress(stderr);
  SWIFTLET_ASSIGN_OR_RETURN(const Dataset data, LoadInput(options.input, &progress));
  SWIFTLET_ASSIGN_OR_RETURN(const FitOptions fit, FinishFitOptions(options.model, data.event_types));
  const SplitKind kind = options.split == "time" ? SplitKind::kTime : SplitKind::kLeaveLastOut;
  SWIFTLET_ASSIGN_OR_RETURN(const Split split, MakeSplit(data, kind, options.test_fraction));
  progress.Say(absl::StrCat(
      "split ", options.split, ": ", WithCommas(split.train.events.size()), " events to train on, ",
      WithCommas(split.num_held_out), " held out, ", WithCommas(split.test.size()),
      " users to test with (not counted: ", WithCommas(split.num_seen),
      " held-out events of items that the user had before, ", WithCommas(split.num_negative),
      " that count against their item, ", WithCommas(split.num_repeated), " repeated)"));
  SWIFTLET_RETURN_IF_ERROR(SaySizes(split.train, fit, &progress));
  const std::unique_ptr<ThreadPool> pool = MakePool(options.model.threads);
  const int64_t now_ms = absl::ToUnixMillis(absl::Now());
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> model_dir, MakeTemporaryDirectory());
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> mean_dir, MakeTemporaryDirectory());

  std::shared_ptr<const ModelSnapshot> snapshot, mean;
  if (!options.snapshot_dir.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(snapshot, ModelSnapshot::Load(options.snapshot_dir, {}));
    progress.Say(absl::StrCat("snapshot ", snapshot->version(),
                              " is evaluated as it is: the figures are honest only if "
                              "it was trained without the held-out events"));
    SWIFTLET_ASSIGN_OR_RETURN(mean, WriteAndLoad(mean_dir->path(), MeanOfHistoryContents(*snapshot, now_ms)));
  } else {
    uint32_t epochs = options.model.epochs;
    if (epochs == 0) {
      progress.Say("finding the number of epochs, on the last training event of every user");
      SWIFTLET_ASSIGN_OR_RETURN(const FittedModel found,
                                FitModel(split.train, {}, 0, fit, pool.get(), &progress));
      epochs = std::max(found.fit.epochs, 1u);
    }
    progress.Say(absl::StrCat("fit on all training events, ", epochs, " epochs"));
    SWIFTLET_ASSIGN_OR_RETURN(const FittedModel model,
                              FitModel(split.train, {}, epochs, fit, pool.get(), &progress));
    SWIFTLET_RETURN_IF_ERROR(WriteModel(model_dir->path(), ContentsOf(split.train, model, fit, 1, now_ms),
                                        split.train.user_ids, model.long_term));
    SWIFTLET_ASSIGN_OR_RETURN(snapshot, ModelSnapshot::Load(model_dir->path(), {}));
    SWIFTLET_ASSIGN_OR_RETURN(
        mean, WriteAndLoad(mean_dir->path(),
                           MeanOfHistoryContents(split.train, model, fit.attention.max_events, now_ms)));
  }
  SWIFTLET_ASSIGN_OR_RETURN(const UserVectors users, LoadUserVectors(*snapshot));

  EvaluationOptions evaluation{.cutoffs = options.cutoffs, .max_history = options.max_history};
  std::vector<NamedResult> results;
  SWIFTLET_ASSIGN_OR_RETURN(EvaluationResult result,
                            Evaluate(*snapshot, users, split.test, evaluation, pool.get()));
  progress.Say(absl::StrCat("ranked all items for ", WithCommas(result.num_users), " users; ",
                            WithCommas(result.num_without_history), " of them are unknown to the model"));
  results.push_back({snapshot->manifest().model_kind, std::move(result)});
  SWIFTLET_ASSIGN_OR_RETURN(result, Evaluate(*mean, {}, split.test, evaluation, pool.get()));
  results.push_back({"mean of history", std::move(result)});
  evaluation.ranker = Ranker::kPopularity;
  SWIFTLET_ASSIGN_OR_RETURN(result, Evaluate(*snapshot, users, split.test, evaluation, pool.get()));
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
      "result.json");
  command
      ->add_option("--split", options->split,
                   "What is held out: leave-last-out (each user's last event) or time")
      ->check(CLI::IsMember({"leave-last-out", "time"}))
      ->capture_default_str();
  command
      ->add_option("--test-fraction", options->test_fraction,
                   "Split by time: the newest events that are held out")
      ->capture_default_str();
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
  AddInputFlags(command, &options->input);
  AddModelFlags(command, &options->model);
  command->callback([options, run] { *run = [options] { return RunEvaluate(*options); }; });
}

}  // namespace swiftlet
