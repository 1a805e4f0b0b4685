// Biased matrix factorisation and SVD++ by stochastic gradient descent: the classics that the served model
// (rating_fit.h) is held against.
#ifndef SWIFTLET_ENGINE_TRAINER_RATING_SGD_H_
#define SWIFTLET_ENGINE_TRAINER_RATING_SGD_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/rating_data.h"

namespace swiftlet {

struct RatingSgdOptions {
  uint32_t dim = 40;
  uint32_t epochs = 50;
  float regularisation = 0.05f;  // of standardised ratings
  float learning_rate = 0.01f;   // falls by 3 % an epoch
  bool implicit = false;         // SVD++
  uint64_t seed = 1;
};

// mean + b_u + b_i + <p_u + n_u^-1/2 sum_j y_j, q_i>; without the sum where not implicit (Koren 2008, section
// 4.1, equations 14 and 15). Users in random order, a user's ratings one after another; y is moved once a
// user, by the sum of the gradients.
struct RatingSgdModel {
  float mean = 0, deviation = 1;
  VectorF user_bias, item_bias;
  MatrixF users, items;  // [U, dim] with the sum of y, [N, dim]
  MatrixF y;             // [N, dim], empty where not implicit

  // Not clipped.
  float Predict(uint32_t user, uint32_t item) const {
    return mean + deviation * (user_bias[user] + item_bias[item] + users.row(user).dot(items.row(item)));
  }
};

// Called after every epoch (1, 2, ..) with the model so far; false ends the fit. May be empty.
using RatingEpochHook = std::function<bool(uint32_t epoch, const RatingSgdModel& model)>;

// On the calling thread. CANCELLED when interrupted; INTERNAL when it diverges.
absl::StatusOr<RatingSgdModel> FitRatingsSgd(const RatingSet& set, const RatingSgdOptions& options,
                                             const RatingEpochHook& hook);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RATING_SGD_H_
