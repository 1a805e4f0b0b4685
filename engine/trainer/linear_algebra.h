// Dense linear algebra of the trainer over OpenBLAS, which has kernels for the processor it runs on: Eigen,
// compiled for every x86-64 machine, is several times slower. All matrices are row-major float32.
#ifndef SWIFTLET_ENGINE_TRAINER_LINEAR_ALGEBRA_H_
#define SWIFTLET_ENGINE_TRAINER_LINEAR_ALGEBRA_H_

#include <cstddef>

#include "engine/base/thread_pool.h"
#include "engine/trainer/matrix.h"

namespace swiftlet {

// While it lives, BLAS calls of this process use this many threads each. One: for calls from the threads of a
// pool, and for results that do not depend on the machine's number of cores.
class ScopedBlasThreads {
 public:
  explicit ScopedBlasThreads(int num_threads);
  ~ScopedBlasThreads();
  ScopedBlasThreads(const ScopedBlasThreads&) = delete;
  ScopedBlasThreads& operator=(const ScopedBlasThreads&) = delete;

 private:
  const int before_;
};

// a^T a, in full. Adds pieces of rows in order: the same result whatever the number of threads.
MatrixF GramOfColumns(const MatrixF& a, ThreadPool* pool);

// a * b.
MatrixF Multiply(const MatrixF& a, const MatrixF& b, ThreadPool* pool);

// c = a b, and with transposed matrices, in the calling thread; c is resized. For calls from threads of a
// pool, while a ScopedBlasThreads of one lives.
void MultiplyInto(const MatrixF& a, const MatrixF& b, MatrixF* c);             // a b
void MultiplyByTransposeInto(const MatrixF& a, const MatrixF& b, MatrixF* c);  // a b^T
void MultiplyTransposeInto(const MatrixF& a, const MatrixF& b, MatrixF* c);    // a^T b

// Lower triangle of c [n, n] += a a^T, a: [n, k].
void AddGramOfRows(const float* a, size_t n, size_t k, float* c);
// Lower triangle of c [n, n] += a^T a, a: [k, n].
void AddGramOfColumns(const float* a, size_t k, size_t n, float* c);

// The lower triangle of a [n, n] by its Cholesky factor. False when it is not positive definite (to the
// precision of float).
bool Cholesky(size_t n, float* a);
// x by the solution of a x = b, given the factor that Cholesky left. x: [n], b on entry.
void SolveCholesky(size_t n, const float* factor, float* x);
// The lower triangle of a [n, n] by that of its inverse, in place. False when it is not positive definite.
bool InvertPositiveDefinite(size_t n, float* a);

// a = vectors diag(values) vectors^T of a symmetric matrix, values in descending order, computed in double.
// vectors: one eigenvector to a column.
struct Eigensystem {
  MatrixF vectors;
  VectorF values;
};
Eigensystem DecomposeSymmetric(const MatrixF& a);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_LINEAR_ALGEBRA_H_
