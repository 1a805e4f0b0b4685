// Matrix types of the trainer: float32, row-major, one row an item or user.
#ifndef SWIFTLET_ENGINE_TRAINER_MATRIX_H_
#define SWIFTLET_ENGINE_TRAINER_MATRIX_H_

#include <algorithm>
#include <cstddef>
#include <functional>

#include "Eigen/Core"
#include "engine/base/thread_pool.h"

namespace swiftlet {

using MatrixF = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using VectorF = Eigen::VectorXf;

// ThreadPool::ParallelFor, or the same pieces in order on this thread when `pool` is null. Pieces are the
// same whatever the number of threads, so that results that are reduced piece by piece are, too.
inline void ForPieces(ThreadPool* pool, size_t n, size_t grain,
                      const std::function<void(size_t, size_t, size_t)>& fn) {
  if (pool != nullptr) {
    pool->ParallelFor(n, grain, fn);
    return;
  }
  for (size_t begin = 0; begin < n; begin += grain) fn(begin, std::min(n, begin + grain), 0);
}

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_MATRIX_H_
