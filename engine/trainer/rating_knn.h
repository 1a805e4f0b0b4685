// Neighbours of items over baselines (Koren, "Factor in the neighbors: scalable and accurate collaborative
// filtering", TKDD 4(1), 2010, section 3.1).
#ifndef SWIFTLET_ENGINE_TRAINER_RATING_KNN_H_
#define SWIFTLET_ENGINE_TRAINER_RATING_KNN_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/rating_data.h"
#include "engine/trainer/rating_fit.h"

namespace swiftlet {

struct RatingKnnOptions {
  uint32_t neighbours = 40;  // of those that the user has rated, the most similar
  float shrinkage = 100;     // lambda below
};

// For each of `options` the ratings of `wanted` (whose values are not looked at), not clipped:
//
//   b_ui + sum_j s_ij (r_uj - b_uj) / sum_j s_ij     j: the items nearest to i among those that u has rated
//   s_ij = (n_ij - 1) / (n_ij - 1 + lambda) rho_ij
//
// rho_ij is the Pearson correlation of the residuals r - b of the n_ij users who rated both, b the baseline,
// a fit with dim 0. Only s_ij > 0 counts; with none, the answer is b_ui. Similarities are computed for the
// wanted items alone and not kept: memory is proportional to the items, time to the sum over the raters of
// each wanted item of their ratings. CANCELLED when interrupted.
absl::StatusOr<std::vector<std::vector<float>>> PredictByNeighbours(const RatingSet& train,
                                                                    const RatingFit& baseline,
                                                                    std::span<const RatingKnnOptions> options,
                                                                    const std::vector<Rating>& wanted,
                                                                    ThreadPool* pool);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RATING_KNN_H_
