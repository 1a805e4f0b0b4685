#include "engine/trainer/torch/training_kernels.h"

#include <cmath>
#include <functional>
#include <vector>

#include "tests/unit/engine/kernels/each_cpu_target.h"

namespace swiftlet {
namespace {

class TrainingKernelsTest : public EachCpuTarget {
 protected:
  // The derivatives of sum_i weight_i * f(x)_i by differences, for a function of all of x.
  static std::vector<double> Differences(
      std::vector<float> x, const std::vector<float>& weights,
      const std::function<std::vector<float>(const std::vector<float>&)>& f) {
    constexpr float kStep = 1e-2f;
    const auto sum = [&] {
      const std::vector<float> y = f(x);
      double total = 0;
      for (size_t i = 0; i < y.size(); ++i) total += double{y[i]} * double{weights[i]};
      return total;
    };
    std::vector<double> differences;
    for (float& value : x) {
      const float before = value;
      value = before + kStep;
      const double up = sum();
      value = before - kStep;
      differences.push_back((up - sum()) / (2 * double{kStep}));
      value = before;
    }
    return differences;
  }
  static void ExpectNear(const std::vector<float>& got, const std::vector<double>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 5e-3) << i;
  }
};

TEST_P(TrainingKernelsTest, DropoutKeepsItsShareAndItsMeanAndDependsOnSeedAndIndexAlone) {
  const DropoutMask mask{0x123456789abcdefULL, 0.3f};
  std::vector<float> ones(20000, 1.0f);
  ApplyDropout(mask, 0, ones.size(), ones.data());
  size_t kept = 0;
  for (const float x : ones) {
    EXPECT_TRUE(x == 0 || std::fabs(x - 1 / 0.7f) < 1e-6f) << x;
    kept += x != 0 ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(kept) / 20000, 0.7, 0.015);
  std::vector<float> part(37, 1.0f);
  ApplyDropout(mask, 123, part.size(), part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), ones.begin() + 123));
  std::vector<float> other(20000, 1.0f);
  ApplyDropout({mask.seed + 1, 0.3f}, 0, other.size(), other.data());
  size_t equal = 0;
  for (size_t i = 0; i < other.size(); ++i) equal += other[i] == ones[i] ? 1 : 0;
  EXPECT_NEAR(static_cast<double>(equal) / 20000, 0.7 * 0.7 + 0.3 * 0.3, 0.02) << "as if independent";
  // The mask is the same on every target.
  ASSERT_TRUE(ForceCpuTarget("").ok());
  std::vector<float> best(20000, 1.0f);
  ApplyDropout(mask, 0, best.size(), best.data());
  EXPECT_EQ(best, ones);
}

TEST_P(TrainingKernelsTest, SwigluAndItsGradient) {
  for (const size_t hidden : {size_t{1}, size_t{7}, size_t{33}}) {
    const size_t rows = 3;
    const DropoutMask mask{5, 0.4f};
    const std::vector<float> ab = RandomFloats(rows * 2 * hidden, random_),
                             d_out = RandomFloats(rows * hidden, random_);
    const auto forward = [&](const std::vector<float>& x) {
      GuardedFloats out(std::vector<float>(rows * hidden));
      SwigluForward(x.data(), rows, hidden, mask, out.data());
      return std::vector<float>(out.data(), out.data() + rows * hidden);
    };
    std::vector<float> kept(rows * hidden, 1.0f);
    ApplyDropout(mask, 0, kept.size(), kept.data());
    const std::vector<float> out = forward(ab);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t j = 0; j < hidden; ++j) {
        const double a = double{ab[r * 2 * hidden + j]}, b = double{ab[r * 2 * hidden + hidden + j]};
        EXPECT_NEAR(out[r * hidden + j], a / (1 + std::exp(-a)) * b * double{kept[r * hidden + j]}, 1e-5);
      }
    }
    GuardedFloats d_ab(std::vector<float>(ab.size()));
    SwigluBackward(ab.data(), d_out.data(), rows, hidden, mask, d_ab.data());
    ExpectNear({d_ab.data(), d_ab.data() + ab.size()}, Differences(ab, d_out, forward));
  }
}

TEST_P(TrainingKernelsTest, GatedResidualAndItsGradient) {
  for (const size_t n : {size_t{1}, size_t{15}, size_t{50}}) {
    const DropoutMask mask{9, 0.25f};
    const std::vector<float> x = RandomFloats(n, random_), gate = RandomFloats(n, random_),
                             y = RandomFloats(n, random_), d_out = RandomFloats(n, random_);
    const auto forward = [&](const std::vector<float>& g, const std::vector<float>& v) {
      std::vector<float> out(n);
      GatedResidualForward(x.data(), g.data(), v.data(), n, mask, out.data());
      return out;
    };
    std::vector<float> kept(n, 1.0f);
    ApplyDropout(mask, 0, n, kept.data());
    const std::vector<float> out = forward(gate, y);
    for (size_t i = 0; i < n; ++i) {
      const double want = double{x[i]} + double{y[i]} * double{kept[i]} / (1 + std::exp(-double{gate[i]}));
      EXPECT_NEAR(out[i], want, 1e-5);
    }
    std::vector<float> d_gate(n), d_y(n);
    GatedResidualBackward(gate.data(), y.data(), d_out.data(), n, mask, d_gate.data(), d_y.data());
    ExpectNear(d_gate, Differences(gate, d_out, [&](const std::vector<float>& g) { return forward(g, y); }));
    ExpectNear(d_y, Differences(y, d_out, [&](const std::vector<float>& v) { return forward(gate, v); }));
  }
}

TEST_P(TrainingKernelsTest, SoftmaxWithDropoutAndItsGradient) {
  for (const size_t n : {size_t{1}, size_t{16}, size_t{29}}) {
    const DropoutMask mask{11, 0.3f};
    const std::vector<float> scores = RandomFloats(n, random_), d_out = RandomFloats(n, random_);
    const auto forward = [&](const std::vector<float>& s) {
      std::vector<float> p = s;
      for (float& v : p) v *= 0.5f;
      SoftmaxInPlace(p.data(), n);
      ApplyDropout(mask, 40, n, p.data());
      return p;
    };
    std::vector<float> p = scores;
    for (float& v : p) v *= 0.5f;
    SoftmaxInPlace(p.data(), n);
    std::vector<float> d_scores = d_out;
    SoftmaxBackwardInPlace(p.data(), mask, 40, 0.5f, n, d_scores.data());
    ExpectNear(d_scores, Differences(scores, d_out, forward));
  }
}

TEST_P(TrainingKernelsTest, AdamFollowsItsFormula) {
  const AdamParameters p{.learning_rate = 0.01f, .beta1 = 0.8f, .beta2 = 0.95f, .weight_decay = 0.1f};
  const size_t n = 21;
  std::vector<float> x = RandomFloats(n, random_), m(n), v(n);
  std::vector<double> want(x.begin(), x.end()), first(n), second(n);
  for (uint64_t step = 1; step <= 5; ++step) {
    std::vector<float> gradient = RandomFloats(n, random_);
    for (size_t i = 0; i < n; ++i) {
      const double g = double{gradient[i]};
      first[i] = 0.8 * first[i] + 0.2 * g;
      second[i] = 0.95 * second[i] + 0.05 * g * g;
      const auto t = static_cast<double>(step);
      const double mean = first[i] / (1 - std::pow(0.8, t)), square = second[i] / (1 - std::pow(0.95, t));
      want[i] = want[i] * (1 - 0.01 * 0.1) - 0.01 * mean / (std::sqrt(square) + 1e-8);
    }
    AdamStep(p, step, n, gradient.data(), m.data(), v.data(), x.data());
    EXPECT_EQ(gradient, std::vector<float>(n, 0.0f));
  }
  for (size_t i = 0; i < n; ++i) EXPECT_NEAR(x[i], want[i], 1e-4) << i;
}

SWIFTLET_FOR_EACH_CPU_TARGET(TrainingKernelsTest);

}  // namespace
}  // namespace swiftlet
