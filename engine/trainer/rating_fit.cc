#include "engine/trainer/rating_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "Eigen/Cholesky"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/aligned_vector.h"
#include "engine/base/status_macros.h"
#include "engine/kernels/dot.h"
#include "engine/trainer/interrupt.h"

namespace swiftlet {
namespace {

constexpr size_t kRowsPerPiece = 64;
// Sweeps before the precisions move from where they start, and before y does: before, the factors hold little
// but their random start.
constexpr uint32_t kFixedSweeps = 3, kSweepsBeforeImplicit = 4, kLeastSweeps = 10;
constexpr double kLeastChange = 3e-4;
// Of standardised ratings; what follows adapts.
constexpr float kStartBiasPrecision = 4, kStartFactorPrecision = 10, kStartDeviation = 0.1f;
constexpr double kStartImplicitPrecision = 20;
constexpr double kLeastPrecision = 1e-3, kMostPrecision = 1e6;

double Bounded(double precision) { return std::clamp(precision, kLeastPrecision, kMostPrecision); }

// Posteriors of all users, or of all items: x = [bias, factors].
struct Side {
  Side(size_t n, size_t d)
      : size(d + 1),
        block(size * RowStride(size)),
        mean(MatrixF::Zero(static_cast<Eigen::Index>(n), static_cast<Eigen::Index>(size))),
        moments(n * block),
        precision(VectorF::Constant(static_cast<Eigen::Index>(size), kStartFactorPrecision)) {
    precision[0] = kStartBiasPrecision;
  }
  // E[x x^T] of row r: [size, size] with row stride RowStride(size).
  float* Moments(size_t r) { return &moments[r * block]; }
  const float* Moments(size_t r) const { return &moments[r * block]; }

  size_t size, block;
  MatrixF mean;                  // [n, size]
  AlignedVector<float> moments;  // [n, block]
  VectorF precision;             // [size], of the prior
};

using BlockMap = Eigen::Map<MatrixF, 0, Eigen::OuterStride<>>;
using ConstBlockMap = Eigen::Map<const MatrixF, 0, Eigen::OuterStride<>>;

BlockMap AsBlock(float* block, size_t size) {
  const auto n = static_cast<Eigen::Index>(size);
  return {block, n, n, Eigen::OuterStride<>(static_cast<Eigen::Index>(RowStride(size)))};
}

// Sets moments to those of points: before the first update.
void SetMomentsOfMeans(Side* side) {
  for (Eigen::Index r = 0; r < side->mean.rows(); ++r) {
    AsBlock(side->Moments(static_cast<size_t>(r)), side->size) =
        side->mean.row(r).transpose() * side->mean.row(r);
  }
}

// What the users' prior means are made of.
struct Implicit {
  Implicit(const RatingRows& by_user, size_t num_items, size_t size)
      : y(MatrixF::Zero(static_cast<Eigen::Index>(num_items), static_cast<Eigen::Index>(size))),
        prior(MatrixF::Zero(static_cast<Eigen::Index>(by_user.num_rows()), static_cast<Eigen::Index>(size))),
        prior_variance(VectorF::Zero(static_cast<Eigen::Index>(by_user.num_rows()))) {
    for (size_t u = 0; u < by_user.num_rows(); ++u) {
      scale.push_back(by_user.Count(u) == 0 ? 0.0f : 1.0f / std::sqrt(static_cast<float>(by_user.Count(u))));
    }
  }
  MatrixF y;                                   // [items, size]
  MatrixF prior;                               // [users, size]: n_u^-1/2 sum of y
  VectorF prior_variance;                      // [users]: of it, in units of 1 / the users' precision
  std::vector<float> scale;                    // [users]: n_u^-1/2
  double precision = kStartImplicitPrecision;  // of y, in units of the users' precision
};

// One pass of coordinate descent over y given the users' means: y_j ~ N(0, 1 / (precision * lambda)), users
// ~ N(prior, 1 / lambda), in closed form for one y_j at a time. In order: each step sees the ones before.
void UpdateImplicit(const RatingRows& by_item, const Side& users, bool update_precision, Implicit* t) {
  MatrixF rest = users.mean - t->prior;
  const Eigen::Index size = rest.cols();
  t->prior_variance.setZero();
  double sum = 0, count = 0;
  VectorF gradient(size), change(size);
  for (size_t j = 0; j < by_item.num_rows(); ++j) {
    if (by_item.Count(j) == 0) continue;
    auto y = t->y.row(static_cast<Eigen::Index>(j));
    float squares = 0;
    gradient.setZero();
    for (size_t k = by_item.begin[j]; k < by_item.begin[j + 1]; ++k) {
      const uint32_t u = by_item.other[k];
      gradient += t->scale[u] * rest.row(u).transpose();
      squares += t->scale[u] * t->scale[u];
    }
    const float variance = 1.0f / (squares + static_cast<float>(t->precision));
    change = variance * (gradient + squares * y.transpose()) - y.transpose();
    y += change.transpose();
    for (size_t k = by_item.begin[j]; k < by_item.begin[j + 1]; ++k) {
      const uint32_t u = by_item.other[k];
      rest.row(u) -= t->scale[u] * change.transpose();
      t->prior_variance[u] += t->scale[u] * t->scale[u] * variance;
    }
    for (Eigen::Index a = 0; a < size; ++a) {
      sum += double{users.precision[a]} * double{y[a]} * double{y[a]} + double{variance};
      count += 1;
    }
  }
  t->prior = users.mean - rest;
  if (update_precision && sum > 0) t->precision = Bounded(count / sum);
}

// The posteriors of one side given those of the other. rows: standardised ratings of each of this side.
// noise: precision. implicit: of the users' side, or null. Returns the expected sum of squared errors.
double UpdateSide(const RatingRows& rows, const Side& other, double noise, const Implicit* implicit,
                  bool update_precision, ThreadPool* pool, Side* side) {
  const size_t size = side->size, block = side->block, num_rows = rows.num_rows();
  const auto n = static_cast<Eigen::Index>(size);
  const size_t num_pieces = (num_rows + kRowsPerPiece - 1) / kRowsPerPiece;
  std::vector<double> errors(num_pieces, 0.0), counts(num_pieces, 0.0);
  std::vector<Eigen::VectorXd> spreads(num_pieces, Eigen::VectorXd::Zero(n));
  const auto tau = static_cast<float>(noise);
  ForPieces(pool, num_rows, kRowsPerPiece, [&](size_t begin, size_t end, size_t) {
    AlignedVector<float> sum_block(block);
    MatrixF gram(n, n), covariance(n, n);
    VectorF sum(n), weighted(n), right(n), mean(n), prior = VectorF::Zero(n);
    Eigen::LLT<MatrixF> llt(n);
    const size_t piece = begin / kRowsPerPiece;
    for (size_t r = begin; r < end; ++r) {
      const auto row = static_cast<Eigen::Index>(r);
      const size_t count = rows.Count(r);
      if (count == 0) continue;  // no one looks at it
      std::fill(sum_block.begin(), sum_block.end(), 0.0f);
      sum.setZero();
      weighted.setZero();
      double squares = 0, value_sum = 0;
      for (size_t k = rows.begin[r]; k < rows.begin[r + 1]; ++k) {
        const uint32_t o = rows.other[k];
        AddScaled(1.0f, other.Moments(o), block, sum_block.data());
        sum += other.mean.row(o).transpose();
        weighted += rows.values[k] * other.mean.row(o).transpose();
        squares += double{rows.values[k]} * double{rows.values[k]};
        value_sum += double{rows.values[k]};
      }
      // With a = [1, factors of the other], b its bias: gram = sum E[a a^T], right = sum E[(value - b) a].
      const BlockMap t = AsBlock(sum_block.data(), size);
      gram = t;
      gram(0, 0) = static_cast<float>(count);
      gram.col(0).tail(n - 1) = sum.tail(n - 1);
      gram.row(0).tail(n - 1) = sum.tail(n - 1).transpose();
      right = weighted - t.col(0);
      right[0] = static_cast<float>(value_sum) - sum[0];
      const double constant = squares - 2 * double{weighted[0]} + double{t(0, 0)};

      covariance = tau * gram;
      covariance.diagonal() += side->precision;
      llt.compute(covariance);
      if (implicit != nullptr) prior = implicit->prior.row(row).transpose();
      mean = llt.solve((side->precision.array() * prior.array()).matrix() + tau * right);
      covariance.setIdentity();
      llt.solveInPlace(covariance);
      side->mean.row(row) = mean.transpose();
      BlockMap moments = AsBlock(side->Moments(r), size);
      moments = covariance + mean * mean.transpose();

      errors[piece] += constant - 2 * static_cast<double>(mean.dot(right)) +
                       static_cast<double>(moments.cwiseProduct(gram).sum());
      Eigen::VectorXd spread = ((mean - prior).cwiseAbs2() + covariance.diagonal()).cast<double>();
      if (implicit != nullptr) {
        spread += double{implicit->prior_variance[row]} * side->precision.cast<double>().cwiseInverse();
      }
      spreads[piece] += spread;
      counts[piece] += 1;
    }
  });
  if (update_precision) {
    const double count = std::accumulate(counts.begin(), counts.end(), 0.0);
    Eigen::VectorXd spread = Eigen::VectorXd::Zero(n);
    for (const Eigen::VectorXd& s : spreads) spread += s;
    for (Eigen::Index a = 0; a < n; ++a) side->precision[a] = static_cast<float>(Bounded(count / spread[a]));
  }
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

// From standardised ratings to those as they are: mean + deviation * (b_u + b_i + <p_u, q_i>).
RatingFit Rescaled(const RatingSet& set, const RatingMoments& moments, double noise, const Side& users,
                   const Side& items, const Implicit* implicit) {
  const auto deviation = static_cast<float>(moments.deviation);
  const Eigen::Index size = items.mean.cols();
  RatingFit fit;
  fit.mean = std::clamp(static_cast<float>(moments.mean), set.scale.min, set.scale.max);
  fit.noise_deviation = moments.deviation / std::sqrt(noise);
  fit.users = users.mean;
  fit.users.col(0) *= deviation;
  fit.items = items.mean * deviation;
  fit.item_variances.resize(items.mean.rows(), size);
  for (Eigen::Index i = 0; i < items.mean.rows(); ++i) {
    for (Eigen::Index a = 0; a < size; ++a) {
      const size_t at = static_cast<size_t>(a) * (RowStride(items.size) + 1);
      const float variance = items.Moments(static_cast<size_t>(i))[at] - items.mean(i, a) * items.mean(i, a);
      fit.item_variances(i, a) = a == 0 ? 0.0f : std::max(variance, 0.0f) * deviation * deviation;
    }
  }
  // In units of the noise.
  fit.ridge = users.precision / static_cast<float>(noise);
  fit.ridge.tail(size - 1) *= deviation * deviation;
  if (implicit != nullptr) {
    fit.implicit = implicit->y;
    fit.implicit.col(0) *= deviation;
  }
  fit.counts.assign(set.num_items, 0);
  for (const Rating& r : set.ratings) ++fit.counts[r.item];
  for (size_t i = 0; i < set.num_items; ++i) {
    if (fit.counts[i] == 0) fit.item_variances.row(static_cast<Eigen::Index>(i)).setZero();
  }
  return fit;
}

std::vector<float> ToVector(const MatrixF& matrix) { return {matrix.data(), matrix.data() + matrix.size()}; }

}  // namespace

float RatingFit::Predict(uint32_t user, uint32_t item) const {
  const Eigen::Index factors = items.cols() - 1;
  return mean + users(user, 0) + items(item, 0) +
         users.row(user).tail(factors).dot(items.row(item).tail(factors));
}

absl::StatusOr<RatingFit> FitRatings(const RatingSet& set, const RatingFitOptions& options, ThreadPool* pool,
                                     Progress* progress) {
  const RatingMoments moments = MomentsOf(set);
  const auto mean = static_cast<float>(moments.mean), deviation = static_cast<float>(moments.deviation);
  const RatingRows by_user = RatingsByUser(set, mean, deviation);
  const RatingRows by_item = RatingsByItem(set, mean, deviation);
  Side users(set.num_users, options.dim), items(set.num_items, options.dim);
  std::mt19937_64 random(options.seed);
  std::normal_distribution<float> normal(0, kStartDeviation);
  for (Eigen::Index i = 0; i < items.mean.rows(); ++i) {
    if (by_item.Count(static_cast<size_t>(i)) == 0) continue;
    for (Eigen::Index a = 1; a < items.mean.cols(); ++a) items.mean(i, a) = normal(random);
  }
  SetMomentsOfMeans(&items);
  Implicit implicit(by_user, set.num_items, users.size);
  const Implicit* const used_implicit = options.implicit ? &implicit : nullptr;

  double noise = 1, last_error = 0;
  uint32_t sweep = 0;
  if (progress != nullptr) progress->Begin("ratings, sweep", options.sweeps);
  while (sweep < options.sweeps) {
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    const bool update_precision = sweep >= kFixedSweeps;
    if (options.implicit && sweep >= kSweepsBeforeImplicit) {
      UpdateImplicit(by_item, users, sweep > kSweepsBeforeImplicit, &implicit);
    }
    UpdateSide(by_user, items, noise, used_implicit, update_precision, pool, &users);
    const double squares = UpdateSide(by_item, users, noise, nullptr, update_precision, pool, &items);
    const double error = std::sqrt(std::max(squares, 0.0) / static_cast<double>(set.ratings.size()));
    if (!std::isfinite(error)) {
      return absl::InternalError(absl::StrCat("the rating model diverged in sweep ", sweep + 1));
    }
    if (update_precision) noise = Bounded(1 / std::max(error * error, 1e-12));
    ++sweep;
    if (progress != nullptr) progress->Step(sweep, absl::StrFormat("error %.4f", error * moments.deviation));
    if (sweep >= kLeastSweeps && std::fabs(error - last_error) < kLeastChange * error) break;
    last_error = error;
  }
  UpdateSide(by_user, items, noise, used_implicit, false, pool, &users);
  if (progress != nullptr) progress->End();
  RatingFit fit = Rescaled(set, moments, noise, users, items, used_implicit);
  fit.sweeps = sweep;
  return fit;
}

double RatingFitBytes(const RatingSet& set, const RatingFitOptions& options) {
  const double size = options.dim + 1.0, rows = static_cast<double>(set.num_users + set.num_items);
  const double block = size * static_cast<double>(RowStride(options.dim + 1));
  return sizeof(float) * rows * (block + 4 * size) +
         2.0 * static_cast<double>(set.ratings.size()) * (sizeof(float) + sizeof(uint32_t));
}

RatingContents RatingContentsOf(const RatingFit& fit, const RatingData& data) {
  RatingContents contents;
  contents.parameters = {.event_type = data.type,
                         .dim = static_cast<uint32_t>(fit.items.cols() - 1),
                         .mean = fit.mean,
                         .min = data.set.scale.min,
                         .max = data.set.scale.max};
  contents.items = ToVector(fit.items);
  contents.item_variances = ToVector(fit.item_variances);
  contents.implicit = ToVector(fit.implicit);
  contents.ridge = {fit.ridge.data(), fit.ridge.data() + fit.ridge.size()};
  contents.counts = fit.counts;
  return contents;
}

}  // namespace swiftlet
