#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/content_model.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/evaluate_cold.h"
#include "engine/trainer/external_vectors.h"
#include "engine/trainer/input.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

struct EvaluateColdFlags {
  InputOptions input;
  ModelOptions model;
  ColdSplitOptions split;
  ColdOptions evaluation;
  uint32_t num_shown = 0;
  std::string json_path;
  std::vector<std::string> content_vectors;
};

absl::Status RunEvaluateCold(const EvaluateColdFlags& flags) {
  Progress progress(stderr);
  SWIFTLET_ASSIGN_OR_RETURN(const Dataset data, LoadInput(flags.input, &progress));
  SWIFTLET_ASSIGN_OR_RETURN(const TrainingOptions training,
                            FinishTrainingOptions(flags.model, data.event_types));
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<ExternalVectors> externals,
                            LoadAllExternalVectors(flags.content_vectors, data, &progress));
  ColdOptions evaluation = flags.evaluation;
  evaluation.externals = externals;
  SWIFTLET_ASSIGN_OR_RETURN(const ColdSplit split, MakeColdSplit(data, flags.split));
  progress.Say(absl::StrCat(
      "trained on ", WithCommas(split.train.events.size()), " events of ",
      WithCommas(split.train.num_items()), " items; ", WithCommas(split.test.size()), " users to test with; ",
      WithCommas(split.train.unseen_items.size()), " described items have no training event, and had ",
      WithCommas(split.num_unseen_events), " of the ", WithCommas(split.num_test_events), " test events"));
  const std::unique_ptr<ThreadPool> pool = MakePool(flags.model.threads);
  SWIFTLET_ASSIGN_OR_RETURN(TrainedModel model,
                            TrainModel({.data = &split.train}, training, pool.get(), &progress));
  const int64_t now_ms = absl::ToUnixMillis(absl::Now());

  // The same model, without and with content. Items without events come by upserts, as on a server.
  Dataset seen_only = split.train;
  seen_only.unseen_items.clear();
  const auto write =
      [&](TrainedModel written,
          const std::string& directory) -> absl::StatusOr<std::shared_ptr<const ModelSnapshot>> {
    SWIFTLET_RETURN_IF_ERROR(WriteTrainedModel(directory, std::move(written), seen_only, 1, now_ms));
    return ModelSnapshot::Load(directory, {});
  };
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> plain_dir, MakeTemporaryDirectory());
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> content_dir, MakeTemporaryDirectory());
  SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> plain,
                            write(model, plain_dir->path()));
  SWIFTLET_RETURN_IF_ERROR(AddContent(seen_only, externals, {}, pool.get(), &progress, &model));
  SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> content,
                            write(std::move(model), content_dir->path()));
  SWIFTLET_ASSIGN_OR_RETURN(const UserVectors users, LoadUserVectors(*content));

  std::vector<NamedColdResult> results;
  const auto add = [&](const char* name, const ModelSnapshot& snapshot, ColdRanker ranker) -> absl::Status {
    SWIFTLET_ASSIGN_OR_RETURN(ColdResult result, EvaluateCold(snapshot, users, split, ranker, evaluation));
    results.push_back({name, std::move(result)});
    return absl::OkStatus();
  };
  SWIFTLET_RETURN_IF_ERROR(add("random", *plain, ColdRanker::kRandom));
  SWIFTLET_RETURN_IF_ERROR(add("popularity", *plain, ColdRanker::kPopularity));
  SWIFTLET_RETURN_IF_ERROR(add("categories' mean", *plain, ColdRanker::kModel));
  SWIFTLET_RETURN_IF_ERROR(add("bias, by content", *content, ColdRanker::kBias));
  SWIFTLET_RETURN_IF_ERROR(add("content", *content, ColdRanker::kModel));
  std::fputs(FormatColdResults(results, flags.evaluation.k).c_str(), stdout);
  if (flags.num_shown > 0) {
    SWIFTLET_ASSIGN_OR_RETURN(const std::string shown,
                              ShowPlaces(*content, split, externals, flags.num_shown));
    std::fputs(shown.c_str(), stdout);
  }
  if (flags.json_path.empty()) return absl::OkStatus();
  std::ofstream file(flags.json_path, std::ios::trunc);
  file << ColdResultsToJson(results, flags.evaluation.k);
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat(flags.json_path, ": ", std::strerror(errno)));
  return absl::OkStatus();
}

}  // namespace

void AddEvaluateColdCommand(CLI::App* app, Command* run) {
  auto flags = std::make_shared<EvaluateColdFlags>();
  CLI::App* command = app->add_subcommand(
      "evaluate-cold",
      "Split events by time, train on the oldest, and measure how well items without a training event are "
      "recommended when they are upserted with title and categories");
  command->footer(
      "Example:\n"
      "  swiftlet-trainer evaluate-cold --events ratings.csv --items movies.csv --train-fraction 0.8 "
      "--test-begin 0.9");
  command
      ->add_option("--train-fraction", flags->split.train_fraction, "The oldest events, that are trained on")
      ->capture_default_str();
  command
      ->add_option("--test-begin", flags->split.test_begin,
                   "Where the test begins, as a part of the events in order of time; users' events before it "
                   "are their histories")
      ->capture_default_str();
  command->add_option("--test-end", flags->split.test_end, "Where the test ends")->capture_default_str();
  command->add_option("--k", flags->evaluation.k, "Length of the lists")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--show", flags->num_shown,
                      "Show so many of the new items with the trained items that are nearest to them");
  command->add_option("--json", flags->json_path, "Write the results to this file, too");
  AddContentVectorsFlag(command, &flags->content_vectors);
  AddInputFlags(command, &flags->input);
  AddModelFlags(command, &flags->model);
  command->callback([flags, run] { *run = [flags] { return RunEvaluateCold(*flags); }; });
}

}  // namespace swiftlet
