// Non-negative matrix factorisation of ratings.
#ifndef SWIFTLET_ENGINE_TRAINER_RATING_NMF_H_
#define SWIFTLET_ENGINE_TRAINER_RATING_NMF_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/rating_data.h"

namespace swiftlet {

struct RatingNmfOptions {
  uint32_t dim = 15;
  uint32_t sweeps = 50;
  float regularisation = 0.05f;  // lambda, of ratings over their mean distance from the lowest
  uint64_t seed = 1;
};

// Minimises, over p, q >= 0,
//
//   sum (r_ui - low - <p_u, q_i>)^2 + lambda (sum_u n_u |p_u|^2 + sum_i n_i |q_i|^2)
//
// low is the scale's minimum. One coordinate at a time in closed form (Cichocki and Phan, "Fast local
// algorithms for large scale nonnegative matrix and tensor factorizations", 2009), over the observed ratings.
struct RatingNmfModel {
  float low = 0, mean = 0;
  MatrixF users, items;  // [U, dim], [N, dim], >= 0
  std::vector<bool> has_user, has_item;

  // Not clipped. The mean rating where the user or the item has no rating.
  float Predict(uint32_t user, uint32_t item) const {
    if (!has_user[user] || !has_item[item]) return mean;
    return low + users.row(user).dot(items.row(item));
  }
};

// Called after every sweep (1, 2, ..) with the model so far; false ends the fit. May be empty.
using RatingNmfHook = std::function<bool(uint32_t sweep, const RatingNmfModel& model)>;

// On the calling thread. CANCELLED when interrupted.
absl::StatusOr<RatingNmfModel> FitRatingsNmf(const RatingSet& set, const RatingNmfOptions& options,
                                             const RatingNmfHook& hook);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RATING_NMF_H_
