// Expected ratings: a matrix factorisation with biases whose users are not stored. A user's part is worked
// out from the user's ratings when it is asked for, in closed form, so that a rating counts as soon as it is
// made.
//
//   rating(u, i) = mean + b_u + b_i + <p_u, q_i>
//
// Users and items are Gaussian posteriors of a variational fit (Lim and Teh, "Variational Bayesian approach
// to movie rating prediction", KDD Cup 2007, section 3; fitted by engine/trainer/rating_fit.h). Given the
// items, the mean of w_u = [b_u, p_u] is that of a ridge regression over the user's ratings, with a_i = [1,
// q_i]:
//
//   (R + sum_i (a_i a_i^T + V_i)) w_u = R m_u + sum_i (r_ui - mean - b_i) a_i
//
// R = diag(ridge); V_i = diag(variances of q_i): an item that few have rated counts less. The prior's mean
// m_u = n^-1/2 sum_i y_i says what it tells about a user that they rated these n items at all, whatever the
// rating (SVD++: Koren, "Factorization meets the neighborhood", KDD 2008, section 4.1).
#ifndef SWIFTLET_ENGINE_ENCODERS_RATING_MODEL_H_
#define SWIFTLET_ENGINE_ENCODERS_RATING_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/aligned_vector.h"

namespace swiftlet {

// Borrowed tables of N items, d = dim, rows of s = RowStride(d + 1) floats, 64-byte aligned. Column 0 belongs
// to the bias, columns 1..d to the factors; columns from d + 1 on are zero.
struct RatingTables {
  uint32_t dim = 0;                            // d: 0 (biases only) to kMaxRatingDim
  float mean = 0, min = 0, max = 0;            // of the ratings, and their scale; min <= mean <= max
  std::span<const float> items = {};           // [N, s]: b_i, q_i
  std::span<const float> item_variances = {};  // [N, s]: 0, variances of q_i, >= 0; or empty: 0
  std::span<const float> implicit = {};        // [N, s]: y_i; or empty: 0
  std::span<const float> ridge = {};           // [s]: > 0 in columns 0..d
  std::span<const uint32_t> counts = {};       // [N]: ratings of the item that were fitted to
};
inline constexpr uint32_t kMaxRatingDim = 255;

struct RatedItem {
  uint32_t row = 0;
  float value = 0;
};

// Buffers of one thread; may be used with any model.
struct RatingFoldInScratch {
  AlignedVector<float> rows, gram;
};

// Immutable and thread-safe.
class RatingModel {
 public:
  explicit RatingModel(const RatingTables& tables) : t_(tables), stride_(RowStride(tables.dim + 1)) {}

  const RatingTables& tables() const { return t_; }
  // Of the scale, both ends included.
  bool IsOnScale(float value) const { return value >= t_.min && value <= t_.max; }
  // Whether the item's part of a rating was learned from any. Requires row < N.
  bool Knows(uint32_t row) const { return t_.counts[row] > 0; }

  // w_u from distinct items that the model knows: the zero vector for none. user: [d + 1] out.
  // d^2 / 2 multiplications for each rating, and d^3 / 6.
  void FoldIn(std::span<const RatedItem> ratings, RatingFoldInScratch& scratch, std::span<float> user) const;

  // Clipped to the scale. user: [d + 1] from FoldIn.
  float Predict(std::span<const float> user, uint32_t row) const;
  // The same of an item that the model does not know: b_i = 0, q_i = 0.
  float PredictUnknown(std::span<const float> user) const;

 private:
  const RatingTables t_;
  const size_t stride_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_RATING_MODEL_H_
