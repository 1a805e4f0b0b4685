// Factorisations of the sparse matrix of users and items, as item vectors for sums over a history.
#ifndef SWIFTLET_ENGINE_TRAINER_FACTORISATION_H_
#define SWIFTLET_ENGINE_TRAINER_FACTORISATION_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/trainer/als.h"
#include "engine/trainer/matrix.h"

namespace swiftlet {

// Items as they are scored, v, and as they stand for a user in a sum over the history, x: both [items, dim].
//   score(u, i) = sum_j in S_u <x_j, v_i>
struct ItemFactors {
  MatrixF items, inputs;
};

// Truncated SVD (Cremonesi, Koren and Turrin, Performance of Recommender Algorithms on Top-N Recommendation
// Tasks, RecSys 2010: PureSVD), of R with column i scaled by c_i = |S_i|^-item_exponent and, where that is
// not 0, row u by |S_u|^-1/2:
//   R' ~ U S V^T,   x_j = c_j V_j,   v_i = V_i / c_i
// With exponent 0 that is PureSVD; with 1/2 the ideal low-pass filter of GF-CF (Shen et al., How Powerful is
// Graph Convolution for Recommendation?, CIKM 2021). Columns by descending singular value: the first r are
// the factors of rank r. By subspace iteration from a random start (Halko, Martinsson and Tropp, Finding
// Structure with Randomness, SIAM Review 2011, algorithm 4.4). Entries of R are the weights of the pairs.
struct SvdOptions {
  uint32_t dim = 64;  // at most that of items and users, to which it is cut
  float item_exponent = 0;
  uint32_t iterations = 8;
  uint64_t seed = 1;
};
// CANCELLED when interrupted.
absl::StatusOr<ItemFactors> FactorSvd(const SparseRows& by_user, size_t num_items, const SvdOptions& options,
                                      ThreadPool* pool);

// Non-negative factors of R, unknown pairs being 0:
//   minimise |R - W H^T|^2 + lambda (|W|^2 + |H|^2),   W, H >= 0
// by coordinate descent on whole rows in turn (Cichocki and Phan, Fast Local Algorithms for Large Scale
// Nonnegative Matrix and Tensor Factorizations, IEICE 2009: HALS). v_i = H_i, and a user is folded in by
// least squares for fixed H, whose weights may be negative: x_j = (H^T H + lambda)^-1 H_j.
struct NmfOptions {
  uint32_t dim = 64;
  float lambda = 1;
  uint32_t epochs = 30;
  uint64_t seed = 1;
};
absl::StatusOr<ItemFactors> FactorNmf(const SparseRows& by_user, size_t num_items, const NmfOptions& options,
                                      ThreadPool* pool);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_FACTORISATION_H_
