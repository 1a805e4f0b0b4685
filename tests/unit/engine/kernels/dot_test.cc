#include "engine/kernels/dot.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/unit/engine/kernels/each_cpu_target.h"

namespace swiftlet {
namespace {

struct Reference {
  double dot = 0;
  // A float sum of n products, in any order, with or without fused multiply-add, is off by at most about
  // n * 2^-24 * sum(|a_j * b_j|) (Higham, Accuracy and Stability of Numerical Algorithms, sec. 3.1).
  double tolerance = 0;
};

Reference ReferenceDot(const float* a, const float* b, size_t dim) {
  Reference r;
  double magnitude = 0;
  for (size_t j = 0; j < dim; ++j) {
    r.dot += double{a[j]} * double{b[j]};
    magnitude += std::fabs(double{a[j]} * double{b[j]});
  }
  r.tolerance = std::ldexp(static_cast<double>(dim + 2), -24) * magnitude;
  return r;
}

class DotTest : public EachCpuTarget {};

TEST_P(DotTest, DotAgreesWithDoublesForEverySizeAndAlignment) {
  for (size_t dim = 1; dim <= 130; ++dim) {
    for (size_t offset = 0; offset < 3; ++offset) {
      const std::vector<float> a = RandomFloats(dim + offset, random_);
      const std::vector<float> b = RandomFloats(dim + 2 * offset, random_);
      const Reference r = ReferenceDot(a.data() + offset, b.data() + 2 * offset, dim);
      EXPECT_NEAR(Dot(a.data() + offset, b.data() + 2 * offset, dim), r.dot, r.tolerance)
          << "dim " << dim << " offset " << offset;
    }
  }
}

TEST_P(DotTest, DotOfIntegersIsExact) {
  // Small integers leave no rounding, so that a lane that is lost or counted twice shows.
  for (size_t dim = 1; dim <= 130; ++dim) {
    std::vector<float> a(dim), b(dim);
    double want = 0;
    for (size_t j = 0; j < dim; ++j) {
      a[j] = static_cast<float>(j % 17 + 1);
      b[j] = static_cast<float>(j % 13 + 1);
      want += double{a[j]} * double{b[j]};
    }
    EXPECT_EQ(Dot(a.data(), b.data(), dim), want) << "dim " << dim;
  }
}

TEST_P(DotTest, RowsAgreeWithDoublesWithoutTouchingPaddingOrNeighbours) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (size_t dim = 1; dim <= 130; ++dim) {
    const size_t num_rows = 1 + (dim * 7) % 13;
    const size_t stride = dim + dim % 5;
    std::vector<float> items = RandomFloats(num_rows * stride + 1, random_);
    float* const first = items.data() + 1;  // not aligned
    for (size_t i = 0; i < num_rows; ++i) std::fill_n(first + i * stride + dim, stride - dim, nan);
    const std::vector<float> query = RandomFloats(dim, random_);
    std::vector<float> scores(num_rows + 1, -7.0f);
    DotRows(query.data(), first, num_rows, dim, stride, scores.data());
    for (size_t i = 0; i < num_rows; ++i) {
      const Reference r = ReferenceDot(query.data(), first + i * stride, dim);
      EXPECT_NEAR(scores[i], r.dot, r.tolerance) << "dim " << dim << " row " << i;
    }
    EXPECT_EQ(scores[num_rows], -7.0f) << "written behind the end";
  }
}

TEST_P(DotTest, AllFunctionsGiveARowTheSameScoreToTheLastBit) {
  for (const size_t dim : {1, 3, 8, 17, 50, 64, 100, 128, 129}) {
    const size_t stride = dim + 3;
    constexpr size_t kRows = 23;
    const std::vector<float> items = RandomFloats(kRows * stride, random_);
    const std::vector<float> query = RandomFloats(dim, random_);
    std::vector<float> all(kRows), gathered(kRows), pointed(kRows);
    DotRows(query.data(), items.data(), kRows, dim, stride, all.data());
    std::vector<uint32_t> rows(kRows);
    std::vector<const float*> pointers(kRows);
    for (size_t i = 0; i < kRows; ++i) {
      rows[i] = static_cast<uint32_t>((i * 5 + 2) % kRows);
      pointers[i] = items.data() + rows[i] * stride;
    }
    DotGather(query.data(), items.data(), rows.data(), kRows, dim, stride, gathered.data());
    DotPointers(query.data(), pointers.data(), kRows, dim, pointed.data());
    for (size_t i = 0; i < kRows; ++i) {
      EXPECT_EQ(gathered[i], all[rows[i]]) << "dim " << dim;
      EXPECT_EQ(pointed[i], all[rows[i]]) << "dim " << dim;
      EXPECT_EQ(Dot(query.data(), items.data() + i * stride, dim), all[i]) << "dim " << dim;
      float one = 0;
      DotRows(query.data(), items.data() + i * stride, 1, dim, stride, &one);
      EXPECT_EQ(one, all[i]) << "a row alone, dim " << dim;
    }
  }
}

TEST_P(DotTest, GatherReadsRowsOfAnyOrderAndRepetition) {
  constexpr size_t kDim = 40, kStride = 48, kItems = 100;
  const std::vector<float> items = RandomFloats(kItems * kStride, random_);
  const std::vector<float> query = RandomFloats(kDim, random_);
  for (size_t n = 0; n <= 40; ++n) {
    std::vector<uint32_t> rows(n);
    for (uint32_t& row : rows) row = static_cast<uint32_t>(random_() % kItems);
    std::vector<float> scores(n + 1, -7.0f);
    DotGather(query.data(), items.data(), rows.data(), n, kDim, kStride, scores.data());
    for (size_t i = 0; i < n; ++i) {
      const Reference r = ReferenceDot(query.data(), items.data() + rows[i] * kStride, kDim);
      EXPECT_NEAR(scores[i], r.dot, r.tolerance);
    }
    EXPECT_EQ(scores[n], -7.0f);
  }
}

TEST_P(DotTest, NothingBehindTheLastRowIsRead) {
  for (size_t dim = 1; dim <= 70; ++dim) {
    const size_t num_rows = 1 + dim % 6;
    GuardedFloats items(RandomFloats(num_rows * dim, random_));
    GuardedFloats query(RandomFloats(dim, random_));
    GuardedFloats scores(std::vector<float>(num_rows, 0.0f));
    DotRows(query.data(), items.data(), num_rows, dim, dim, scores.data());
    const Reference r = ReferenceDot(query.data(), items.data() + (num_rows - 1) * dim, dim);
    EXPECT_NEAR(scores.data()[num_rows - 1], r.dot, r.tolerance);
    ScaleAndShift(scores.data(), scores.data(), num_rows, scores.data());
    AddScaled(0.5f, query.data(), dim, items.data() + (num_rows - 1) * dim);
  }
}

// bf16 rows and what they are widened to.
struct Bf16Rows {
  Bf16Rows(size_t n, std::mt19937& random) : rows(n), widened(n) {
    for (size_t i = 0; i < n; ++i) {
      // Any finite bits, but of magnitudes whose products stay finite.
      rows[i] = ToBf16(std::ldexp(RandomFloats(1, random)[0], static_cast<int>(random() % 40) - 20));
      widened[i] = ToFloat(rows[i]);
    }
  }
  std::vector<Bf16> rows;
  std::vector<float> widened;
};

TEST_P(DotTest, RowsOfBf16HaveTheScoresOfTheirFloatsToTheLastBit) {
  for (size_t dim = 1; dim <= 130; ++dim) {
    const size_t num_rows = 1 + (dim * 7) % 13;
    const size_t stride = dim + dim % 5;
    const size_t offset = dim % 3;  // not aligned
    Bf16Rows items(num_rows * stride + offset, random_);
    // Padding of NaN, which must not be read.
    for (size_t i = offset; i < items.rows.size(); ++i) {
      if ((i - offset) % stride >= dim) items.rows[i].bits = 0x7FC0;
    }
    const Bf16* const first = items.rows.data() + offset;
    const float* const first_float = items.widened.data() + offset;
    const std::vector<float> query = RandomFloats(dim, random_);
    std::vector<float> got(num_rows + 1, -7.0f), want(num_rows);
    DotRows(query.data(), first_float, num_rows, dim, stride, want.data());
    DotRows(query.data(), first, num_rows, dim, stride, got.data());
    EXPECT_EQ(got[num_rows], -7.0f) << "written behind the end";
    got.pop_back();
    EXPECT_EQ(got, want) << "dim " << dim;
    for (size_t i = 0; i < num_rows; ++i) {
      EXPECT_EQ(Dot(query.data(), first + i * stride, dim), want[i]) << "dim " << dim << " row " << i;
    }
    std::vector<uint32_t> rows(40);
    for (uint32_t& row : rows) row = static_cast<uint32_t>(random_() % num_rows);
    std::vector<float> gathered(rows.size());
    DotGather(query.data(), first, rows.data(), rows.size(), dim, stride, gathered.data());
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(gathered[i], want[rows[i]]) << "dim " << dim;
  }
}

TEST_P(DotTest, NothingBehindTheLastRowOfBf16IsRead) {
  for (size_t dim = 1; dim <= 70; ++dim) {
    const size_t num_rows = 1 + dim % 6;
    const Bf16Rows source(num_rows * dim, random_);
    Guarded<Bf16> items(source.rows);
    GuardedFloats query(RandomFloats(dim, random_));
    GuardedFloats scores(std::vector<float>(num_rows, 0.0f));
    std::vector<float> want(num_rows);
    DotRows(query.data(), source.widened.data(), num_rows, dim, dim, want.data());
    DotRows(query.data(), items.data(), num_rows, dim, dim, scores.data());
    EXPECT_EQ(std::vector<float>(scores.data(), scores.data() + num_rows), want) << "dim " << dim;
    std::vector<uint32_t> rows(num_rows);
    for (size_t i = 0; i < num_rows; ++i) rows[i] = static_cast<uint32_t>(i);
    DotGather(query.data(), items.data(), rows.data(), num_rows, dim, dim, scores.data());
    EXPECT_EQ(std::vector<float>(scores.data(), scores.data() + num_rows), want) << "dim " << dim;
    GuardedFloats widened(std::vector<float>(num_rows * dim, 0.0f));
    Widen(items.data(), num_rows * dim, widened.data());
    EXPECT_EQ(std::vector<float>(widened.data(), widened.data() + num_rows * dim), source.widened);
  }
}

TEST_P(DotTest, ScaleAndShiftDoesEitherBothOrNothing) {
  for (size_t n = 0; n <= 70; ++n) {
    const std::vector<float> x = RandomFloats(n + 1, random_);
    const std::vector<float> scale = RandomFloats(n, random_);
    const std::vector<float> bias = RandomFloats(n, random_);
    for (const bool has_scale : {false, true}) {
      for (const bool has_bias : {false, true}) {
        std::vector<float> y = x;
        ScaleAndShift(has_scale ? scale.data() : nullptr, has_bias ? bias.data() : nullptr, n, y.data());
        for (size_t i = 0; i < n; ++i) {
          const double product = double{x[i]} * (has_scale ? double{scale[i]} : 1.0);
          const double want = product + (has_bias ? double{bias[i]} : 0.0);
          // One rounding of the product and one of the sum.
          EXPECT_NEAR(y[i], want, std::ldexp(std::fabs(product) + std::fabs(want), -24));
        }
        EXPECT_EQ(y[n], x[n]) << "written behind the end";
      }
    }
  }
}

TEST_P(DotTest, AddScaledAgreesWithDoubles) {
  for (size_t dim = 1; dim <= 130; ++dim) {
    const std::vector<float> x = RandomFloats(dim + 1, random_);
    const std::vector<float> before = RandomFloats(dim + 2, random_);
    std::vector<float> y = before;
    AddScaled(-1.7f, x.data() + 1, dim, y.data() + 1);
    for (size_t i = 0; i < dim; ++i) {
      const double product = double{-1.7f} * double{x[i + 1]};
      const double want = product + double{before[i + 1]};
      EXPECT_NEAR(y[i + 1], want, std::ldexp(std::fabs(product) + std::fabs(want), -24)) << "dim " << dim;
    }
    EXPECT_EQ(y[0], before[0]);
    EXPECT_EQ(y[dim + 1], before[dim + 1]);
  }
}

SWIFTLET_FOR_EACH_CPU_TARGET(DotTest);

}  // namespace
}  // namespace swiftlet
