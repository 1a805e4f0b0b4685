// Weighted ridge regression from sparse rows to many targets at once.
#ifndef SWIFTLET_ENGINE_TRAINER_CONTENT_RIDGE_H_
#define SWIFTLET_ENGINE_TRAINER_CONTENT_RIDGE_H_

#include <cstdint>
#include <vector>

#include "engine/trainer/matrix.h"

namespace swiftlet {

// Compressed sparse rows. A column may occur more than once in a row: its values add up.
struct SparseDesign {
  size_t num_columns = 0;
  std::vector<size_t> row_begin = {0};  // [rows + 1]
  std::vector<uint32_t> columns;
  std::vector<float> values;

  size_t num_rows() const { return row_begin.size() - 1; }
};

struct RidgeOptions {
  float lambda = 1;  // > 0
  // The one column that is not held back and is 1 in every row, or none (num_columns or more).
  size_t intercept = ~size_t{0};
  uint32_t max_iterations = 60;
  float tolerance = 1e-4f;  // ends when every target's residual is this part of what it was at first
};

// B [columns, targets] = argmin sum_i w_i |y_i - x_i B|^2 + lambda |B|^2 (without the intercept's row), by
// conjugate gradients on the normal equations with a diagonal preconditioner (Golub & Van Loan, Matrix
// Computations, 11.5), from zero. weights: [rows], >= 0. targets: [rows, targets]. The same numbers whatever
// the pool; null: on this thread.
MatrixF SolveRidge(const SparseDesign& design, const VectorF& weights, const MatrixF& targets,
                   const RidgeOptions& options, ThreadPool* pool);

// x_i B for every row.
MatrixF Predict(const SparseDesign& design, const MatrixF& coefficients);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_CONTENT_RIDGE_H_
