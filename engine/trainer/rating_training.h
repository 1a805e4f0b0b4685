// The rating model as a part of `train`: found in the data, measured, and fitted.
#ifndef SWIFTLET_ENGINE_TRAINER_RATING_TRAINING_H_
#define SWIFTLET_ENGINE_TRAINER_RATING_TRAINING_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/rating_data.h"
#include "engine/trainer/rating_fit.h"

namespace swiftlet {

struct RatingTrainingOptions {
  RatingDataOptions data;
  RatingFitOptions fit;
  bool holdout = true;         // measure first, with a tenth of the ratings held out
  uint32_t max_history = 200;  // newest ratings of a user that the engine is given then; a server's limit
  uint64_t memory_limit = 0;   // bytes that the fit may take; 0: MemoryLimit()
};

struct TrainedRatings {
  RatingContents contents;
  // "rating.rmse", "rating.mae", through the engine that serves, and "rating.baseline_rmse" of biases alone;
  // empty without holdout.
  std::map<std::string, double> metrics;
};

// Nothing, and a line that says why, where the data holds no ratings (FindRatings); silent where
// options.data.type is empty and nothing looks like ratings. RESOURCE_EXHAUSTED when the fit would take more
// memory than it may; CANCELLED when interrupted.
absl::StatusOr<std::optional<TrainedRatings>> TrainRatings(const Dataset& data,
                                                           const RatingTrainingOptions& options,
                                                           ThreadPool* pool, Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RATING_TRAINING_H_
