#include "engine/kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/unit/engine/kernels/each_cpu_target.h"

namespace swiftlet {
namespace {

class SoftmaxTest : public EachCpuTarget {
 protected:
  static void ExpectAgreesWithDoubles(const std::vector<float>& logits) {
    std::vector<float> got = logits;
    Softmax(got.data(), got.size());
    const double max = *std::max_element(logits.begin(), logits.end());
    double total = 0, sum = 0;
    for (const float x : logits) total += std::exp(double{x} - max);
    for (size_t i = 0; i < logits.size(); ++i) {
      const double want = std::exp(double{logits[i]} - max) / total;
      // The float difference x - max is rounded (relative error of the result |x - max| * 2^-24); exp is off
      // by 4 units in the last place at most, sum and division by less.
      const double relative = (std::fabs(double{logits[i]} - max) + 8) * std::ldexp(1.0, -24);
      EXPECT_NEAR(got[i], want, want * relative + 1e-38) << "element " << i << " of " << logits.size();
      EXPECT_GE(got[i], 0.0f);
      sum += double{got[i]};
    }
    EXPECT_NEAR(sum, 1.0, std::ldexp(static_cast<double>(logits.size()), -23));
  }
};

TEST_P(SoftmaxTest, AgreesWithDoublesForEverySize) {
  for (size_t n = 1; n <= 130; ++n) {
    std::vector<float> logits = RandomFloats(n, random_);
    for (float& x : logits) x *= 5;
    ExpectAgreesWithDoubles(logits);
  }
}

TEST_P(SoftmaxTest, OneElementIsExactlyOne) {
  for (const float x : {0.0f, -1e30f, 1e30f, 123.4f}) {
    float one = x;
    Softmax(&one, 1);
    EXPECT_EQ(one, 1.0f);
  }
}

TEST_P(SoftmaxTest, ExtremeLogitsNeitherOverflowNorTurnIntoNan) {
  std::vector<float> x = {1e30f, -1e30f, 0.0f, 1e30f, 1000.0f, -1000.0f, 3e38f, 3e38f, -3e38f};
  Softmax(x.data(), x.size());
  EXPECT_EQ(x[6], 0.5f);
  EXPECT_EQ(x[7], 0.5f);
  for (const size_t i : {0, 1, 2, 3, 4, 5, 8}) EXPECT_EQ(x[i], 0.0f) << i;
}

TEST_P(SoftmaxTest, EqualLogitsShareEqually) {
  for (size_t n = 1; n <= 67; ++n) {
    std::vector<float> x(n, -42.0f);
    Softmax(x.data(), n);
    for (const float w : x) EXPECT_FLOAT_EQ(w, 1.0f / static_cast<float>(n));
  }
}

TEST_P(SoftmaxTest, NothingBehindTheEndIsTouched) {
  for (size_t n = 1; n <= 40; ++n) {
    GuardedFloats x(RandomFloats(n, random_));
    Softmax(x.data(), n);
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += double{x.data()[i]};
    EXPECT_NEAR(sum, 1.0, 1e-5);
  }
}

SWIFTLET_FOR_EACH_CPU_TARGET(SoftmaxTest);

}  // namespace
}  // namespace swiftlet
