// Sparse item-item models: EASE and item-kNN, as rows for engine/retrieval/neighbour_rows.h.
//
// EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019) is the ridge regression of
// every item's column on all others. With users weighed by w_u and a penalty for each item,
//
//   minimise  sum_u w_u |x_u - x_u B|^2 + sum_j lambda_j |B_j.|^2    B_ii = 0
//   w_u ~ |S_u|^-user_exponent, of mean 1      lambda_j = lambda (|S_j| / mean)^item_exponent
//
// B_ji = -P_ji / P_ii, P = (X^T W X + diag(lambda_j))^-1 (sec. 3.1). Without the inverse of all items, column
// i is solved for its `neighbours` most co-occurring items alone (as in Steck, "Markov Random Fields for
// Collaborative Filtering", NeurIPS 2019, sec. 3.2): exact for that support, and often better, since what it
// leaves out is noise.
#ifndef SWIFTLET_ENGINE_TRAINER_NEIGHBOUR_FIT_H_
#define SWIFTLET_ENGINE_TRAINER_NEIGHBOUR_FIT_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/snapshot/manifest.h"
#include "engine/trainer/als.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/ranking_users.h"
#include "engine/trainer/split.h"

namespace swiftlet {

struct EaseOptions {
  float lambda = 50;
  float user_exponent = 0.5f;
  float item_exponent = 0.5f;
  uint32_t neighbours = 200;  // of a column; 0: the inverse over all items
};

struct ItemKnnOptions {
  float shrinkage = 10;        // added to |S_i|^1/2 |S_j|^1/2
  float user_exponent = 0.5f;  // a user counts |S_u|^-user_exponent
  float power = 1;             // of the similarity
  uint32_t neighbours = 200;
};

// W[j, i] in row j, ascending i.
struct ItemRows {
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> rows;
  std::vector<float> weights;
};

// The users that rows name instead of items, see engine/retrieval/neighbour_users.h. Items of user v:
// items[offsets[v] .. offsets[v + 1]), ascending.
struct UserSets {
  ManifestNeighbourUsers parameters = {};
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> items = {};
};

// What a snapshot holds as neighbours, but for the weights of positions.
struct FittedNeighbours {
  ItemRows rows = {};
  std::optional<UserSets> users = {};
};

// Bytes that a fit takes beside its result.
double EaseBytes(const SparseRows& by_user, size_t num_items, const EaseOptions& options);

// RESOURCE_EXHAUSTED, with what to do about it, when EaseBytes are more than max_bytes; CANCELLED when
// interrupted. by_user: each item once in a row; weights are not looked at.
absl::StatusOr<ItemRows> FitEase(const SparseRows& by_user, size_t num_items, const EaseOptions& options,
                                 double max_bytes, ThreadPool* pool);

// Cosine with shrinkage: W_ji = (sum_{u in S_i, S_j} w_u / (|S_i|^1/2 |S_j|^1/2 + shrinkage))^power, of every
// row the largest `neighbours`.
absl::StatusOr<ItemRows> FitItemKnn(const SparseRows& by_user, size_t num_items,
                                    const ItemKnnOptions& options, ThreadPool* pool);

// Of every row the `most` entries of the largest |weight|, of equals those of the smaller index.
ItemRows Truncate(const ItemRows& rows, uint32_t most);

// Relative error of W's columns to those of the model over all items, |w - b| / |b|: the mean over `samples`
// columns, spread evenly, which are solved by conjugate gradients.
double EaseError(const SparseRows& by_user, size_t num_items, const EaseOptions& options,
                 const ItemRows& rows, size_t samples);

// (1 + position)^-exponent * 2^(-position / half_life), [num_positions]; half_life 0: without the second
// factor.
std::vector<float> PositionWeights(float exponent, float half_life, size_t num_positions);

// Mean NDCG@k of ranking by the engine's own sums, items of the history left out.
double RankingNdcg(const FittedNeighbours& fitted, std::span<const float> position_weights,
                   std::span<const RankingUser> users, uint32_t k, ThreadPool* pool);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_NEIGHBOUR_FIT_H_
