// iALS: implicit alternating least squares, as in Rendle, Krichene, Zhang and Koren, "Revisiting the
// Performance of iALS on Item Recommendation Benchmarks" (RecSys 2022), with frequency-scaled regularisation.
// Minimises
//
//   sum_(u,i) in S  w_ui (<p_u, v_i> - 1)^2  +  alpha0 sum_u sum_i <p_u, v_i>^2
//     + lambda (sum_u (|S_u| + alpha0 |I|)^nu |p_u|^2 + sum_i (|S_i| + alpha0 |U|)^nu |v_i|^2)
//
// by solving for all users, then all items, in turn. S holds each positive pair once.
#ifndef SWIFTLET_ENGINE_TRAINER_ALS_H_
#define SWIFTLET_ENGINE_TRAINER_ALS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/progress.h"

namespace swiftlet {

struct AlsOptions {
  uint32_t dim = 64;
  float lambda = 0.01f;
  float alpha0 = 0.3f;
  float nu = 1.0f;
  float init_stddev = 0.1f;  // of a vector; an entry has init_stddev / sqrt(dim)
  uint32_t epochs = 12;
  uint64_t seed = 1;
};

// Positive pairs as rows of one side: the neighbours of row r are columns[begin[r] .. begin[r + 1]).
struct SparseRows {
  std::vector<size_t> begin;
  std::vector<uint32_t> columns;
  std::vector<float> weights;  // as columns

  size_t num_rows() const { return begin.size() - 1; }
};

// The positives of `data` by user, without the events that `skip` marks (empty: none). A pair is positive
// when its newest event's class has sign +1; its weight is the largest weight of a positive type among its
// events.
SparseRows MakePositives(const Dataset& data, std::span<const EventClass> classes,
                         const std::vector<bool>& skip);
SparseRows Transpose(const SparseRows& rows, size_t num_columns);

struct AlsModel {
  MatrixF users;  // [U, dim]
  MatrixF items;  // [I, dim]
  double loss = 0;
};

// The regularisation of a row with `count` positives against `other` rows of the other side.
float AlsRegularisation(const AlsOptions& options, size_t count, size_t other);

// Solves for every row of `solution` ([rows.num_rows(), dim] out) with `fixed` held.
void SolveAlsSide(const SparseRows& rows, const MatrixF& fixed, const AlsOptions& options, ThreadPool* pool,
                  MatrixF* solution);

// The objective above.
double AlsLoss(const SparseRows& by_user, const SparseRows& by_item, const AlsModel& model,
               const AlsOptions& options, ThreadPool* pool);

// CANCELLED when interrupted. Shows the loss of every epoch. The users of the result are solved for its
// items. after_epoch (may be empty) sees the model after each epoch, from 1 on.
absl::StatusOr<AlsModel> TrainAls(
    const SparseRows& by_user, size_t num_items, const AlsOptions& options, ThreadPool* pool,
    Progress* progress, const std::function<void(uint32_t epoch, const AlsModel&)>& after_epoch = {});

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_ALS_H_
