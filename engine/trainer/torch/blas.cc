#include "engine/trainer/torch/blas.h"

#include <algorithm>

extern "C" {
// BLAS, Fortran's convention: column-major, everything by address.
void sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
            const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
            const float* beta, float* c, const int* ldc);
// OpenBLAS has it; the reference BLAS has one thread anyway.
[[gnu::weak]] void openblas_set_num_threads(int num_threads);
}

namespace swiftlet {

void Gemm(size_t m, size_t n, size_t k, float alpha, const BlasMatrix& a, const BlasMatrix& b, float beta,
          float* c, size_t c_stride) {
  if (m == 0 || n == 0) return;
  // Row-major c is column-major c^T = op(b)^T op(a)^T.
  const char no = 'N', yes = 'T';
  const int rows = static_cast<int>(n), columns = static_cast<int>(m), inner = static_cast<int>(k);
  const int lda = static_cast<int>(std::max<size_t>(1, b.stride));
  const int ldb = static_cast<int>(std::max<size_t>(1, a.stride));
  const int ldc = static_cast<int>(c_stride);
  sgemm_(b.transposed ? &yes : &no, a.transposed ? &yes : &no, &rows, &columns, &inner, &alpha, b.data, &lda,
         a.data, &ldb, &beta, c, &ldc);
}

void UseOneBlasThread() {
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
}

}  // namespace swiftlet
