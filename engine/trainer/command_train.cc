#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/config_file.h"
#include "engine/trainer/content_model.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/external_vectors.h"
#include "engine/trainer/fit_size.h"
#include "engine/trainer/input.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/popularity.h"
#include "engine/trainer/publish.h"
#include "engine/trainer/rating_flags.h"
#include "engine/trainer/rating_training.h"
#include "engine/trainer/split.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

struct TrainOptions {
  InputOptions input;
  ModelOptions model;
  Destination destination;
  ContentOptions content;
  std::vector<std::string> content_vectors;
  bool holdout = true;
  double popularity_half_life_days = 0;
  bool with_ratings = true;
  RatingFlags ratings;
};

// Fits to everything but each user's last two events, measures with the last one through the engine, and
// returns the options with what validation has chosen, by the event before the last. Nothing is fitted to
// either.
absl::StatusOr<TrainingOptions> Holdout(const Dataset& data, const TrainingOptions& options, ThreadPool* pool,
                                        Progress* progress, std::map<std::string, double>* metrics) {
  absl::StatusOr<Split> split = MakeSplit(data, SplitKind::kLeaveOneOut, 0);
  if (absl::IsFailedPrecondition(split.status())) {
    progress->Say(absl::StrCat("no holdout: ", std::string(split.status().message())));
    return options;
  }
  SWIFTLET_RETURN_IF_ERROR(split.status());
  progress->Say(absl::StrCat("holdout: the last event of ", WithCommas(split->test.size()), " users"));
  TrainingOptions held_out = options;
  if (!held_out.checkpoint_dir.empty()) held_out.checkpoint_dir += "/holdout";
  SWIFTLET_ASSIGN_OR_RETURN(
      TrainedModel model,
      TrainModel({.data = &split->train, .validation = split->validation}, held_out, pool, progress));
  const TrainingOptions refit = OptionsForRefit(options, model);
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> scratch, MakeTemporaryDirectory());
  SWIFTLET_RETURN_IF_ERROR(
      WriteTrainedModel(scratch->path(), std::move(model), split->train, 1, absl::ToUnixMillis(absl::Now())));
  SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> snapshot,
                            ModelSnapshot::Load(scratch->path(), {}));
  SWIFTLET_ASSIGN_OR_RETURN(const UserVectors users, LoadUserVectors(*snapshot));
  EvaluationOptions evaluation{.cutoffs = {10}};
  SWIFTLET_ASSIGN_OR_RETURN(const EvaluationResult trained,
                            Evaluate(*snapshot, users, split->test, evaluation, pool));
  evaluation.ranker = Ranker::kPopularity;
  SWIFTLET_ASSIGN_OR_RETURN(const EvaluationResult popular,
                            Evaluate(*snapshot, users, split->test, evaluation, pool));
  *metrics = ResultsToMetrics(trained, "");
  metrics->merge(ResultsToMetrics(popular, "popularity."));
  progress->Say(absl::StrFormat("holdout: NDCG@10 %.4f, HR@10 %.4f (popularity: %.4f, %.4f)",
                                trained.at.at(10).ndcg, trained.at.at(10).hit_rate, popular.at.at(10).ndcg,
                                popular.at.at(10).hit_rate));
  return refit;
}

absl::Status Train(const TrainOptions& options) {
  const absl::Time begin = absl::Now();
  Progress progress(stderr);
  SWIFTLET_RETURN_IF_ERROR(CheckDestination(options.destination));
  SWIFTLET_ASSIGN_OR_RETURN(const RatingDataOptions rating_data, RatingDataOptionsOf(options.ratings));
  SWIFTLET_ASSIGN_OR_RETURN(const Dataset data, LoadInput(options.input, &progress));
  SWIFTLET_ASSIGN_OR_RETURN(TrainingOptions training, FinishTrainingOptions(options.model, data.event_types));
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<ExternalVectors> externals,
                            LoadAllExternalVectors(options.content_vectors, data, &progress));
  SWIFTLET_RETURN_IF_ERROR(SaySizes(data, training, &progress));
  const std::unique_ptr<ThreadPool> pool = MakePool(options.model.threads);

  std::optional<TrainedRatings> ratings;
  if (options.with_ratings) {
    RatingFitOptions fit = options.ratings.fit;
    fit.seed = training.seed;
    SWIFTLET_ASSIGN_OR_RETURN(ratings, TrainRatings(data,
                                                    {.data = rating_data,
                                                     .fit = fit,
                                                     .holdout = options.holdout,
                                                     .memory_limit = training.memory_limit},
                                                    pool.get(), &progress));
  }

  std::map<std::string, double> metrics;
  if (options.holdout) {
    SWIFTLET_ASSIGN_OR_RETURN(training, Holdout(data, training, pool.get(), &progress, &metrics));
  }
  progress.Say(training.epochs > 0 ? absl::StrCat("final fit on all events, ", training.epochs, " epochs")
                                   : std::string("final fit on all events"));
  SWIFTLET_ASSIGN_OR_RETURN(TrainedModel model, TrainModel({.data = &data}, training, pool.get(), &progress));
  if (ratings.has_value()) {
    metrics.merge(ratings->metrics);
    model.contents.rating = std::move(ratings->contents);
  }
  model.contents.manifest.metrics = metrics;
  SWIFTLET_RETURN_IF_ERROR(AddContent(data, externals, options.content, pool.get(), &progress, &model));
  // After the content tower, to which popularity is a number of events.
  if (options.popularity_half_life_days > 0) {
    std::vector<float>& popularity = model.contents.item_popularity;
    popularity = TrendingPopularity(data, options.popularity_half_life_days * kMillisecondsADay);
    popularity.resize(model.contents.item_ids.size(), 0.0f);  // items without events
    model.contents.manifest.training_parameters["popularity_half_life_days"] =
        absl::StrCat(options.popularity_half_life_days);
  }

  SWIFTLET_ASSIGN_OR_RETURN(
      const Published published,
      WriteAndPublish(options.destination, [&](const std::string& directory, int64_t version) {
        // A copy: another trainer may take the version first, and it is written again.
        return WriteTrainedModel(directory, model, data, version, absl::ToUnixMillis(absl::Now()));
      }));
  std::printf("%s version %lld in %s (%.1f s)\n",
              options.destination.models_dir.empty() ? "wrote" : "published",
              static_cast<long long>(published.version), published.path.c_str(),
              absl::ToDoubleSeconds(absl::Now() - begin));
  return absl::OkStatus();
}

}  // namespace

void AddTrainCommand(CLI::App* app, Command* run) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command = app->add_subcommand("train", "Train a model on events and publish it as a snapshot");
  command->footer(
      "Examples:\n"
      "  swiftlet-trainer train --events ratings.csv --items movies.csv --models models\n"
      "  swiftlet-trainer train --data-dir /var/lib/swiftlet/data --models /var/lib/swiftlet/models");
  command->add_option("--models", options->destination.models_dir,
                      "Model directory to publish into; a server that watches it loads it");
  command->add_option("--output", options->destination.output_dir,
                      "Write the snapshot to this new directory, without publishing");
  command->add_flag("--holdout,!--no-holdout", options->holdout,
                    "Measure first with the last event of every user held out; the metrics go into the "
                    "manifest (default on)");
  command->add_flag("--content,!--no-content", options->content.enabled,
                    "Learn where an item belongs from its title and categories, for items without events "
                    "and those that are upserted later (default on)");
  command
      ->add_option(
          "--popularity-half-life", options->popularity_half_life_days,
          "Days after which an event counts half for the popularity that users about whom nothing is "
          "known are shown; 0: events of all times count the same")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  AddContentVectorsFlag(command, &options->content_vectors);
  AddInputFlags(command, &options->input);
  AddModelFlags(command, &options->model);
  command
      ->add_flag("--ratings,!--no-ratings", options->with_ratings,
                 "Fit a model of expected ratings, too, where the events hold ratings of different values "
                 "(default on)")
      ->group("Ratings");
  AddRatingFlags(command, &options->ratings);
  AddConfigFlag(command);
  command->callback([options, run] { *run = [options] { return Train(*options); }; });
}

}  // namespace swiftlet
