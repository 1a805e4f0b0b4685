// The fit of the rating model that is served (engine/encoders/rating_model.h): variational Bayesian matrix
// factorisation with biases. Alternates between the posteriors of all users and of all items, each a Gaussian
// with its full covariance in closed form (Lim and Teh 2007, section 3), and sets the precision of every
// factor and bias and that of the noise to what the posteriors say (empirical Bayes, their section 3.3), so
// that neither regularisation nor a learning rate has to be chosen: factors that the data does not support
// shrink to nothing. A user's mean is, at every step, exactly the ridge regression that the engine solves at
// request time but for covariances between factors of one item, of which a snapshot keeps the variances.
#ifndef SWIFTLET_ENGINE_TRAINER_RATING_FIT_H_
#define SWIFTLET_ENGINE_TRAINER_RATING_FIT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/rating_data.h"

namespace swiftlet {

struct RatingFitOptions {
  uint32_t dim = 15;     // factors at most, 0 to kMaxRatingDim; 0: biases only. 16 n - 1 fill their rows
  uint32_t sweeps = 40;  // at most; ends earlier when the expected error changes by less than 3e-4 of it
  bool implicit = true;  // learn y_i: what it tells about a user which items they rated
  uint64_t seed = 1;
};

// In the units of the ratings; column 0 is the bias, D = dim + 1.
struct RatingFit {
  float mean = 0;
  MatrixF items, item_variances, implicit;  // [N, D]; implicit empty without it
  VectorF ridge;                            // [D]
  MatrixF users;                            // [U, D]: posterior means of the users fitted to, y_i included
  std::vector<uint32_t> counts;             // [N]
  double noise_deviation = 0;
  uint32_t sweeps = 0;  // that were made

  // mean + b_u + b_i + <p_u, q_i>, not clipped. Users and items without ratings add nothing.
  float Predict(uint32_t user, uint32_t item) const;
};

// Deterministic, whatever the number of threads. `progress` may be null. Requires two different values.
// CANCELLED when interrupted.
absl::StatusOr<RatingFit> FitRatings(const RatingSet& set, const RatingFitOptions& options, ThreadPool* pool,
                                     Progress* progress);

// Bytes that a fit will take beyond the ratings.
double RatingFitBytes(const RatingSet& set, const RatingFitOptions& options);

// As a snapshot holds it.
RatingContents RatingContentsOf(const RatingFit& fit, const RatingData& data);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RATING_FIT_H_
