#include "engine/kernels/row_sums.h"

#include <cmath>
#include <vector>

#include "tests/unit/engine/kernels/each_cpu_target.h"

namespace swiftlet {
namespace {

class RowSumsTest : public EachCpuTarget {};
SWIFTLET_FOR_EACH_CPU_TARGET(RowSumsTest);

TEST_P(RowSumsTest, SumsLikeALoopAndReadsNothingBehindTheEnd) {
  constexpr float kScale = 0.03125f;
  for (const size_t dim : {1, 3, 7, 8, 9, 16, 31, 32, 64, 100}) {
    const std::vector<float> x = RandomFloats(dim, random_), r = RandomFloats(dim, random_),
                             c = RandomFloats(dim, random_);
    std::vector<uint8_t> codes(dim);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random_());
    double square = 0, rotated_square = 0, along = 0, lost = 0, size = 0;
    for (size_t j = 0; j < dim; ++j) {
      const double missed = double{r[j]} - double{kScale} * (int{codes[j]} - 128);
      square += double{x[j]} * double{x[j]};
      rotated_square += double{r[j]} * double{r[j]};
      along += double{r[j]} * double{c[j]};
      size += std::fabs(double{r[j]} * double{c[j]});
      lost += missed * missed;
    }
    GuardedFloats vector(x), rotated(r), direction(c);
    Guarded<uint8_t> guarded_codes(codes);
    const RowSums sums =
        SumRow(vector.data(), rotated.data(), direction.data(), guarded_codes.data(), kScale, dim);
    // The order of additions differs: some dim * 2^-53.
    EXPECT_NEAR(sums.square, square, 1e-13 * square) << dim;
    EXPECT_NEAR(sums.rotated_square, rotated_square, 1e-13 * rotated_square) << dim;
    EXPECT_NEAR(sums.along, along, 1e-13 * size) << dim;
    EXPECT_NEAR(sums.lost, lost, 1e-13 * lost) << dim;
  }
}

}  // namespace
}  // namespace swiftlet
