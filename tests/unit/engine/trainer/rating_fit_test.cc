#include "engine/trainer/rating_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "Eigen/Dense"
#include "engine/base/aligned_vector.h"
#include "engine/encoders/rating_model.h"
#include "engine/trainer/interrupt.h"
#include "tests/unit/engine/trainer/rating_test_util.h"

namespace swiftlet {
namespace {

using trainer_testing::FindPlanted;
using trainer_testing::PlantedRatings;
using Vector = Eigen::VectorXd;
using Matrix = Eigen::MatrixXd;

// The algorithm of rating_fit.h in double, rating by rating, with nothing summed up in advance.
struct SlowFit {
  struct Side {
    std::vector<Vector> mean;
    std::vector<Matrix> covariance;
    Vector precision;
  };

  SlowFit(const RatingSet& ratings, const RatingFitOptions& options) : set(ratings) {
    const auto size = static_cast<Eigen::Index>(options.dim + 1);
    const RatingMoments moments = MomentsOf(set);
    for (const Rating& r : set.ratings) {
      values.push_back((double{r.value} - moments.mean) / moments.deviation);
    }
    for (Side* side : {&users, &items}) {
      const size_t n = side == &users ? set.num_users : set.num_items;
      side->mean.assign(n, Vector::Zero(size));
      side->covariance.assign(n, Matrix::Zero(size, size));
      side->precision = Vector::Constant(size, 10);
      side->precision[0] = 4;
    }
    y.assign(set.num_items, Vector::Zero(size));
    std::mt19937_64 random(options.seed);
    std::normal_distribution<float> normal(0, 0.1f);
    for (size_t i = 0; i < set.num_items; ++i) {
      if (Count(&Rating::item, i) == 0) continue;
      for (Eigen::Index a = 1; a < size; ++a) items.mean[i][a] = double{normal(random)};
    }
    for (uint32_t sweep = 0; sweep < options.sweeps; ++sweep) {
      if (options.implicit && sweep >= 4) UpdateY(sweep > 4);
      Update(&users, items, &Rating::user, &Rating::item, options.implicit, sweep >= 3);
      Update(&items, users, &Rating::item, &Rating::user, false, sweep >= 3);
      double error = 0;
      for (size_t k = 0; k < set.ratings.size(); ++k) error += ExpectedSquare(k);
      if (sweep >= 3) noise = static_cast<double>(set.ratings.size()) / error;
    }
    Update(&users, items, &Rating::user, &Rating::item, options.implicit, false);
  }

  size_t Count(uint32_t Rating::*row, size_t r) const {
    size_t n = 0;
    for (const Rating& rating : set.ratings) n += rating.*row == r;
    return n;
  }
  static Matrix Second(const Side& side, size_t r) {
    return side.covariance[r] + side.mean[r] * side.mean[r].transpose();
  }
  Vector Prior(size_t u) const {
    Vector sum = Vector::Zero(users.precision.size());
    for (const Rating& r : set.ratings) {
      if (r.user == u) sum += y[r.item];
    }
    const size_t n = Count(&Rating::user, u);
    return n == 0 ? sum : Vector(sum / std::sqrt(static_cast<double>(n)));
  }
  // Of y, in units of 1 / users.precision.
  double VarianceOfY(size_t i) const {
    double squares = y_precision_used;
    for (const Rating& r : set.ratings) {
      if (r.item == i) squares += 1.0 / static_cast<double>(Count(&Rating::user, r.user));
    }
    return 1 / squares;
  }
  void UpdateY(bool update_precision) {
    y_precision_used = y_precision;
    double sum = 0, count = 0;
    for (size_t i = 0; i < set.num_items; ++i) {
      if (Count(&Rating::item, i) == 0) continue;
      // argmin over y_i of sum_u |x_u - prior_u|^2 + precision |y_i|^2.
      const Vector old = y[i];
      y[i].setZero();
      Vector along = Vector::Zero(old.size());
      for (const Rating& r : set.ratings) {
        if (r.item != i) continue;
        along += (users.mean[r.user] - Prior(r.user)) /
                 std::sqrt(static_cast<double>(Count(&Rating::user, r.user)));
      }
      y[i] = VarianceOfY(i) * along;
      for (Eigen::Index a = 0; a < old.size(); ++a) {
        sum += users.precision[a] * y[i][a] * y[i][a] + VarianceOfY(i);
        count += 1;
      }
    }
    if (update_precision) y_precision = count / sum;
  }
  void Update(Side* side, const Side& other, uint32_t Rating::*row, uint32_t Rating::*column, bool implicit,
              bool update_precision) {
    const Eigen::Index size = side->precision.size();
    Vector spread = Vector::Zero(size);
    double rows = 0;
    for (size_t r = 0; r < side->mean.size(); ++r) {
      if (Count(row, r) == 0) continue;
      Matrix precision = side->precision.asDiagonal();
      const Vector prior = implicit ? Prior(r) : Vector(Vector::Zero(size));
      Vector right = side->precision.cwiseProduct(prior);
      double prior_variance = 0;
      for (size_t k = 0; k < set.ratings.size(); ++k) {
        if (set.ratings[k].*row != r) continue;
        const size_t o = set.ratings[k].*column;
        // E[a a^T] and E[(v - b) a] of a = [1, q].
        Matrix second = Second(other, o);
        const Vector bias_times = second.col(0);
        second.row(0).tail(size - 1) = other.mean[o].tail(size - 1).transpose();
        second.col(0).tail(size - 1) = other.mean[o].tail(size - 1);
        second(0, 0) = 1;
        Vector target = values[k] * other.mean[o] - bias_times;
        target[0] = values[k] - other.mean[o][0];
        precision += noise * second;
        right += noise * target;
        if (implicit && y_precision_used > 0) {
          prior_variance += VarianceOfY(o) / static_cast<double>(Count(row, r));
        }
      }
      side->covariance[r] = precision.inverse();
      side->mean[r] = side->covariance[r] * right;
      spread += (side->mean[r] - prior).cwiseAbs2() + side->covariance[r].diagonal() +
                prior_variance * side->precision.cwiseInverse();
      rows += 1;
    }
    if (update_precision) side->precision = rows * spread.cwiseInverse();
  }
  // E[(v - b_u - b_i - <p, q>)^2].
  double ExpectedSquare(size_t k) const {
    const size_t u = set.ratings[k].user, i = set.ratings[k].item;
    const Eigen::Index f = users.precision.size() - 1;
    const Vector& m = users.mean[u];
    const Vector& n = items.mean[i];
    const double rest = values[k] - m[0] - n[0] - m.tail(f).dot(n.tail(f));
    const Matrix &c = users.covariance[u], &d = items.covariance[i];
    Vector a = m, b = n;
    a[0] = b[0] = 1;
    return rest * rest + b.dot(c * b) + a.dot(d * a) +
           c.bottomRightCorner(f, f).cwiseProduct(d.bottomRightCorner(f, f)).sum();
  }

  const RatingSet& set;
  std::vector<double> values;
  Side users, items;
  std::vector<Vector> y;
  double noise = 1, y_precision = 20, y_precision_used = 0;
};

TEST(RatingFitTest, IsTheSlowAlgorithm) {
  const RatingData data = FindPlanted(PlantedRatings(12, 9, 5, 3));
  const RatingMoments moments = MomentsOf(data.set);
  for (const uint32_t dim : {0u, 1u, 3u}) {
    for (const bool implicit : {false, true}) {
      const RatingFitOptions options{.dim = dim, .sweeps = 8, .implicit = implicit, .seed = 5};
      const auto fit = FitRatings(data.set, options, nullptr, nullptr);
      ASSERT_TRUE(fit.ok()) << fit.status();
      ASSERT_EQ(fit->sweeps, 8u);
      const SlowFit slow(data.set, options);
      EXPECT_NEAR(fit->noise_deviation, moments.deviation / std::sqrt(slow.noise), 1e-4);
      const double s = moments.deviation;
      for (size_t u = 0; u < data.set.num_users; ++u) {
        for (Eigen::Index a = 0; a <= dim; ++a) {
          EXPECT_NEAR(double{fit->users(u, a)}, (a == 0 ? s : 1) * slow.users.mean[u][a], 2e-4);
        }
      }
      for (size_t i = 0; i < data.set.num_items; ++i) {
        for (Eigen::Index a = 0; a <= dim; ++a) {
          EXPECT_NEAR(double{fit->items(i, a)}, s * slow.items.mean[i][a], 2e-4);
          if (a > 0) {
            EXPECT_NEAR(double{fit->item_variances(i, a)}, s * s * slow.items.covariance[i](a, a), 2e-4);
          }
          if (implicit) {
            EXPECT_NEAR(double{fit->implicit(i, a)}, (a == 0 ? s : 1) * slow.y[i][a], 2e-4);
          }
        }
      }
      for (Eigen::Index a = 0; a <= dim; ++a) {
        const double ridge = slow.users.precision[a] / slow.noise * (a == 0 ? 1 : s * s);
        EXPECT_NEAR(double{fit->ridge[a]}, ridge, 1e-3 * ridge);
      }
    }
  }
}

// The engine's view of a fit, as a snapshot holds it.
struct Engine {
  Engine(const RatingFit& fit, const RatingData& data) : contents(RatingContentsOf(fit, data)) {
    const size_t row = contents.parameters.dim + 1;
    const auto pad = [&](const std::vector<float>& rows) {
      AlignedVector<float> padded(rows.size() / row * RowStride(row));
      for (size_t r = 0; r * row < rows.size(); ++r) {
        std::copy_n(&rows[r * row], row, &padded[r * RowStride(row)]);
      }
      return padded;
    };
    items = pad(contents.items), variances = pad(contents.item_variances), implicit = pad(contents.implicit);
    ridge = pad(contents.ridge);
  }
  RatingModel Model() const {
    const ManifestRating& p = contents.parameters;
    return RatingModel({.dim = p.dim,
                        .mean = p.mean,
                        .min = p.min,
                        .max = p.max,
                        .items = items,
                        .item_variances = variances,
                        .implicit = implicit,
                        .ridge = ridge,
                        .counts = contents.counts});
  }
  const RatingContents contents;
  AlignedVector<float> items, variances, implicit, ridge;
};

// With biases alone there are no covariances that a snapshot leaves out: the user that is folded in is the
// one that was trained. With factors it is so to a few hundredths.
TEST(RatingFitTest, TheEngineFoldsTheTrainedUsersIn) {
  const RatingData data = FindPlanted(PlantedRatings(60, 50, 25, 4));
  for (const uint32_t dim : {0u, 3u}) {
    const auto fit = FitRatings(data.set, {.dim = dim}, nullptr, nullptr);
    ASSERT_TRUE(fit.ok());
    const Engine engine(*fit, data);
    const RatingModel model = engine.Model();
    const RatingRows by_user = RatingsByUser(data.set);
    RatingFoldInScratch scratch;
    std::vector<float> user(dim + 1);
    double squares = 0;
    for (size_t u = 0; u < data.set.num_users; ++u) {
      std::vector<RatedItem> ratings;
      for (size_t k = by_user.begin[u]; k < by_user.begin[u + 1]; ++k) {
        ratings.push_back({by_user.other[k], by_user.values[k]});
      }
      model.FoldIn(ratings, scratch, user);
      for (uint32_t a = 0; a <= dim; ++a) {
        const double difference = double{user[a]} - double{fit->users(u, a)};
        EXPECT_NEAR(difference, 0, dim == 0 ? 1e-4 : 0.2) << u << " " << a;
        squares += difference * difference;
      }
    }
    EXPECT_LT(std::sqrt(squares / (static_cast<double>(data.set.num_users) * (dim + 1))),
              dim == 0 ? 1e-4 : 0.05);
  }
}

TEST(RatingFitTest, FindsThePlantedStructure) {
  const RatingData data = FindPlanted(PlantedRatings(200, 80, 30, 5));
  const RatingSplit split = SplitRatings(data.set, AssignFolds(data.set.ratings.size(), 10, 1), 0);
  const auto rmse = [&](uint32_t dim) {
    const auto fit = FitRatings(split.train, {.dim = dim}, nullptr, nullptr);
    std::vector<float> predictions;
    for (const Rating& r : split.test) predictions.push_back(fit->Predict(r.user, r.item));
    return ErrorsOf(split.test, predictions).rmse;
  };
  const double biases = rmse(0), two = rmse(2), many = rmse(15);
  EXPECT_GT(biases, 0.7);
  EXPECT_LT(two, 0.45);         // the noise is 0.25, rounding to halves adds 0.14
  EXPECT_LT(many, two * 1.05);  // what the data does not support shrinks
}

TEST(RatingFitTest, IsTheSameForAnyNumberOfThreads) {
  const RatingData data = FindPlanted(PlantedRatings(150, 40, 12, 6));
  ThreadPool pool(3);
  const auto one = FitRatings(data.set, {.sweeps = 8}, nullptr, nullptr);
  const auto four = FitRatings(data.set, {.sweeps = 8}, &pool, nullptr);
  EXPECT_EQ(one->items, four->items);
  EXPECT_EQ(one->users, four->users);
  EXPECT_EQ(one->implicit, four->implicit);
}

TEST(RatingFitTest, SmallAndOneSidedDataGiveNumbers) {
  const std::vector<RatingSet> sets = {
      {.num_users = 2, .num_items = 2, .ratings = {{0, 0, 1}, {1, 1, 5}}, .scale = {1, 5}},
      {.num_users = 1, .num_items = 3, .ratings = {{0, 0, 1}, {0, 1, 5}, {0, 2, 5}}, .scale = {1, 5}},
      {.num_users = 4, .num_items = 1, .ratings = {{0, 0, 1}, {1, 0, 5}, {3, 0, 2}}, .scale = {1, 5}}};
  for (const RatingSet& set : sets) {
    const auto fit = FitRatings(set, {.sweeps = 200}, nullptr, nullptr);
    ASSERT_TRUE(fit.ok()) << fit.status();
    for (uint32_t u = 0; u < set.num_users; ++u) {
      for (uint32_t i = 0; i < set.num_items; ++i) {
        EXPECT_GT(fit->Predict(u, i), -3.0f);
        EXPECT_LT(fit->Predict(u, i), 9.0f);
      }
    }
    EXPECT_TRUE((fit->ridge.array() > 0).all());
    EXPECT_TRUE(fit->item_variances.allFinite());
  }
}

TEST(RatingFitTest, CanBeInterrupted) {
  const RatingData data = FindPlanted(PlantedRatings(12, 9, 5, 3));
  SetInterrupted(true);
  const absl::Status status = FitRatings(data.set, {}, nullptr, nullptr).status();
  SetInterrupted(false);
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}

}  // namespace
}  // namespace swiftlet
