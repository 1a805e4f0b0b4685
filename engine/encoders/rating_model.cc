#include "engine/encoders/rating_model.h"

#include <algorithm>
#include <cmath>

#include "engine/kernels/dot.h"
#include "engine/kernels/ridge.h"

namespace swiftlet {
namespace {

// Numbers that no honest model holds may overflow: the mean is then as good an answer as any.
float OnScale(const RatingTables& t, float rating) {
  return std::clamp(std::isfinite(rating) ? rating : t.mean, t.min, t.max);
}

// Asks for the rows of all ratings at once: one after the other, each would wait for the one before.
void Prefetch(const RatingTables& t, size_t stride, std::span<const RatedItem> ratings) {
  constexpr size_t kFloatsPerLine = 16;
  for (const std::span<const float> rows : {t.implicit, t.items, t.item_variances}) {
    if (rows.empty()) continue;
    for (const RatedItem& rated : ratings) {
      const float* const row = &rows[rated.row * stride];
      for (size_t j = 0; j < stride; j += kFloatsPerLine) __builtin_prefetch(row + j);
    }
  }
}

}  // namespace

void RatingModel::FoldIn(std::span<const RatedItem> ratings, RatingFoldInScratch& scratch,
                         std::span<float> user) const {
  const size_t size = size_t{t_.dim} + 1, n = ratings.size();
  std::fill_n(user.begin(), size, 0.0f);
  if (n == 0) return;
  Prefetch(t_, stride_, ratings);
  scratch.rows.resize(n * stride_);
  scratch.gram.assign(size * stride_, 0.0f);
  float* const gram = scratch.gram.data();

  // R m_u.
  if (!t_.implicit.empty()) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(n));
    for (const RatedItem& rated : ratings) {
      AddScaled(scale, &t_.implicit[rated.row * stride_], size, user.data());
    }
    for (size_t j = 0; j < size; ++j) user[j] *= t_.ridge[j];
  }
  for (size_t j = 0; j < size; ++j) gram[j * stride_ + j] = t_.ridge[j];
  for (size_t i = 0; i < n; ++i) {
    const float* const item = &t_.items[ratings[i].row * stride_];
    float* const row = &scratch.rows[i * stride_];
    std::copy_n(item, stride_, row);
    row[0] = 1;
    AddScaled(ratings[i].value - t_.mean - item[0], row, size, user.data());
    if (t_.item_variances.empty()) continue;
    const float* const variances = &t_.item_variances[ratings[i].row * stride_];
    for (size_t j = 1; j < size; ++j) gram[j * stride_ + j] += variances[j];
  }
  AddGram(scratch.rows.data(), n, size, stride_, gram);
  SolveCholesky(gram, size, stride_, user.data());
}

float RatingModel::Predict(std::span<const float> user, uint32_t row) const {
  const float* const item = &t_.items[row * stride_];
  return OnScale(t_, t_.mean + user[0] + item[0] + Dot(user.data() + 1, item + 1, t_.dim));
}

float RatingModel::PredictUnknown(std::span<const float> user) const {
  return OnScale(t_, t_.mean + user[0]);
}

}  // namespace swiftlet
