#include "engine/trainer/content_calibration.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "Eigen/Cholesky"

namespace swiftlet {
namespace {

// Three numbers are kept for each user and candidate.
constexpr size_t kMaxCandidates = 4'000'000;
constexpr double kPriorPicks = 10;
constexpr int kNewtonSteps = 30;

// Of one user: the parts of each candidate's score, and which were picked.
struct Choices {
  Eigen::Matrix<float, Eigen::Dynamic, 3, Eigen::RowMajor> parts;
  std::vector<int32_t> picks;
};

struct Likelihood {
  double value = 0;
  Eigen::Vector3d gradient = Eigen::Vector3d::Zero();
  Eigen::Matrix3d information = Eigen::Matrix3d::Zero();  // minus the second derivatives
};

Likelihood LikelihoodOf(std::span<const Choices> choices, const Eigen::Vector3d& scales) {
  Likelihood result;
  const Eigen::Vector3f weights = scales.cast<float>();
  for (const Choices& user : choices) {
    Eigen::ArrayXf p = (user.parts * weights).array();
    const float most = p.maxCoeff();
    const Eigen::ArrayXf scores = p;
    p = (p - most).exp();
    const double sum = p.cast<double>().sum();
    p /= static_cast<float>(sum);
    const Eigen::Vector3d mean = (user.parts.transpose() * p.matrix()).cast<double>();
    const Eigen::Matrix3d second =
        (user.parts.transpose() * p.matrix().asDiagonal() * user.parts).cast<double>();
    const auto n = static_cast<double>(user.picks.size());
    for (const int32_t pick : user.picks) {
      result.value += scores[pick] - most - std::log(sum / static_cast<double>(p.size()));
      result.gradient += user.parts.row(pick).transpose().cast<double>() - mean;
    }
    result.information += n * (second - mean * mean.transpose());
  }
  return result;
}

}  // namespace

VectorF MeanDirection(const MatrixF& vectors) {
  if (vectors.rows() == 0) return VectorF::Zero(vectors.cols());
  const VectorF mean = vectors.colwise().mean().transpose();
  const float norm = mean.norm();
  return norm > 0 ? VectorF(mean / norm) : mean;
}

void ScaleRows(const VectorF& mean_direction, const ContentScales& scales, const Eigen::RowVectorXf& mean,
               Eigen::Ref<MatrixF> rows) {
  for (Eigen::Index r = 0; r < rows.rows(); ++r) {
    const Eigen::RowVectorXf deviation = rows.row(r) - mean;
    const float along = deviation * mean_direction;
    rows.row(r) = mean + scales.personal * deviation +
                  (scales.shared - scales.personal) * along * mean_direction.transpose();
  }
}

FittedScales FitScales(const ContentUsers& users, std::span<const int32_t> item_rows, const MatrixF& vectors,
                       const VectorF& biases) {
  FittedScales result;
  const auto num_candidates = static_cast<size_t>(vectors.rows());
  const VectorF direction = MeanDirection(users.vectors);
  std::vector<Choices> choices;
  double squares = 0;
  for (size_t u = 0; u < users.picks.size() && (choices.size() + 1) * num_candidates <= kMaxCandidates; ++u) {
    Choices choice;
    for (const uint32_t item : users.picks[u]) {
      if (item_rows[item] >= 0) choice.picks.push_back(item_rows[item]);
    }
    if (choice.picks.empty()) continue;
    const VectorF user = users.vectors.row(static_cast<Eigen::Index>(u)).transpose();
    choice.parts.resize(vectors.rows(), 3);
    choice.parts.col(0) = biases;
    choice.parts.col(1) = vectors * direction * user.dot(direction);
    choice.parts.col(2) = vectors * user - choice.parts.col(1);
    const VectorF total = choice.parts.rowwise().sum();
    squares += double{(total.array() - total.mean()).square().mean()};
    result.num_picks += choice.picks.size();
    choices.push_back(std::move(choice));
  }
  const double deviation = choices.empty() ? 0 : std::sqrt(squares / static_cast<double>(choices.size()));
  if (!(deviation > 0) || !std::isfinite(deviation)) return result;
  // In units in which scores vary by 1, so that the prior means the same for every model.
  for (Choices& choice : choices) choice.parts /= static_cast<float>(deviation);
  const Eigen::Vector3d prior(1, 1, 0.5);
  const auto objective = [&](const Likelihood& l, const Eigen::Vector3d& at) {
    return l.value - kPriorPicks / 2 * (at - prior).squaredNorm();
  };
  Eigen::Vector3d scales = prior;
  Likelihood likelihood = LikelihoodOf(choices, scales);
  for (int step = 0; step < kNewtonSteps; ++step) {
    const Eigen::Vector3d gradient = likelihood.gradient - kPriorPicks * (scales - prior);
    Eigen::Matrix3d information = likelihood.information;
    information.diagonal().array() += kPriorPicks;
    const Eigen::Vector3d direction_of_step = information.llt().solve(gradient);
    double length = 1;
    bool better = false;
    for (; length > 1e-3 && !better; length /= 2) {
      const Eigen::Vector3d next = (scales + length * direction_of_step).cwiseMax(0);
      const Likelihood at_next = LikelihoodOf(choices, next);
      if (objective(at_next, next) <= objective(likelihood, scales) + 1e-6) continue;
      scales = next;
      likelihood = at_next;
      better = true;
    }
    if (!better) break;
  }
  result.log_likelihood = likelihood.value / static_cast<double>(result.num_picks);
  const double largest = scales.maxCoeff();
  if (!(largest > 0)) return result;
  scales /= largest;
  result.scales = {static_cast<float>(scales[0]), static_cast<float>(scales[1]),
                   static_cast<float>(scales[2])};
  return result;
}

Exposure::Exposure(const ContentUsers& users, const MatrixF& vectors, const VectorF& biases) {
  const auto k = static_cast<ptrdiff_t>(std::min<size_t>(kContentShown, biases.size()));
  for (size_t u = 0; u < users.best_scores.size(); ++u) {
    const VectorF scores =
        vectors * users.final_vectors.row(static_cast<Eigen::Index>(u)).transpose() + biases;
    User user{.others = users.best_scores[u], .held_out = {scores.data(), scores.data() + scores.size()}};
    std::partial_sort(user.held_out.begin(), user.held_out.begin() + k, user.held_out.end(),
                      std::greater<>());
    user.held_out.resize(static_cast<size_t>(k));
    users_.push_back(std::move(user));
  }
}

double Exposure::Share(float shift) const {
  size_t shown = 0;
  for (const User& user : users_) {
    size_t a = 0, b = 0;
    while (a + b < kContentShown && (a < user.others.size() || b < user.held_out.size())) {
      const bool take_new =
          a == user.others.size() || (b < user.held_out.size() && user.held_out[b] + shift > user.others[a]);
      ++(take_new ? b : a);
    }
    shown += b;
  }
  return users_.empty() ? 0 : static_cast<double>(shown) / static_cast<double>(users_.size() * kContentShown);
}

float Exposure::ShiftFor(double share, float limit) const {
  float low = -limit, high = limit;
  for (int i = 0; i < 30; ++i) {
    const float middle = (low + high) / 2;
    (Share(middle) < share ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace swiftlet
