#include "engine/base/bf16.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace swiftlet {
namespace {

TEST(Bf16Test, WideningAndRoundingBackChangesNoValue) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const Bf16 x{static_cast<uint16_t>(bits)};
    const float wide = ToFloat(x);
    EXPECT_EQ(IsFinite(x), std::isfinite(wide)) << bits;
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(ToFloat(ToBf16(wide)))) << bits;
    } else {
      EXPECT_EQ(ToBf16(wide).bits, bits);
    }
  }
}

TEST(Bf16Test, RoundsToTheNearestAndTiesToEven) {
  std::mt19937 random(1);
  const auto check = [](float x) {
    const Bf16 rounded = ToBf16(x);
    const double error = std::fabs(double{ToFloat(rounded)} - double{x});
    const auto neighbour = [&](int step) { return Bf16{static_cast<uint16_t>(rounded.bits + step)}; };
    for (const int step : {-1, 1}) {
      if (!IsFinite(neighbour(step)) || (neighbour(step).bits ^ rounded.bits) & 0x8000) continue;
      const double other = std::fabs(double{ToFloat(neighbour(step))} - double{x});
      EXPECT_LE(error, other) << x;
      if (error == other) {
        EXPECT_EQ(rounded.bits % 2, 0) << x;
      }
    }
  };
  for (int i = 0; i < 100'000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    const auto x = std::bit_cast<float>(bits);
    if (std::isfinite(x) && IsFinite(ToBf16(x))) check(x);
    const auto tie = std::bit_cast<float>((bits & 0xFFFF0000u) | 0x8000u);
    if (std::isfinite(tie) && IsFinite(ToBf16(tie))) check(tie);
  }
  EXPECT_EQ(ToFloat(ToBf16(1.0f + 0x1p-8f)), 1.0f);
  EXPECT_EQ(ToFloat(ToBf16(1.0f + 0x3p-8f)), 1.0f + 0x1p-6f);
  EXPECT_EQ(ToBf16(-0.0f).bits, 0x8000);
}

TEST(Bf16Test, WhatIsTooLargeBecomesInfinite) {
  EXPECT_EQ(ToBf16(std::numeric_limits<float>::max()).bits, 0x7F80);
  EXPECT_EQ(ToBf16(-std::numeric_limits<float>::infinity()).bits, 0xFF80);
  EXPECT_TRUE(IsFinite(ToBf16(3.3895e38f)));
  // A NaN whose upper bits alone would be infinity.
  EXPECT_TRUE(std::isnan(ToFloat(ToBf16(std::bit_cast<float>(0x7F800001u)))));
}

}  // namespace
}  // namespace swiftlet
