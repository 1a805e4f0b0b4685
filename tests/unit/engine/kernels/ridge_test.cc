#include "engine/kernels/ridge.h"

#include <cmath>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "tests/unit/engine/kernels/each_cpu_target.h"

namespace swiftlet {
namespace {

class RidgeTest : public EachCpuTarget {
 protected:
  // [num_rows, dim] with padded rows.
  AlignedVector<float> Rows(size_t num_rows, size_t dim) {
    AlignedVector<float> rows(num_rows * RowStride(dim));
    for (size_t r = 0; r < num_rows; ++r) {
      const std::vector<float> values = RandomFloats(dim, random_);
      std::copy(values.begin(), values.end(), &rows[r * RowStride(dim)]);
    }
    return rows;
  }
};
SWIFTLET_FOR_EACH_CPU_TARGET(RidgeTest);

TEST_P(RidgeTest, GramIsTheSumOfOuterProducts) {
  for (const size_t dim : {1, 2, 7, 16, 17, 33, 64, 65}) {
    const size_t stride = RowStride(dim);
    for (const size_t n : {0, 1, 3, 4, 5, 8, 50}) {
      const AlignedVector<float> rows = Rows(n, dim), start = Rows(dim, dim);
      AlignedVector<float> gram = start;
      AddGram(rows.data(), n, dim, stride, gram.data());
      for (size_t r = 0; r < dim; ++r) {
        for (size_t c = 0; c <= r; ++c) {
          double expected = double{start[r * stride + c]}, size = std::fabs(expected);
          for (size_t i = 0; i < n; ++i) {
            const double term = double{rows[i * stride + r]} * double{rows[i * stride + c]};
            expected += term;
            size += std::fabs(term);
          }
          EXPECT_NEAR(double{gram[r * stride + c]}, expected, 1e-6 * size) << dim << " " << n;
        }
      }
    }
  }
}

TEST_P(RidgeTest, SolvesRidgeRegressions) {
  for (const size_t dim : {1, 2, 7, 16, 17, 33, 64, 65}) {
    const size_t stride = RowStride(dim);
    for (const size_t n : {0, 1, 5, 200}) {
      const AlignedVector<float> rows = Rows(n, dim);
      AlignedVector<float> gram(dim * stride);
      AddGram(rows.data(), n, dim, stride, gram.data());
      for (size_t j = 0; j < dim; ++j) gram[j * stride + j] += 1.5f;
      const AlignedVector<float> matrix = gram;
      const std::vector<float> b = RandomFloats(dim, random_);
      std::vector<float> x = b;
      SolveCholesky(gram.data(), dim, stride, x.data());
      // The eigenvalues are at least 1.5: an error of x is at most the residual's length over 1.5.
      for (size_t r = 0; r < dim; ++r) {
        double product = 0, size = 0;
        for (size_t c = 0; c < dim; ++c) {
          const double a = double{c <= r ? matrix[r * stride + c] : matrix[c * stride + r]};
          product += a * double{x[c]};
          size += std::fabs(a * double{x[c]});
        }
        EXPECT_NEAR(product, double{b[r]}, 1e-5 * (1 + size)) << dim << " " << n << " " << r;
      }
    }
  }
}

TEST_P(RidgeTest, AMatrixOfNoFullRankGivesNumbers) {
  AlignedVector<float> matrix(2 * 16);
  matrix[0] = matrix[16] = matrix[17] = 4;  // of ones, times 4
  float x[] = {1, 1};
  SolveCholesky(matrix.data(), 2, 16, x);
  EXPECT_TRUE(std::isfinite(x[0]));
  EXPECT_NEAR(x[0] + x[1], 0.25f, 1e-5f);
  AlignedVector<float> zero(16);
  float y[] = {0};
  SolveCholesky(zero.data(), 1, 16, y);
  EXPECT_EQ(y[0], 0.0f);
}

}  // namespace
}  // namespace swiftlet
