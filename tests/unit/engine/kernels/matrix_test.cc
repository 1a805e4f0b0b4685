#include "engine/kernels/matrix.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/unit/engine/kernels/each_cpu_target.h"

namespace swiftlet {
namespace {

class MatrixTest : public EachCpuTarget {};

TEST_P(MatrixTest, ProductAgreesWithDoublesForOddSizesAndStrides) {
  for (const size_t rows : {size_t{0}, size_t{1}, size_t{2}, size_t{5}, size_t{6}, size_t{7}, size_t{25}}) {
    for (const size_t in : {size_t{0}, size_t{1}, size_t{3}, size_t{64}}) {
      for (const size_t out : {size_t{0}, size_t{1}, size_t{15}, size_t{32}, size_t{37}, size_t{67}}) {
        for (const bool with_bias : {false, true}) {
          const size_t x_stride = in + 2, w_stride = out + 3, y_stride = out + 1;
          const std::vector<float> x = RandomFloats(rows * x_stride, random_);
          const std::vector<float> w = RandomFloats(in * w_stride, random_);
          const std::vector<float> bias = RandomFloats(out, random_);
          GuardedFloats y(std::vector<float>(rows * y_stride, 7.0f));
          MatrixProduct(x.data(), rows, in, x_stride, w.data(), out, w_stride,
                        with_bias ? bias.data() : nullptr, y.data(), y_stride);
          for (size_t r = 0; r < rows; ++r) {
            for (size_t j = 0; j < out; ++j) {
              double want = with_bias ? double{bias[j]} : 0.0, size = std::fabs(want);
              for (size_t k = 0; k < in; ++k) {
                const double term = double{x[r * x_stride + k]} * double{w[k * w_stride + j]};
                want += term;
                size += std::fabs(term);
              }
              const double tolerance = size * static_cast<double>(in + 2) * std::ldexp(1.0, -24);
              ASSERT_NEAR(y.data()[r * y_stride + j], want, tolerance)
                  << rows << " x " << in << " x " << out << " at " << r << ", " << j;
            }
            ASSERT_EQ(y.data()[r * y_stride + out], 7.0f) << "between the rows";
          }
        }
      }
    }
  }
}

TEST_P(MatrixTest, LayerNormAgreesWithDoubles) {
  for (size_t dim = 1; dim <= 70; ++dim) {
    const size_t rows = 3;
    const std::vector<float> x = RandomFloats(rows * dim, random_), weight = RandomFloats(dim, random_),
                             bias = RandomFloats(dim, random_);
    GuardedFloats y(x);  // in place
    LayerNorm(y.data(), rows, dim, weight.data(), bias.data(), 1e-5f, y.data());
    for (size_t r = 0; r < rows; ++r) {
      double mean = 0, variance = 0;
      for (size_t i = 0; i < dim; ++i) mean += double{x[r * dim + i]} / static_cast<double>(dim);
      for (size_t i = 0; i < dim; ++i) {
        variance +=
            (double{x[r * dim + i]} - mean) * (double{x[r * dim + i]} - mean) / static_cast<double>(dim);
      }
      for (size_t i = 0; i < dim; ++i) {
        const double want = (double{x[r * dim + i]} - mean) / std::sqrt(variance + 1e-5) * double{weight[i]} +
                            double{bias[i]};
        // Dimension 2 can have a tiny variance, which magnifies the rounding of the mean.
        EXPECT_NEAR(y.data()[r * dim + i], want, 2e-4 * (1 + std::fabs(want))) << dim;
      }
    }
  }
}

TEST_P(MatrixTest, GatesAgreeWithDoubles) {
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  for (size_t n = 1; n <= 70; ++n) {
    std::vector<float> gate = RandomFloats(n, random_);
    for (float& g : gate) g *= 20;
    gate[0] = -1000;
    const std::vector<float> y = RandomFloats(n, random_), x = RandomFloats(n, random_);
    GuardedFloats got(x);
    AddGated(gate.data(), y.data(), n, got.data());
    for (size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(got.data()[i], double{x[i]} + sigmoid(double{gate[i]}) * double{y[i]}, 1e-5)
          << i << " of " << n;
    }
    std::vector<float> ab = RandomFloats(3 * 2 * n, random_);
    for (float& v : ab) v *= 5;
    GuardedFloats out(std::vector<float>(3 * n));
    Swiglu(ab.data(), 3, n, out.data());
    for (size_t r = 0; r < 3; ++r) {
      for (size_t j = 0; j < n; ++j) {
        const double a = double{ab[r * 2 * n + j]}, b = double{ab[r * 2 * n + n + j]};
        EXPECT_NEAR(out.data()[r * n + j], a * sigmoid(a) * b, 2e-6 * (1 + std::fabs(a * b)));
      }
    }
  }
}

TEST_P(MatrixTest, CausalSoftmaxIsThatOfTheColumnsUpToTheRow) {
  const float scale = 0.37f;
  for (const size_t first : {size_t{0}, size_t{1}, size_t{16}, size_t{31}}) {
    for (const size_t rows : {size_t{1}, size_t{2}, size_t{9}}) {
      const size_t columns = first + rows, stride = columns + 2;
      std::vector<float> x = RandomFloats(rows * stride, random_);
      for (float& v : x) v *= 30;
      GuardedFloats got(x);
      CausalSoftmax(scale, first, rows, columns, stride, got.data());
      for (size_t r = 0; r < rows; ++r) {
        double total = 0, top = -INFINITY;
        for (size_t c = 0; c <= first + r; ++c)
          top = std::max(top, double{scale} * double{x[r * stride + c]});
        for (size_t c = 0; c <= first + r; ++c) {
          total += std::exp(double{scale} * double{x[r * stride + c]} - top);
        }
        for (size_t c = 0; c < columns; ++c) {
          const double want =
              c <= first + r ? std::exp(double{scale} * double{x[r * stride + c]} - top) / total : 0.0;
          EXPECT_NEAR(got.data()[r * stride + c], want, 1e-5 * want + 1e-37)
              << first << ", " << r << ", " << c;
        }
        EXPECT_EQ(got.data()[r * stride + columns], x[r * stride + columns]) << "beyond the columns";
      }
    }
  }
}

SWIFTLET_FOR_EACH_CPU_TARGET(MatrixTest);

}  // namespace
}  // namespace swiftlet
