// bfloat16: the upper half of a float32. The same range, eight bits of precision.
#ifndef SWIFTLET_ENGINE_BASE_BF16_H_
#define SWIFTLET_ENGINE_BASE_BF16_H_

#include <bit>
#include <cmath>
#include <cstdint>

namespace swiftlet {

struct Bf16 {
  uint16_t bits = 0;
};
static_assert(sizeof(Bf16) == 2);

// Exact.
inline float ToFloat(Bf16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

// The nearest bf16, of two equally near ones the even one. Numbers from 3.3962e38 on become infinite; NaN
// stays NaN.
inline Bf16 ToBf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}

// Neither infinite nor NaN.
inline bool IsFinite(Bf16 x) { return (x.bits & 0x7F80) != 0x7F80; }

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_BASE_BF16_H_
