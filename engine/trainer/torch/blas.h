// Single-precision matrix products of the machine's BLAS, row-major.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_BLAS_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_BLAS_H_

#include <cstddef>

namespace swiftlet {

// A matrix whose row i begins at data + i * stride; transposed where it is read as its transpose.
struct BlasMatrix {
  const float* data = nullptr;
  size_t stride = 0;
  bool transposed = false;
};

// c = alpha * op(a) op(b) + beta * c, with op(a) of m x k, op(b) of k x n, c of m x n and rows of c_stride.
// c is not read where beta is 0. Any of m, n and k may be 0. Thread-safe.
void Gemm(size_t m, size_t n, size_t k, float alpha, const BlasMatrix& a, const BlasMatrix& b, float beta,
          float* c, size_t c_stride);

// Every product runs on the thread that asks for it from now on, for the whole process: the trainer's threads
// work on pieces of a batch side by side. Does nothing where the BLAS has no such switch.
void UseOneBlasThread();

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_BLAS_H_
