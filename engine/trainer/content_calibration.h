// How far what content says about items is to be trusted, and how often items without events are to be shown:
// both are read off trained items that are treated as if they had no events.
#ifndef SWIFTLET_ENGINE_TRAINER_CONTENT_CALIBRATION_H_
#define SWIFTLET_ENGINE_TRAINER_CONTENT_CALIBRATION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/trainer/matrix.h"

namespace swiftlet {

// Users as they were before they knew any held-out item, and what they picked then; all of it may be empty.
struct ContentUsers {
  MatrixF vectors = {};  // [S, dim], as the engine makes them
  // [S] or empty: the held-out items that each picked, as indices of items; those that are not among the
  // items to choose on are passed over.
  std::vector<std::vector<uint32_t>> picks = {};
  // To measure what is shown, users as they are at the end: [T, dim] their vectors, and [T] the scores of the
  // best items for each that are neither held out nor known to the user, at most kContentShown, best first.
  MatrixF final_vectors = {};
  std::vector<std::vector<float>> best_scores = {};
};
inline constexpr size_t kContentShown = 20;

// Scores of items by content, for a user q of whom mean_direction, of length 1, is the mean user's direction:
//   bias * b + shared * (q.m)(m.v) + personal * (q.v - (q.m)(m.v)),   v, b as deviations from their means.
// Each in [0, 1].
struct ContentScales {
  float bias = 1, shared = 1, personal = 1;
};

struct FittedScales {
  ContentScales scales;
  // Mean over the picks of log(probability times number of candidates), with the scales before they were
  // divided by the largest; 0 is a choice at random.
  double log_likelihood = 0;
  uint64_t num_picks = 0;
};

// The scales with which a conditional logit (McFadden, Conditional Logit Analysis of Qualitative Choice
// Behavior, 1974) explains the picks best, among the held-out items, by Newton's method, with a normal prior
// as heavy as kPriorPicks picks; divided by the largest, since the overall scale is that of the regression.
// vectors: [H, dim] and biases: [H], deviations; item_rows: [N], row of an item in them, or -1. All scales 1
// where there are no picks.
FittedScales FitScales(const ContentUsers& users, std::span<const int32_t> item_rows, const MatrixF& vectors,
                       const VectorF& biases);

// The direction of the mean of the rows; 0 where that is 0.
VectorF MeanDirection(const MatrixF& vectors);

// Rows v = mean + shared * m m^T (v - mean) + personal * (1 - m m^T)(v - mean), in place. With a mean of 0,
// of rows of coefficients.
void ScaleRows(const VectorF& mean_direction, const ContentScales& scales, const Eigen::RowVectorXf& mean,
               Eigen::Ref<MatrixF> rows);

// The share of the users' first kContentShown recommendations that held-out items get for a shift of their
// biases.
class Exposure {
 public:
  // vectors: [H, dim], biases: [H].
  Exposure(const ContentUsers& users, const MatrixF& vectors, const VectorF& biases);

  bool empty() const { return users_.empty(); }
  double Share(float shift) const;
  // The shift with which the share is `share`, within [-limit, limit].
  float ShiftFor(double share, float limit) const;

 private:
  struct User {
    std::vector<float> others, held_out;  // best first, kContentShown at most
  };
  std::vector<User> users_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_CONTENT_CALIBRATION_H_
