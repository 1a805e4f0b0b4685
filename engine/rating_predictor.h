// Expected ratings over one snapshot: a pure function, with per-thread scratch and no allocation in the
// steady state. No locks, no clock, no I/O.
#ifndef SWIFTLET_ENGINE_RATING_PREDICTOR_H_
#define SWIFTLET_ENGINE_RATING_PREDICTOR_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/encoders/rating_model.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/user_state.h"

namespace swiftlet {

struct PredictedRating {
  float rating = 0;         // on the snapshot's scale
  bool known_item = false;  // false: no rating of the item was trained on, and its part of the sum is 0
};

// Reused between requests.
struct RatingPrediction {
  std::vector<PredictedRating> ratings;  // in the order of the items asked for
  uint32_t num_ratings_used = 0;         // of the user
};

// Buffers of one thread; may be used with any snapshot.
struct RatingScratch {
  struct UserRating {
    uint32_t row = 0, index = 0;
    float value = 0;
  };
  std::vector<UserRating> found;
  std::vector<RatedItem> ratings;
  AlignedVector<float> user;
  RatingFoldInScratch fold_in;
};

// What the user would rate each of `items`, given the ratings in `user.history`: events of the snapshot's
// rating type with a value on its scale, of items that the rating model knows; of several ratings of one item
// the last counts. Other events, and user.long_term, are not looked at. Without any rating, the baseline
// mean + b_i. FAILED_PRECONDITION where the snapshot has no rating model. `result` is overwritten.
absl::Status PredictRatings(const ModelSnapshot& snapshot, const UserState& user,
                            std::span<const ItemKey> items, RatingScratch& scratch, RatingPrediction* result);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RATING_PREDICTOR_H_
