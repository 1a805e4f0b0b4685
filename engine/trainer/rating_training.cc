#include "engine/trainer/rating_training.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/memory_limit.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/rating_evaluation.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

constexpr uint32_t kHoldoutParts = 10;
constexpr size_t kLeastRatingsToMeasure = 100;

absl::Status CheckMemory(const RatingData& ratings, const RatingTrainingOptions& options) {
  const double bytes = RatingFitBytes(ratings.set, options.fit);
  const auto memory = static_cast<double>(options.memory_limit > 0 ? options.memory_limit : MemoryLimit());
  if (bytes <= memory) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "the rating model needs about %.3g GB and may take %.3g GB; lower --rating-dim, or leave it out with "
      "--no-ratings",
      bytes / 1e9, memory / 1e9));
}

absl::Status Measure(const Dataset& data, const RatingData& ratings, const RatingTrainingOptions& options,
                     ThreadPool* pool, Progress* progress, std::map<std::string, double>* metrics) {
  const size_t n = ratings.set.ratings.size();
  const RatingSplit split = SplitRatings(ratings.set, AssignFolds(n, kHoldoutParts, options.fit.seed), 0);
  if (n < kLeastRatingsToMeasure || !(MomentsOf(split.train).deviation > 0)) {
    progress->Say(absl::StrCat("ratings: too few to measure with (", n, ")"));
    return absl::OkStatus();
  }
  SWIFTLET_ASSIGN_OR_RETURN(const RatingFit baseline,
                            FitRatings(split.train, {.dim = 0, .implicit = false}, pool, nullptr));
  std::vector<float> predictions;
  for (const Rating& r : split.test) {
    predictions.push_back(
        std::clamp(baseline.Predict(r.user, r.item), ratings.set.scale.min, ratings.set.scale.max));
  }
  const double baseline_rmse = ErrorsOf(split.test, predictions).rmse;
  SWIFTLET_ASSIGN_OR_RETURN(const RatingFit fit, FitRatings(split.train, options.fit, pool, progress));
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> scratch, MakeTemporaryDirectory());
  SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> snapshot,
                            WriteRatingSnapshot(scratch->path(), data, RatingContentsOf(fit, ratings)));
  SWIFTLET_ASSIGN_OR_RETURN(predictions, PredictServed(*snapshot, data, ratings.type, split.train, split.test,
                                                       options.max_history, pool));
  const RatingErrors errors = ErrorsOf(split.test, predictions);
  *metrics = {
      {"rating.rmse", errors.rmse}, {"rating.mae", errors.mae}, {"rating.baseline_rmse", baseline_rmse}};
  progress->Say(absl::StrFormat("ratings: %s held out: RMSE %.4f, MAE %.4f (biases alone: RMSE %.4f)",
                                WithCommas(split.test.size()), errors.rmse, errors.mae, baseline_rmse));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<TrainedRatings>> TrainRatings(const Dataset& data,
                                                           const RatingTrainingOptions& options,
                                                           ThreadPool* pool, Progress* progress) {
  absl::StatusOr<RatingData> ratings = FindRatings(data, options.data);
  if (absl::IsFailedPrecondition(ratings.status())) {
    const bool any = !options.data.type.empty() ||
                     std::any_of(data.events.begin(), data.events.end(), [&](const TrainingEvent& e) {
                       const EventType* type = data.event_types.FindById(e.type);
                       return type != nullptr && type->name == kRatingTypeName;
                     });
    if (any) progress->Say(absl::StrCat("no rating model: ", std::string(ratings.status().message())));
    return std::nullopt;
  }
  SWIFTLET_RETURN_IF_ERROR(ratings.status());
  progress->Say(absl::StrCat("rating model: ", DescribeRatings(*ratings)));
  SWIFTLET_RETURN_IF_ERROR(CheckMemory(*ratings, options));
  TrainedRatings trained;
  if (options.holdout) {
    SWIFTLET_RETURN_IF_ERROR(Measure(data, *ratings, options, pool, progress, &trained.metrics));
  }
  SWIFTLET_ASSIGN_OR_RETURN(const RatingFit fit, FitRatings(ratings->set, options.fit, pool, progress));
  trained.contents = RatingContentsOf(fit, *ratings);
  return trained;
}

}  // namespace swiftlet
