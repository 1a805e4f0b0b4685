// How well ratings are predicted: the served model through the engine, and the classics beside it.
#ifndef SWIFTLET_ENGINE_TRAINER_RATING_EVALUATION_H_
#define SWIFTLET_ENGINE_TRAINER_RATING_EVALUATION_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/rating_data.h"
#include "engine/trainer/rating_fit.h"
#include "engine/trainer/split.h"

namespace swiftlet {

// Predictions for `wanted` (by user) through PredictRatings, as a server makes them for users whose histories
// are the newest `max_history` (0: all) of their ratings in `train`. Ratings are of the data set that
// user_ids and item_ids name.
absl::StatusOr<std::vector<float>> PredictServed(const ModelSnapshot& snapshot, const Dataset& data,
                                                 EventTypeId type, const RatingSet& train,
                                                 const std::vector<Rating>& wanted, uint32_t max_history,
                                                 ThreadPool* pool);

struct HeldOutRatings {
  RatingErrors errors;  // 0 of none
  uint64_t count = 0;
};
// Errors on the ratings that were held out from the users (TestUser::held_out: events of the snapshot's
// rating type with a value on its scale), predicted through PredictRatings from the newest `max_history` (0:
// all) ratings of their histories. FAILED_PRECONDITION where the snapshot has no rating model.
absl::StatusOr<HeldOutRatings> EvaluateHeldOutRatings(const ModelSnapshot& snapshot,
                                                      std::span<const TestUser> users, uint32_t max_history,
                                                      ThreadPool* pool);

// A snapshot of nothing but the rating model (vectors of one zero), written into the existing `directory` and
// loaded from there.
absl::StatusOr<std::shared_ptr<const ModelSnapshot>> WriteRatingSnapshot(const std::string& directory,
                                                                         const Dataset& data,
                                                                         RatingContents contents);

// What CrossValidateRatings knows, the served one last.
std::span<const std::string_view> RatingModelNames();

struct RatingEvaluationOptions {
  uint32_t folds = 5;               // >= 2
  uint64_t seed = 1;                // of the folds and of the models
  std::vector<std::string> models;  // of RatingModelNames(); empty: all
  RatingFitOptions served;          // its seed is that above
  uint32_t max_history = 200;       // a server's limit: a row of its own in the results
};

struct RatingResult {
  std::string name;
  double rmse = 0, mae = 0;       // means over the folds
  std::vector<double> fold_rmse;  // of each
  double seconds = 0;             // of all folds: choosing, fitting and predicting
  std::string chosen;             // in the last fold, by validation within what was trained on; may be empty
};

// k-fold cross-validation over random folds (the protocol of Surprise): each rating is predicted once, by a
// model that was fitted to the other folds; predictions are clipped to the scale. Where a model has something
// to choose, a tenth of the training ratings serves as validation, and the model is then fitted anew to all
// of them. INVALID_ARGUMENT for an unknown model or more folds than ratings; CANCELLED when interrupted.
absl::StatusOr<std::vector<RatingResult>> CrossValidateRatings(const Dataset& data, const RatingData& ratings,
                                                               const RatingEvaluationOptions& options,
                                                               ThreadPool* pool, Progress* progress);

// A table for people.
std::string FormatRatingResults(std::span<const RatingResult> results);
// The same as JSON.
std::string RatingResultsToJson(std::span<const RatingResult> results, const RatingData& ratings,
                                const RatingEvaluationOptions& options);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RATING_EVALUATION_H_
