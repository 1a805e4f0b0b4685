#include "engine/trainer/rating_flags.h"

#include "CLI/CLI.hpp"
#include "engine/base/status_macros.h"
#include "engine/encoders/rating_model.h"

namespace swiftlet {

void AddRatingFlags(CLI::App* app, RatingFlags* flags) {
  const char* group = "Ratings";
  app->add_option("--rating-type", flags->type,
                  "Events of this type are ratings: their value is what is predicted (default: rating)")
      ->group(group);
  app->add_option("--rating-scale", flags->scale,
                  "MIN:MAX; events with another value are left out and counted (default: what occurs)")
      ->group(group);
  app->add_option("--rating-dim", flags->fit.dim,
                  "Factors at most; those that the data does not support shrink")
      ->check(CLI::Range(0u, kMaxRatingDim))
      ->capture_default_str()
      ->group(group);
  app->add_option("--rating-sweeps", flags->fit.sweeps, "At most; the fit ends when its error stands still")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str()
      ->group(group);
  app->add_flag("--rating-implicit,!--no-rating-implicit", flags->fit.implicit,
                "Learn what it tells about a user which items they rated (default on)")
      ->group(group);
}

absl::StatusOr<RatingDataOptions> RatingDataOptionsOf(const RatingFlags& flags) {
  RatingDataOptions options{.type = flags.type, .scale = {}};
  if (!flags.scale.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(options.scale, ParseRatingScale(flags.scale));
  }
  return options;
}

}  // namespace swiftlet
