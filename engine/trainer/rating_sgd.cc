#include "engine/trainer/rating_sgd.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/interrupt.h"

namespace swiftlet {
namespace {

constexpr float kDecay = 0.97f, kStartDeviation = 0.1f;

// Draws and updates of a fit.
class Descent {
 public:
  Descent(const RatingSet& set, const RatingSgdOptions& options)
      : options_(options), random_(options.seed), order_(set.num_users) {
    const RatingMoments moments = MomentsOf(set);
    m_.mean = static_cast<float>(moments.mean);
    m_.deviation = static_cast<float>(moments.deviation);
    rows_ = RatingsByUser(set, m_.mean, m_.deviation);
    const auto num_users = static_cast<Eigen::Index>(set.num_users);
    const auto num_items = static_cast<Eigen::Index>(set.num_items);
    const auto dim = static_cast<Eigen::Index>(options.dim);
    m_.user_bias.setZero(num_users);
    m_.item_bias.setZero(num_items);
    std::normal_distribution<float> normal(0, kStartDeviation);
    p_.resize(num_users, dim);
    m_.items.resize(num_items, dim);
    for (MatrixF* matrix : {&p_, &m_.items}) {
      for (Eigen::Index i = 0; i < matrix->size(); ++i) matrix->data()[i] = normal(random_);
    }
    // Nothing was learned of them.
    for (size_t u = 0; u < set.num_users; ++u) {
      if (rows_.Count(u) == 0) p_.row(static_cast<Eigen::Index>(u)).setZero();
    }
    std::vector<bool> rated(set.num_items);
    for (const Rating& r : set.ratings) rated[r.item] = true;
    for (size_t i = 0; i < set.num_items; ++i) {
      if (!rated[i]) m_.items.row(static_cast<Eigen::Index>(i)).setZero();
    }
    if (options.implicit) m_.y = MatrixF::Zero(num_items, dim);
    m_.users = p_;
    std::iota(order_.begin(), order_.end(), 0u);
  }

  void Epoch(float rate) {
    std::shuffle(order_.begin(), order_.end(), random_);
    for (const uint32_t u : order_) {
      if (rows_.Count(u) > 0) UpdateUser(u, rate);
    }
    if (!options_.implicit) {
      m_.users = p_;
      return;
    }
    for (size_t u = 0; u < rows_.num_rows(); ++u) {
      m_.users.row(static_cast<Eigen::Index>(u)) =
          p_.row(static_cast<Eigen::Index>(u)) + ImplicitSum(static_cast<uint32_t>(u));
    }
  }

  RatingSgdModel& model() { return m_; }

 private:
  Eigen::RowVectorXf ImplicitSum(uint32_t u) const {
    Eigen::RowVectorXf sum = Eigen::RowVectorXf::Zero(m_.items.cols());
    for (size_t k = rows_.begin[u]; k < rows_.begin[u + 1]; ++k) sum += m_.y.row(rows_.other[k]);
    if (rows_.Count(u) > 0) sum /= std::sqrt(static_cast<float>(rows_.Count(u)));
    return sum;
  }

  void UpdateUser(uint32_t u, float rate) {
    const float decay = rate * options_.regularisation;
    const bool implicit = options_.implicit;
    auto p = p_.row(u);
    float& user_bias = m_.user_bias[u];
    if (implicit) sum_ = ImplicitSum(u);
    gradient_ = Eigen::RowVectorXf::Zero(m_.items.cols());
    of_user_.resize(rows_.Count(u));
    std::iota(of_user_.begin(), of_user_.end(), rows_.begin[u]);
    std::shuffle(of_user_.begin(), of_user_.end(), random_);
    for (const size_t k : of_user_) {
      const uint32_t i = rows_.other[k];
      auto q = m_.items.row(i);
      if (implicit) {
        whole_ = p + sum_;
      } else {
        whole_ = p;
      }
      const float error = rows_.values[k] - user_bias - m_.item_bias[i] - whole_.dot(q);
      user_bias += rate * error - decay * user_bias;
      m_.item_bias[i] += rate * error - decay * m_.item_bias[i];
      if (implicit) gradient_ += error * q;
      p += rate * error * q - decay * p;
      q += rate * error * whole_ - decay * q;
    }
    if (!implicit) return;
    // The sum of y moves as p does: n terms with the factor n^-1/2 twice.
    const auto n = static_cast<float>(of_user_.size());
    gradient_ *= rate / std::sqrt(n);
    const float keep = std::exp(-decay * n);
    for (size_t k = rows_.begin[u]; k < rows_.begin[u + 1]; ++k) {
      auto y = m_.y.row(rows_.other[k]);
      y = keep * y + gradient_;
    }
  }

  const RatingSgdOptions options_;
  std::mt19937_64 random_;
  RatingRows rows_;
  std::vector<uint32_t> order_;
  std::vector<size_t> of_user_;
  MatrixF p_;
  Eigen::RowVectorXf sum_, gradient_, whole_;
  RatingSgdModel m_;
};

}  // namespace

absl::StatusOr<RatingSgdModel> FitRatingsSgd(const RatingSet& set, const RatingSgdOptions& options,
                                             const RatingEpochHook& hook) {
  Descent descent(set, options);
  float rate = options.learning_rate;
  for (uint32_t epoch = 1; epoch <= options.epochs; ++epoch, rate *= kDecay) {
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    descent.Epoch(rate);
    if (!descent.model().items.allFinite() || !descent.model().users.allFinite()) {
      return absl::InternalError(
          absl::StrCat("gradient descent diverged in epoch ", epoch, ": lower the learning rate"));
    }
    if (hook && !hook(epoch, descent.model())) break;
  }
  return std::move(descent.model());
}

}  // namespace swiftlet
