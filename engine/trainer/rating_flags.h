// What train and evaluate-ratings know about ratings, as flags.
#ifndef SWIFTLET_ENGINE_TRAINER_RATING_FLAGS_H_
#define SWIFTLET_ENGINE_TRAINER_RATING_FLAGS_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/trainer/rating_data.h"
#include "engine/trainer/rating_fit.h"

namespace CLI {
class App;
}

namespace swiftlet {

struct RatingFlags {
  std::string type, scale;  // empty: the default name; what occurs
  RatingFitOptions fit;     // its seed is the command's
};

// --rating-type, --rating-scale, --rating-dim, --rating-sweeps, --rating-implicit
void AddRatingFlags(CLI::App* app, RatingFlags* flags);

// INVALID_ARGUMENT for a scale that is none.
absl::StatusOr<RatingDataOptions> RatingDataOptionsOf(const RatingFlags& flags);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RATING_FLAGS_H_
