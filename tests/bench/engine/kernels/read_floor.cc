#include "tests/bench/engine/kernels/read_floor.h"

namespace swiftlet::bench {
namespace {

using Words [[gnu::vector_size(64)]] = uint64_t;

}  // namespace

uint64_t SumBytes(const void* memory, size_t bytes) {
  const auto* const words = static_cast<const Words*>(memory);
  Words sums[8] = {};
  for (size_t i = 0; i + 8 <= bytes / sizeof(Words); i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  for (size_t j = 1; j < 8; ++j) sums[0] += sums[j];
  uint64_t sum = 0;
  for (size_t j = 0; j < 8; ++j) sum += sums[0][j];
  return sum;
}

}  // namespace swiftlet::bench
