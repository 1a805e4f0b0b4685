#include "engine/trainer/rating_evaluation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"
#include "engine/rating_predictor.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/rating_knn.h"
#include "engine/trainer/rating_nmf.h"
#include "engine/trainer/rating_sgd.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

constexpr std::array<std::string_view, 7> kModels = {"baseline", "knn", "nmf",   "svd",
                                                     "svd++",    "bmf", "served"};
constexpr uint32_t kValidationParts = 10;
constexpr uint32_t kPatience = 3;  // epochs without improvement

using Predictions = std::vector<float>;

// What was predicted for the test ratings under a name.
struct Named {
  std::string name;
  Predictions predictions;
  std::string chosen;
};

struct Fold {
  const Dataset& data;
  const RatingData& ratings;
  const RatingEvaluationOptions& options;
  const RatingSplit& split;       // what to fit to, and the test
  const RatingSplit& validation;  // of split.train
  ThreadPool* pool;
};

template <typename Model>
Predictions PredictAll(const Model& model, const std::vector<Rating>& wanted, const RatingScale& scale) {
  Predictions predictions;
  predictions.reserve(wanted.size());
  for (const Rating& r : wanted) {
    predictions.push_back(std::clamp(model.Predict(r.user, r.item), scale.min, scale.max));
  }
  return predictions;
}

void Clip(const RatingScale& scale, Predictions* predictions) {
  for (float& p : *predictions) p = std::clamp(p, scale.min, scale.max);
}

// Early stopping: remembers the best epoch.
class BestEpoch {
 public:
  // Whether to go on.
  bool Add(uint32_t epoch, double rmse) {
    if (rmse < rmse_) {
      rmse_ = rmse;
      epoch_ = epoch;
    }
    return epoch < epoch_ + kPatience;
  }
  double rmse() const { return rmse_; }
  uint32_t epoch() const { return std::max(epoch_, 1u); }

 private:
  double rmse_ = std::numeric_limits<double>::infinity();
  uint32_t epoch_ = 0;
};

absl::StatusOr<RatingFit> FitBaseline(const RatingSet& train, ThreadPool* pool) {
  return FitRatings(train, {.dim = 0, .implicit = false}, pool, nullptr);
}

absl::StatusOr<std::vector<Named>> RunBaseline(const Fold& fold) {
  SWIFTLET_ASSIGN_OR_RETURN(const RatingFit fit, FitBaseline(fold.split.train, fold.pool));
  return std::vector<Named>{
      {"baseline (biases)", PredictAll(fit, fold.split.test, fold.split.train.scale), ""}};
}

absl::StatusOr<std::vector<Named>> RunKnn(const Fold& fold) {
  std::vector<RatingKnnOptions> candidates;
  for (const float shrinkage : {20.0f, 100.0f, 400.0f}) {
    for (const uint32_t k : {20u, 40u, 80u}) candidates.push_back({.neighbours = k, .shrinkage = shrinkage});
  }
  const RatingScale scale = fold.split.train.scale;
  SWIFTLET_ASSIGN_OR_RETURN(const RatingFit part, FitBaseline(fold.validation.train, fold.pool));
  SWIFTLET_ASSIGN_OR_RETURN(
      std::vector<Predictions> tried,
      PredictByNeighbours(fold.validation.train, part, candidates, fold.validation.test, fold.pool));
  size_t best = 0;
  double best_rmse = std::numeric_limits<double>::infinity();
  for (size_t c = 0; c < candidates.size(); ++c) {
    Clip(scale, &tried[c]);
    const double rmse = ErrorsOf(fold.validation.test, tried[c]).rmse;
    if (rmse < best_rmse) best_rmse = rmse, best = c;
  }
  SWIFTLET_ASSIGN_OR_RETURN(const RatingFit baseline, FitBaseline(fold.split.train, fold.pool));
  SWIFTLET_ASSIGN_OR_RETURN(
      std::vector<Predictions> predictions,
      PredictByNeighbours(fold.split.train, baseline, {&candidates[best], 1}, fold.split.test, fold.pool));
  Clip(scale, &predictions[0]);
  return std::vector<Named>{
      {"k-NN baseline (items)", std::move(predictions[0]),
       absl::StrCat("k ", candidates[best].neighbours, ", shrinkage ", candidates[best].shrinkage)}};
}

absl::StatusOr<std::vector<Named>> RunNmf(const Fold& fold) {
  const RatingScale scale = fold.split.train.scale;
  RatingNmfOptions best;
  double best_rmse = std::numeric_limits<double>::infinity();
  for (const float regularisation : {0.02f, 0.04f, 0.08f}) {
    RatingNmfOptions trial{.regularisation = regularisation, .seed = fold.options.seed};
    BestEpoch epoch;
    SWIFTLET_RETURN_IF_ERROR(
        FitRatingsNmf(fold.validation.train, trial, [&](uint32_t sweep, const RatingNmfModel& model) {
          const auto predictions = PredictAll(model, fold.validation.test, scale);
          return epoch.Add(sweep, ErrorsOf(fold.validation.test, predictions).rmse);
        }).status());
    if (epoch.rmse() >= best_rmse) continue;
    best_rmse = epoch.rmse();
    best = trial;
    best.sweeps = epoch.epoch();
  }
  SWIFTLET_ASSIGN_OR_RETURN(const RatingNmfModel model, FitRatingsNmf(fold.split.train, best, nullptr));
  return std::vector<Named>{{"NMF", PredictAll(model, fold.split.test, scale),
                             absl::StrCat("lambda ", best.regularisation, ", ", best.sweeps, " sweeps")}};
}

absl::StatusOr<std::vector<Named>> RunSgd(const Fold& fold, bool implicit) {
  const RatingScale scale = fold.split.train.scale;
  RatingSgdOptions best;
  double best_rmse = std::numeric_limits<double>::infinity();
  for (const float regularisation : {0.03f, 0.06f, 0.12f}) {
    RatingSgdOptions trial{.regularisation = regularisation, .implicit = implicit, .seed = fold.options.seed};
    BestEpoch epoch;
    SWIFTLET_RETURN_IF_ERROR(
        FitRatingsSgd(fold.validation.train, trial, [&](uint32_t number, const RatingSgdModel& model) {
          const auto predictions = PredictAll(model, fold.validation.test, scale);
          return epoch.Add(number, ErrorsOf(fold.validation.test, predictions).rmse);
        }).status());
    if (epoch.rmse() >= best_rmse) continue;
    best_rmse = epoch.rmse();
    best = trial;
    best.epochs = epoch.epoch();
  }
  SWIFTLET_ASSIGN_OR_RETURN(const RatingSgdModel model, FitRatingsSgd(fold.split.train, best, nullptr));
  return std::vector<Named>{
      {implicit ? "SVD++ (gradient descent)" : "SVD, biased (gradient descent)",
       PredictAll(model, fold.split.test, scale),
       absl::StrCat("regularisation ", best.regularisation, ", ", best.epochs, " epochs")}};
}

absl::StatusOr<std::vector<Named>> RunBayesian(const Fold& fold) {
  RatingFitOptions options = fold.options.served;
  options.seed = fold.options.seed;
  options.implicit = false;
  SWIFTLET_ASSIGN_OR_RETURN(const RatingFit fit, FitRatings(fold.split.train, options, fold.pool, nullptr));
  return std::vector<Named>{{"biased MF (Bayesian)", PredictAll(fit, fold.split.test, fold.split.train.scale),
                             absl::StrCat(fit.sweeps, " sweeps")}};
}

absl::StatusOr<std::vector<Named>> RunServed(const Fold& fold) {
  RatingFitOptions options = fold.options.served;
  options.seed = fold.options.seed;
  SWIFTLET_ASSIGN_OR_RETURN(const RatingFit fit, FitRatings(fold.split.train, options, fold.pool, nullptr));
  std::vector<Named> results = {{"SVD++ (Bayesian), trained users",
                                 PredictAll(fit, fold.split.test, fold.split.train.scale),
                                 absl::StrCat(fit.sweeps, " sweeps")}};
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> scratch, MakeTemporaryDirectory());
  SWIFTLET_ASSIGN_OR_RETURN(
      const std::shared_ptr<const ModelSnapshot> snapshot,
      WriteRatingSnapshot(scratch->path(), fold.data, RatingContentsOf(fit, fold.ratings)));
  const auto predict = [&](uint32_t max_history, std::string name) -> absl::Status {
    SWIFTLET_ASSIGN_OR_RETURN(Predictions predictions,
                              PredictServed(*snapshot, fold.data, fold.ratings.type, fold.split.train,
                                            fold.split.test, max_history, fold.pool));
    results.push_back({std::move(name), std::move(predictions), ""});
    return absl::OkStatus();
  };
  SWIFTLET_RETURN_IF_ERROR(predict(0, "the same served: folded in by the engine"));
  if (fold.options.max_history > 0) {
    SWIFTLET_RETURN_IF_ERROR(
        predict(fold.options.max_history,
                absl::StrCat("the same, from the newest ", fold.options.max_history, " ratings")));
  }
  return results;
}

absl::StatusOr<std::vector<Named>> RunModel(std::string_view model, const Fold& fold) {
  if (model == "baseline") return RunBaseline(fold);
  if (model == "knn") return RunKnn(fold);
  if (model == "nmf") return RunNmf(fold);
  if (model == "svd") return RunSgd(fold, false);
  if (model == "svd++") return RunSgd(fold, true);
  if (model == "bmf") return RunBayesian(fold);
  return RunServed(fold);
}

// Adds one fold of a model to its results, which are found by name.
void AddFold(const RatingSplit& split, Named named, double seconds, std::vector<RatingResult>* results) {
  auto it = std::find_if(results->begin(), results->end(),
                         [&](const RatingResult& r) { return r.name == named.name; });
  if (it == results->end()) {
    results->push_back({.name = named.name, .fold_rmse = {}, .chosen = {}});
    it = results->end() - 1;
  }
  const RatingErrors errors = ErrorsOf(split.test, named.predictions);
  it->fold_rmse.push_back(errors.rmse);
  const auto n = static_cast<double>(it->fold_rmse.size());
  it->rmse += (errors.rmse - it->rmse) / n;
  it->mae += (errors.mae - it->mae) / n;
  it->seconds += seconds;
  it->chosen = std::move(named.chosen);
}

// Predicts for users 0 to num_users - 1 as a server does for those whose histories are the newest
// `max_history` (0: all) of what `fill` gives. fill(user, &history, &items) appends to empty vectors;
// take(user, predicted) gets the predictions in the order of the items. Both are called by many threads.
absl::Status PredictEach(
    const ModelSnapshot& snapshot, size_t num_users, uint32_t max_history, ThreadPool* pool,
    const std::function<void(size_t, std::vector<HistoryEvent>*, std::vector<ItemKey>*)>& fill,
    const std::function<void(size_t, std::span<const PredictedRating>)>& take) {
  std::vector<absl::Status> failures(pool == nullptr ? 1 : pool->num_threads() + 1);
  ForPieces(pool, num_users, 16, [&](size_t begin, size_t end, size_t worker) {
    RatingScratch scratch;
    RatingPrediction prediction;
    std::vector<HistoryEvent> history;
    std::vector<ItemKey> items;
    for (size_t u = begin; u < end; ++u) {
      history.clear();
      items.clear();
      fill(u, &history, &items);
      std::span<const HistoryEvent> newest = history;
      if (max_history > 0 && newest.size() > max_history) newest = newest.last(max_history);
      absl::Status status = CheckInterrupted();
      if (status.ok()) status = PredictRatings(snapshot, {.history = newest}, items, scratch, &prediction);
      if (!status.ok()) {
        failures[worker] = status;
        return;
      }
      take(u, prediction.ratings);
    }
  });
  for (const absl::Status& status : failures) SWIFTLET_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<float>> PredictServed(const ModelSnapshot& snapshot, const Dataset& data,
                                                 EventTypeId type, const RatingSet& train,
                                                 const std::vector<Rating>& wanted, uint32_t max_history,
                                                 ThreadPool* pool) {
  const RatingRows by_user = RatingsByUser(train);
  std::vector<ItemKey> keys;
  keys.reserve(data.num_items());
  for (const std::string& id : data.item_ids) keys.push_back(ItemKeyOf(id));
  std::vector<size_t> begins;  // of each user's part of `wanted`
  for (size_t w = 0; w < wanted.size(); ++w) {
    if (w == 0 || wanted[w].user != wanted[w - 1].user) begins.push_back(w);
  }
  std::vector<float> predictions(wanted.size());
  const auto end_of = [&](size_t b) { return b + 1 < begins.size() ? begins[b + 1] : wanted.size(); };
  SWIFTLET_RETURN_IF_ERROR(PredictEach(
      snapshot, begins.size(), max_history, pool,
      [&](size_t b, std::vector<HistoryEvent>* history, std::vector<ItemKey>* items) {
        const uint32_t user = wanted[begins[b]].user;
        for (size_t k = by_user.begin[user]; k < by_user.begin[user + 1]; ++k) {
          history->push_back({.item_key = keys[by_user.other[k]],
                              .timestamp_ms = static_cast<int64_t>(history->size()),
                              .value = by_user.values[k],
                              .type = type});
        }
        for (size_t w = begins[b]; w < end_of(b); ++w) items->push_back(keys[wanted[w].item]);
      },
      [&](size_t b, std::span<const PredictedRating> predicted) {
        for (size_t w = 0; w < predicted.size(); ++w) predictions[begins[b] + w] = predicted[w].rating;
      }));
  return predictions;
}

absl::StatusOr<HeldOutRatings> EvaluateHeldOutRatings(const ModelSnapshot& snapshot,
                                                      std::span<const TestUser> users, uint32_t max_history,
                                                      ThreadPool* pool) {
  if (!snapshot.manifest().rating.has_value()) {
    return absl::FailedPreconditionError("the snapshot has no rating model");
  }
  const ManifestRating& rating = *snapshot.manifest().rating;
  const auto is_rating = [&](const HistoryEvent& e) {
    return e.type == rating.event_type && e.value >= rating.min && e.value <= rating.max;
  };
  std::vector<std::vector<double>> errors(users.size());
  SWIFTLET_RETURN_IF_ERROR(PredictEach(
      snapshot, users.size(), max_history, pool,
      [&](size_t u, std::vector<HistoryEvent>* history, std::vector<ItemKey>* items) {
        std::copy_if(users[u].history.begin(), users[u].history.end(), std::back_inserter(*history),
                     is_rating);
        for (const HistoryEvent& e : users[u].held_out) {
          if (is_rating(e)) items->push_back(e.item_key);
        }
      },
      [&](size_t u, std::span<const PredictedRating> predicted) {
        size_t p = 0;
        for (const HistoryEvent& e : users[u].held_out) {
          if (is_rating(e)) errors[u].push_back(double{predicted[p++].rating} - double{e.value});
        }
      }));
  HeldOutRatings result;
  double squares = 0, sum = 0;
  for (const std::vector<double>& of_user : errors) {
    result.count += of_user.size();
    for (const double error : of_user) {
      squares += error * error;
      sum += std::fabs(error);
    }
  }
  const auto n = static_cast<double>(result.count);
  if (result.count > 0) result.errors = {.rmse = std::sqrt(squares / n), .mae = sum / n};
  return result;
}

absl::StatusOr<std::shared_ptr<const ModelSnapshot>> WriteRatingSnapshot(const std::string& directory,
                                                                         const Dataset& data,
                                                                         RatingContents rating) {
  SnapshotContents contents = ContentsWithoutVectors(data, absl::ToUnixMillis(absl::Now()));
  contents.rating = std::move(rating);
  SWIFTLET_RETURN_IF_ERROR(WriteSnapshot(directory, contents));
  return ModelSnapshot::Load(directory, {});
}

std::span<const std::string_view> RatingModelNames() { return kModels; }

absl::StatusOr<std::vector<RatingResult>> CrossValidateRatings(const Dataset& data, const RatingData& ratings,
                                                               const RatingEvaluationOptions& options,
                                                               ThreadPool* pool, Progress* progress) {
  for (const std::string& model : options.models) {
    if (std::find(kModels.begin(), kModels.end(), model) == kModels.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", model, "\" is not a rating model; expected one of ",
                       absl::StrJoin(std::vector<std::string>(kModels.begin(), kModels.end()), ", ")));
    }
  }
  const size_t n = ratings.set.ratings.size();
  if (options.folds < 2 || options.folds > n) {
    return absl::InvalidArgumentError(
        absl::StrCat("folds: ", options.folds, " is not in [2, ", n, "], the number of ratings"));
  }
  const std::vector<uint32_t> fold_of = AssignFolds(n, options.folds, options.seed);
  const std::vector<std::string> models =
      options.models.empty() ? std::vector<std::string>(kModels.begin(), kModels.end()) : options.models;
  std::vector<RatingResult> results;
  for (const std::string& model : models) {
    progress->Begin(model, options.folds);
    for (uint32_t fold = 0; fold < options.folds; ++fold) {
      SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
      const RatingSplit split = SplitRatings(ratings.set, fold_of, fold);
      const size_t num_train = split.train.ratings.size();
      const RatingMoments moments = MomentsOf(split.train);
      if (num_train < kValidationParts || !(moments.deviation > 0)) {
        return absl::FailedPreconditionError(absl::StrCat(
            "fold ", fold, " leaves ", num_train, " ratings to train on, of which a model needs ",
            kValidationParts, " or more, and more than one value"));
      }
      const RatingSplit validation =
          SplitRatings(split.train, AssignFolds(num_train, kValidationParts, options.seed + 1 + fold), 0);
      const absl::Time begin = absl::Now();
      SWIFTLET_ASSIGN_OR_RETURN(std::vector<Named> named, RunModel(model, {.data = data,
                                                                           .ratings = ratings,
                                                                           .options = options,
                                                                           .split = split,
                                                                           .validation = validation,
                                                                           .pool = pool}));
      const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
      for (Named& predictions : named) AddFold(split, std::move(predictions), seconds, &results);
      progress->Step(fold + 1, absl::StrFormat("RMSE %.4f", results.back().fold_rmse.back()));
    }
    progress->End();
  }
  return results;
}

std::string FormatRatingResults(std::span<const RatingResult> results) {
  size_t width = 5;
  for (const RatingResult& r : results) width = std::max(width, r.name.size());
  std::string text = absl::StrFormat("%-*s    RMSE     MAE  seconds  chosen by validation\n", width, "model");
  for (const RatingResult& r : results) {
    absl::StrAppendFormat(&text, "%-*s  %6.4f  %6.4f  %7.1f  %s\n", width, r.name, r.rmse, r.mae, r.seconds,
                          r.chosen);
  }
  return text;
}

std::string RatingResultsToJson(std::span<const RatingResult> results, const RatingData& ratings,
                                const RatingEvaluationOptions& options) {
  nlohmann::ordered_json models = nlohmann::ordered_json::array();
  for (const RatingResult& r : results) {
    models.push_back({{"name", r.name},
                      {"rmse", r.rmse},
                      {"mae", r.mae},
                      {"fold_rmse", r.fold_rmse},
                      {"seconds", r.seconds},
                      {"chosen", r.chosen}});
  }
  const nlohmann::ordered_json root = {{"ratings", ratings.set.ratings.size()},
                                       {"repeated", ratings.num_repeated},
                                       {"off_scale", ratings.num_off_scale},
                                       {"min", ratings.set.scale.min},
                                       {"max", ratings.set.scale.max},
                                       {"folds", options.folds},
                                       {"seed", options.seed},
                                       {"models", std::move(models)}};
  return root.dump(2) + "\n";
}

}  // namespace swiftlet
