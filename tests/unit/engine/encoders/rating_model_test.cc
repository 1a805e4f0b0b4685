#include "engine/encoders/rating_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace swiftlet {
namespace {

// Random tables that own their numbers.
struct Tables {
  Tables(uint32_t d, uint32_t num_items, bool has_variances, bool has_implicit)
      : dim(d), counts(num_items, 3) {
    std::mt19937 random(d + 7 * num_items);
    std::normal_distribution<float> normal(0, 0.5f);
    const size_t stride = RowStride(d + 1);
    const auto fill = [&](AlignedVector<float>& rows) {
      rows.assign(num_items * stride, 0.0f);
      for (size_t r = 0; r < num_items; ++r) {
        for (size_t j = 0; j <= d; ++j) rows[r * stride + j] = normal(random);
      }
    };
    fill(items);
    if (has_variances) {
      fill(variances);
      for (float& v : variances) v *= v;
    }
    if (has_implicit) fill(implicit);
    ridge.assign(stride, 0.0f);
    for (size_t j = 0; j <= d; ++j) ridge[j] = 0.5f + std::fabs(normal(random));
  }
  RatingModel Model() const {
    return RatingModel({.dim = dim,
                        .mean = 3.5f,
                        .min = 1,
                        .max = 5,
                        .items = items,
                        .item_variances = variances,
                        .implicit = implicit,
                        .ridge = ridge,
                        .counts = counts});
  }
  const uint32_t dim;
  AlignedVector<float> items, variances, implicit, ridge;
  std::vector<uint32_t> counts;
};

// The formula of the header in double, solved by Gaussian elimination.
std::vector<double> SlowFoldIn(const Tables& t, const std::vector<RatedItem>& ratings) {
  const size_t n = t.dim + 1, stride = RowStride(n);
  std::vector<std::vector<double>> a(n, std::vector<double>(n + 1, 0.0));
  for (size_t j = 0; j < n; ++j) a[j][j] = double{t.ridge[j]};
  for (const RatedItem& r : ratings) {
    std::vector<double> x(n);
    for (size_t j = 0; j < n; ++j) x[j] = j == 0 ? 1.0 : double{t.items[r.row * stride + j]};
    for (size_t j = 0; j < n; ++j) {
      for (size_t k = 0; k < n; ++k) a[j][k] += x[j] * x[k];
      if (j > 0 && !t.variances.empty()) a[j][j] += double{t.variances[r.row * stride + j]};
      a[j][n] += (double{r.value} - 3.5 - double{t.items[r.row * stride]}) * x[j];
      if (!t.implicit.empty()) {
        a[j][n] += double{t.ridge[j]} * double{t.implicit[r.row * stride + j]} /
                   std::sqrt(static_cast<double>(ratings.size()));
      }
    }
  }
  for (size_t p = 0; p < n; ++p) {
    size_t best = p;
    for (size_t r = p; r < n; ++r) {
      if (std::fabs(a[r][p]) > std::fabs(a[best][p])) best = r;
    }
    std::swap(a[p], a[best]);
    for (size_t r = 0; r < n; ++r) {
      if (r == p) continue;
      const double f = a[r][p] / a[p][p];
      for (size_t c = p; c <= n; ++c) a[r][c] -= f * a[p][c];
    }
  }
  std::vector<double> x(n);
  for (size_t j = 0; j < n; ++j) x[j] = a[j][n] / a[j][j];
  return x;
}

TEST(RatingModelTest, FoldInIsTheRidgeRegression) {
  std::mt19937 random(3);
  RatingFoldInScratch scratch;
  for (const uint32_t dim : {0u, 1u, 7u, 15u, 16u, 40u, 64u}) {
    for (const auto& [has_variances, has_implicit] :
         std::vector<std::pair<bool, bool>>{{false, false}, {true, false}, {false, true}, {true, true}}) {
      const Tables tables(dim, 300, has_variances, has_implicit);
      const RatingModel model = tables.Model();
      for (const size_t count : {1, 2, 5, 50, 200}) {
        std::vector<RatedItem> ratings;
        for (uint32_t i = 0; i < count; ++i) ratings.push_back({i, static_cast<float>(1 + random() % 5)});
        std::vector<float> user(dim + 1, 77.0f);
        model.FoldIn(ratings, scratch, user);
        const std::vector<double> expected = SlowFoldIn(tables, ratings);
        for (size_t j = 0; j <= dim; ++j) {
          EXPECT_NEAR(double{user[j]}, expected[j], 2e-4 * (1 + std::fabs(expected[j])))
              << dim << " " << count << " " << j;
        }
        for (const uint32_t row : {0u, 250u}) {
          double rating = 3.5 + expected[0] + double{tables.items[row * RowStride(dim + 1)]};
          for (size_t j = 1; j <= dim; ++j) {
            rating += expected[j] * double{tables.items[row * RowStride(dim + 1) + j]};
          }
          EXPECT_NEAR(double{model.Predict(user, row)}, std::clamp(rating, 1.0, 5.0), 1e-3);
        }
        EXPECT_NEAR(double{model.PredictUnknown(user)}, std::clamp(3.5 + expected[0], 1.0, 5.0), 1e-3);
      }
    }
  }
}

TEST(RatingModelTest, AUserWithoutRatingsGetsTheBaseline) {
  const Tables tables(15, 10, true, true);
  const RatingModel model = tables.Model();
  RatingFoldInScratch scratch;
  std::vector<float> user(16, 77.0f);
  model.FoldIn({}, scratch, user);
  EXPECT_EQ(user, std::vector<float>(16, 0.0f));
  EXPECT_FLOAT_EQ(model.Predict(user, 4), 3.5f + tables.items[4 * 16]);
  EXPECT_EQ(model.PredictUnknown(user), 3.5f);
}

TEST(RatingModelTest, AnItemOfGreatVarianceSaysNothingOfTheFactors) {
  Tables tables(3, 2, true, false);
  const size_t stride = RowStride(4);
  for (size_t j = 1; j <= 3; ++j) tables.variances[stride + j] = 1e12f;
  RatingFoldInScratch scratch;
  std::vector<float> sure(4), unsure(4);
  tables.Model().FoldIn(std::vector<RatedItem>{{0, 5}}, scratch, sure);
  tables.Model().FoldIn(std::vector<RatedItem>{{1, 5}}, scratch, unsure);
  EXPECT_GT(std::fabs(sure[1]), 1e-3f);
  for (size_t j = 1; j <= 3; ++j) EXPECT_NEAR(unsure[j], 0.0f, 1e-6f);
  EXPECT_GT(std::fabs(unsure[0]), 1e-3f);  // but of the bias
}

TEST(RatingModelTest, RatingsAreClippedToTheScale) {
  Tables tables(0, 3, false, false);
  tables.items[0] = 9, tables.items[16] = -9, tables.items[32] = std::numeric_limits<float>::infinity();
  const RatingModel model = tables.Model();
  const std::vector<float> user = {0};
  EXPECT_EQ(model.Predict(user, 0), 5.0f);
  EXPECT_EQ(model.Predict(user, 1), 1.0f);
  EXPECT_EQ(model.Predict(user, 2), 3.5f);  // no honest model
  EXPECT_TRUE(model.IsOnScale(1) && model.IsOnScale(5) && !model.IsOnScale(0.99f) && !model.IsOnScale(5.01f));
  EXPECT_FALSE(model.IsOnScale(std::numeric_limits<float>::quiet_NaN()));
}

}  // namespace
}  // namespace swiftlet
