#include "engine/trainer/linear_algebra.h"

#include <cblas.h>

#include <algorithm>
#include <vector>

#include "Eigen/Core"

extern "C" {
// LAPACK, which OpenBLAS brings along. Column-major: what is lower here is upper there.
void spotrf_(const char* uplo, const int* n, float* a, const int* lda, int* info);
void spotri_(const char* uplo, const int* n, float* a, const int* lda, int* info);
void dsyevd_(const char* jobz, const char* uplo, const int* n, double* a, const int* lda, double* w,
             double* work, const int* lwork, int* iwork, const int* liwork, int* info);
}

namespace swiftlet {
namespace {

constexpr size_t kPieceRows = 4096;
constexpr char kLower = 'U';

void Gemm(bool a_transposed, const MatrixF& a, bool b_transposed, const MatrixF& b, MatrixF* c) {
  const Eigen::Index rows = a_transposed ? a.cols() : a.rows(), inner = a_transposed ? a.rows() : a.cols(),
                     columns = b_transposed ? b.rows() : b.cols();
  c->resize(rows, columns);
  if (c->size() == 0 || inner == 0) {
    c->setZero();
    return;
  }
  cblas_sgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans,
              b_transposed ? CblasTrans : CblasNoTrans, static_cast<int>(rows), static_cast<int>(columns),
              static_cast<int>(inner), 1, a.data(), static_cast<int>(a.cols()), b.data(),
              static_cast<int>(b.cols()), 0, c->data(), static_cast<int>(columns));
}

}  // namespace

ScopedBlasThreads::ScopedBlasThreads(int num_threads) : before_(openblas_get_num_threads()) {
  openblas_set_num_threads(num_threads);
}
ScopedBlasThreads::~ScopedBlasThreads() { openblas_set_num_threads(before_); }

void AddGramOfRows(const float* a, size_t n, size_t k, float* c) {
  const int rows = static_cast<int>(n), columns = static_cast<int>(k);
  cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, rows, columns, 1, a, columns, 1, c, rows);
}

void AddGramOfColumns(const float* a, size_t k, size_t n, float* c) {
  const int rows = static_cast<int>(k), columns = static_cast<int>(n);
  cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, columns, rows, 1, a, columns, 1, c, columns);
}

MatrixF GramOfColumns(const MatrixF& a, ThreadPool* pool) {
  const ScopedBlasThreads one(1);
  const auto rows = static_cast<size_t>(a.rows()), dim = static_cast<size_t>(a.cols());
  std::vector<MatrixF> pieces((rows + kPieceRows - 1) / kPieceRows);
  ForPieces(pool, rows, kPieceRows, [&](size_t begin, size_t end, size_t) {
    MatrixF& piece = pieces[begin / kPieceRows];
    piece.setZero(a.cols(), a.cols());
    AddGramOfColumns(a.data() + begin * dim, end - begin, dim, piece.data());
  });
  MatrixF gram = MatrixF::Zero(a.cols(), a.cols());
  for (const MatrixF& piece : pieces) gram += piece;
  gram.triangularView<Eigen::StrictlyUpper>() = gram.transpose();
  return gram;
}

MatrixF Multiply(const MatrixF& a, const MatrixF& b, ThreadPool* pool) {
  const ScopedBlasThreads one(1);
  MatrixF c(a.rows(), b.cols());
  const int inner = static_cast<int>(a.cols()), columns = static_cast<int>(b.cols());
  if (c.size() == 0 || inner == 0) return c.setZero(), c;
  ForPieces(pool, static_cast<size_t>(a.rows()), kPieceRows, [&](size_t begin, size_t end, size_t) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(end - begin), columns, inner, 1,
                a.data() + begin * static_cast<size_t>(inner), inner, b.data(), columns, 0,
                c.data() + begin * static_cast<size_t>(columns), columns);
  });
  return c;
}

void MultiplyInto(const MatrixF& a, const MatrixF& b, MatrixF* c) { Gemm(false, a, false, b, c); }
void MultiplyByTransposeInto(const MatrixF& a, const MatrixF& b, MatrixF* c) { Gemm(false, a, true, b, c); }
void MultiplyTransposeInto(const MatrixF& a, const MatrixF& b, MatrixF* c) { Gemm(true, a, false, b, c); }

bool Cholesky(size_t n, float* a) {
  const int size = static_cast<int>(n);
  int info = 0;
  spotrf_(&kLower, &size, a, &size, &info);
  return info == 0;
}

void SolveCholesky(size_t n, const float* factor, float* x) {
  const int size = static_cast<int>(n);
  cblas_strsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, size, factor, size, x, 1);
  cblas_strsv(CblasRowMajor, CblasLower, CblasTrans, CblasNonUnit, size, factor, size, x, 1);
}

bool InvertPositiveDefinite(size_t n, float* a) {
  if (!Cholesky(n, a)) return false;
  const int size = static_cast<int>(n);
  int info = 0;
  spotri_(&kLower, &size, a, &size, &info);
  return info == 0;
}

Eigensystem DecomposeSymmetric(const MatrixF& a) {
  const ScopedBlasThreads one(1);
  const int n = static_cast<int>(a.rows());
  // Symmetric: row-major or column-major is the same.
  Eigen::MatrixXd matrix = a.cast<double>();
  Eigen::VectorXd values(n);
  const char jobz = 'V';
  int info = 0, int_size = 0, size = -1;
  double best_size = 0;
  const int query = -1;
  dsyevd_(&jobz, &kLower, &n, matrix.data(), &n, values.data(), &best_size, &size, &int_size, &query, &info);
  size = static_cast<int>(best_size);
  std::vector<double> work(static_cast<size_t>(size));
  std::vector<int> int_work(static_cast<size_t>(int_size));
  dsyevd_(&jobz, &kLower, &n, matrix.data(), &n, values.data(), work.data(), &size, int_work.data(),
          &int_size, &info);
  Eigensystem result;
  result.vectors = matrix.rowwise().reverse().cast<float>();
  result.values = values.reverse().cast<float>();
  return result;
}

}  // namespace swiftlet
