#include "engine/kernels/row_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/row_sums.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

RowSums SumRowImpl(const float* HWY_RESTRICT vector, const float* HWY_RESTRICT rotated,
                   const float* HWY_RESTRICT direction, const uint8_t* HWY_RESTRICT codes, float scale,
                   size_t dim) {
  RowSums sums;
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  const hn::Rebind<int32_t, decltype(d)> di;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const size_t lanes = hn::Lanes(d);
  const auto scales = hn::Set(d, double{scale});
  const auto middle = hn::Set(di, 128);
  auto square = hn::Zero(d), rotated_square = hn::Zero(d), along = hn::Zero(d), lost = hn::Zero(d);
  for (; i + lanes <= dim; i += lanes) {
    const auto x = hn::PromoteTo(d, hn::LoadU(df, vector + i));
    const auto r = hn::PromoteTo(d, hn::LoadU(df, rotated + i));
    const auto c = hn::PromoteTo(d, hn::LoadU(df, direction + i));
    const auto code = hn::PromoteTo(d, hn::Sub(hn::PromoteTo(di, hn::LoadU(d8, codes + i)), middle));
    const auto missed = hn::NegMulAdd(scales, code, r);
    square = hn::MulAdd(x, x, square);
    rotated_square = hn::MulAdd(r, r, rotated_square);
    along = hn::MulAdd(r, c, along);
    lost = hn::MulAdd(missed, missed, lost);
  }
  sums = {.square = hn::GetLane(hn::SumOfLanes(d, square)),
          .rotated_square = hn::GetLane(hn::SumOfLanes(d, rotated_square)),
          .along = hn::GetLane(hn::SumOfLanes(d, along)),
          .lost = hn::GetLane(hn::SumOfLanes(d, lost))};
#endif
  for (; i < dim; ++i) {
    const double x = double{vector[i]}, r = double{rotated[i]};
    const double missed = r - double{scale} * (int{codes[i]} - 128);
    sums.square += x * x;
    sums.rotated_square += r * r;
    sums.along += r * double{direction[i]};
    sums.lost += missed * missed;
  }
  return sums;
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {

HWY_EXPORT(SumRowImpl);

RowSums SumRow(const float* vector, const float* rotated, const float* direction, const uint8_t* codes,
               float scale, size_t dim) {
  return HWY_DYNAMIC_DISPATCH(SumRowImpl)(vector, rotated, direction, codes, scale, dim);
}

}  // namespace swiftlet
#endif  // HWY_ONCE
