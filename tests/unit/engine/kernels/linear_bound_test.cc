#include "engine/kernels/linear_bound.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/unit/engine/kernels/each_cpu_target.h"

namespace swiftlet {
namespace {

class LinearBoundTest : public EachCpuTarget {
 protected:
  std::vector<float> Lengths(size_t n) {
    std::vector<float> values = RandomFloats(n, random_);
    for (float& x : values) x = std::fabs(x);
    return values;
  }
};
SWIFTLET_FOR_EACH_CPU_TARGET(LinearBoundTest);

TEST_P(LinearBoundTest, CollectsWhatReachesTheThreshold) {
  for (const size_t n : {0, 1, 3, 15, 16, 17, 64, 1000}) {
    for (const bool has_c : {false, true}) {
      const std::vector<float> a = Lengths(n), b = Lengths(n), c = RandomFloats(n, random_);
      std::vector<uint32_t> got(n);
      got.resize(
          CollectBounds(a.data(), b.data(), has_c ? c.data() : nullptr, n, 0.75f, 0.5f, 0.4f, 7, got.data()));
      size_t at = 0;
      for (size_t i = 0; i < n; ++i) {
        const double bound = 0.75 * double{a[i]} + 0.5 * double{b[i]} + (has_c ? double{c[i]} : 0.0);
        const bool taken = at < got.size() && got[at] == 7 + i;
        at += taken ? 1 : 0;
        if (std::fabs(bound - 0.4) > 1e-5) {
          EXPECT_EQ(taken, bound > 0.4) << n << " " << i;
        }
      }
      EXPECT_EQ(at, got.size());
    }
  }
}

TEST_P(LinearBoundTest, BoundsDirectionsAsItSays) {
  for (const size_t n : {0, 1, 3, 15, 16, 17, 64, 251}) {
    for (const bool has_c : {false, true}) {
      const std::vector<float> a = Lengths(n), b = Lengths(n), c = RandomFloats(n, random_);
      std::vector<float> along = RandomFloats(n, random_);
      if (n > 2) along[2] = 9;  // longer than the query, as rounding may have it
      std::vector<float> across(n), bounds(n), expected(n);
      const DirectionQuery query{.square = 4, .slack_square = 0.01f, .slack_length = 0.125f, .scale = 0.75f};
      BoundDirections({.a = a.data(), .b = b.data(), .c = has_c ? c.data() : nullptr}, query, along.data(), n,
                      across.data(), bounds.data(), expected.data());
      for (size_t i = 0; i < n; ++i) {
        const double x = double{along[i]}, added = has_c ? double{c[i]} : 0.0;
        const double y = 0.75 * (std::sqrt(std::max(4 - x * x, 0.0) + double{0.01f}) + 0.125);
        EXPECT_NEAR(double{across[i]}, y, 1e-5) << n << " " << i;
        EXPECT_NEAR(double{bounds[i]}, double{a[i]} * (std::max(x, 0.0) + 0.125) + double{b[i]} * y + added,
                    1e-4);
        EXPECT_NEAR(double{expected[i]}, double{a[i]} * x + added, 1e-4);
      }
    }
  }
}

}  // namespace
}  // namespace swiftlet
