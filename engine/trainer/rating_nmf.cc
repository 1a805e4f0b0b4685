#include "engine/trainer/rating_nmf.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "engine/base/status_macros.h"
#include "engine/trainer/interrupt.h"

namespace swiftlet {
namespace {

// Sets the rows of `side`, one coordinate after another. rows: ratings less `low` of each row.
void UpdateSide(const RatingRows& rows, const MatrixF& other, float lambda, MatrixF* side) {
  std::vector<float> rest;
  for (size_t r = 0; r < rows.num_rows(); ++r) {
    const size_t begin = rows.begin[r], count = rows.Count(r);
    if (count == 0) continue;
    auto x = side->row(static_cast<Eigen::Index>(r));
    rest.resize(count);
    for (size_t k = 0; k < count; ++k) {
      rest[k] = rows.values[begin + k] - x.dot(other.row(rows.other[begin + k]));
    }
    for (Eigen::Index a = 0; a < other.cols(); ++a) {
      float along = 0, square = lambda * static_cast<float>(count);
      for (size_t k = 0; k < count; ++k) {
        const float y = other(rows.other[begin + k], a);
        along += y * rest[k];
        square += y * y;
      }
      // With lambda's part of the old value in `square`, but not in `along`: it is what shrinks x.
      const float old = x[a];
      const float updated =
          std::max(0.0f, (along + old * (square - lambda * static_cast<float>(count))) / square);
      if (updated == old) continue;
      x[a] = updated;
      for (size_t k = 0; k < count; ++k) rest[k] -= (updated - old) * other(rows.other[begin + k], a);
    }
  }
}

}  // namespace

absl::StatusOr<RatingNmfModel> FitRatingsNmf(const RatingSet& set, const RatingNmfOptions& options,
                                             const RatingNmfHook& hook) {
  RatingNmfModel model;
  const double mean = MomentsOf(set).mean;
  model.mean = static_cast<float>(mean);
  model.low = set.scale.min;
  const RatingRows by_user = RatingsByUser(set, model.low), by_item = RatingsByItem(set, model.low);
  for (size_t u = 0; u < set.num_users; ++u) model.has_user.push_back(by_user.Count(u) > 0);
  for (size_t i = 0; i < set.num_items; ++i) model.has_item.push_back(by_item.Count(i) > 0);
  const auto level = static_cast<float>(mean - double{model.low});  // above 0: not all values are the lowest
  std::mt19937_64 random(options.seed);
  std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
  const float start = std::sqrt(level / static_cast<float>(options.dim));
  const auto dim = static_cast<Eigen::Index>(options.dim);
  model.users.resize(static_cast<Eigen::Index>(set.num_users), dim);
  model.items.resize(static_cast<Eigen::Index>(set.num_items), dim);
  for (MatrixF* matrix : {&model.users, &model.items}) {
    for (Eigen::Index i = 0; i < matrix->size(); ++i) matrix->data()[i] = start * uniform(random);
  }
  const float lambda = options.regularisation * level;
  for (uint32_t sweep = 1; sweep <= options.sweeps; ++sweep) {
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    UpdateSide(by_user, model.items, lambda, &model.users);
    UpdateSide(by_item, model.users, lambda, &model.items);
    if (hook && !hook(sweep, model)) break;
  }
  return model;
}

}  // namespace swiftlet
