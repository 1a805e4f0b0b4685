#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/input.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/rating_evaluation.h"
#include "engine/trainer/rating_flags.h"

namespace swiftlet {
namespace {

struct EvaluateRatingsOptions {
  InputOptions input;
  RatingFlags ratings;
  RatingEvaluationOptions evaluation;
  uint32_t threads = 0;
  std::string json_path;
};

absl::Status EvaluateRatings(const EvaluateRatingsOptions& options) {
  Progress progress(stderr);
  SWIFTLET_ASSIGN_OR_RETURN(const RatingDataOptions data_options, RatingDataOptionsOf(options.ratings));
  SWIFTLET_ASSIGN_OR_RETURN(const Dataset data, LoadInput(options.input, &progress));
  SWIFTLET_ASSIGN_OR_RETURN(const RatingData ratings, FindRatings(data, data_options));
  progress.Say(DescribeRatings(ratings));
  RatingEvaluationOptions evaluation = options.evaluation;
  evaluation.served = options.ratings.fit;
  const std::unique_ptr<ThreadPool> pool = MakePool(options.threads);
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<RatingResult> results,
                            CrossValidateRatings(data, ratings, evaluation, pool.get(), &progress));
  std::fputs(FormatRatingResults(results).c_str(), stdout);
  if (options.json_path.empty()) return absl::OkStatus();
  std::ofstream file(options.json_path, std::ios::trunc);
  file << RatingResultsToJson(results, ratings, evaluation);
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat(options.json_path, ": ", std::strerror(errno)));
  return absl::OkStatus();
}

}  // namespace

void AddEvaluateRatingsCommand(CLI::App* app, Command* run) {
  auto options = std::make_shared<EvaluateRatingsOptions>();
  CLI::App* command = app->add_subcommand(
      "evaluate-ratings", "Predict ratings that were held out, by the served model and by others: RMSE, MAE");
  command->footer(
      "Examples:\n"
      "  swiftlet-trainer evaluate-ratings --events ratings.csv\n"
      "  swiftlet-trainer evaluate-ratings --events ratings.csv --models knn,served --rating-scale 1:5 "
      "--json "
      "result.json");
  std::vector<std::string> names(RatingModelNames().begin(), RatingModelNames().end());
  command
      ->add_option("--models", options->evaluation.models, "Which ones, separated by commas (default: all)")
      ->delimiter(',')
      ->check(CLI::IsMember(names));
  command->add_option("--folds", options->evaluation.folds, "Of the cross-validation")
      ->check(CLI::Range(2, 1000))
      ->capture_default_str();
  command
      ->add_option("--max-history", options->evaluation.max_history,
                   "A server's limit of events for each user, shown beside the unlimited model (0: not)")
      ->capture_default_str();
  command->add_option("--json", options->json_path, "Write the results to this file, too");
  command->add_option("--seed", options->evaluation.seed, "Of the folds and of all other random numbers")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "0: one for each core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  AddInputFlags(command, &options->input);
  AddRatingFlags(command, &options->ratings);
  command->callback([options, run] { *run = [options] { return EvaluateRatings(*options); }; });
}

}  // namespace swiftlet
