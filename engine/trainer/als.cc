#include "engine/trainer/als.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "Eigen/Cholesky"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/linear_algebra.h"

namespace swiftlet {
namespace {

constexpr size_t kRowsPerPiece = 64;
constexpr Eigen::Index kSmall = 32;  // below, a call of LAPACK costs more than it saves

// y by the solution of matrix * x = y; the lower triangle of the matrix counts, and is lost.
void SolvePositiveDefinite(MatrixF* matrix, VectorF* y) {
  const auto n = static_cast<size_t>(matrix->rows());
  if (matrix->rows() < kSmall) {
    const Eigen::LLT<Eigen::Ref<MatrixF>> llt(*matrix);
    llt.solveInPlace(*y);
  } else if (Cholesky(n, matrix->data())) {
    SolveCholesky(n, matrix->data(), y->data());
  } else {
    y->setZero();  // numbers beyond float's range: the row has no say until the next epoch
  }
}

}  // namespace

SparseRows MakePositives(const Dataset& data, std::span<const EventClass> classes,
                         const std::vector<bool>& skip) {
  SparseRows rows;
  rows.begin.push_back(0);
  constexpr size_t kNone = std::numeric_limits<size_t>::max();
  struct Pair {
    uint32_t item;
    float weight;
    bool positive;
  };
  std::vector<Pair> pairs;
  std::vector<size_t> pair_of(data.num_items(), kNone);
  for (size_t u = 0; u < data.num_users(); ++u) {
    pairs.clear();
    for (size_t e = data.user_begin[u]; e < data.user_begin[u + 1]; ++e) {
      if (!skip.empty() && skip[e]) continue;
      const TrainingEvent& event = data.events[e];
      const EventType* type = data.event_types.FindById(event.type);
      const bool positive = classes[ClassOfEvent(classes, event.type, event.value)].sign > 0;
      const float weight = positive && type != nullptr ? std::fabs(type->weight) : 0;
      size_t& at = pair_of[event.item];
      if (at == kNone) {
        at = pairs.size();
        pairs.push_back({event.item, 0, false});
      }
      pairs[at].positive = positive;
      pairs[at].weight = std::max(pairs[at].weight, weight);
    }
    for (const Pair& pair : pairs) {
      pair_of[pair.item] = kNone;
      if (!pair.positive) continue;
      rows.columns.push_back(pair.item);
      rows.weights.push_back(pair.weight);
    }
    rows.begin.push_back(rows.columns.size());
  }
  return rows;
}

SparseRows Transpose(const SparseRows& rows, size_t num_columns) {
  SparseRows result;
  result.begin.assign(num_columns + 1, 0);
  for (const uint32_t c : rows.columns) ++result.begin[c + 1];
  std::partial_sum(result.begin.begin(), result.begin.end(), result.begin.begin());
  result.columns.resize(rows.columns.size());
  result.weights.resize(rows.columns.size());
  std::vector<size_t> next(result.begin.begin(), result.begin.end() - 1);
  for (size_t r = 0; r < rows.num_rows(); ++r) {
    for (size_t k = rows.begin[r]; k < rows.begin[r + 1]; ++k) {
      const size_t at = next[rows.columns[k]]++;
      result.columns[at] = static_cast<uint32_t>(r);
      result.weights[at] = rows.weights[k];
    }
  }
  return result;
}

float AlsRegularisation(const AlsOptions& options, size_t count, size_t other) {
  return options.lambda * std::pow(count + options.alpha0 * static_cast<float>(other), options.nu);
}

void SolveAlsSide(const SparseRows& rows, const MatrixF& fixed, const AlsOptions& options, ThreadPool* pool,
                  MatrixF* solution) {
  const Eigen::Index dim = fixed.cols();
  // Along the axes of `fixed`, alpha0 * fixed^T fixed is diagonal, and with it what all rows have in common:
  // row r solves (D_r + X^T W X) p = X^T w, D_r diagonal, X its [count, dim] neighbours.
  const Eigensystem axes = DecomposeSymmetric(GramOfColumns(fixed, pool));
  const VectorF gram = options.alpha0 * axes.values.cwiseMax(0.0f);
  const MatrixF rotated = Multiply(fixed, axes.vectors, pool);
  MatrixF solved(static_cast<Eigen::Index>(rows.num_rows()), dim);
  const ScopedBlasThreads one(1);
  ForPieces(pool, rows.num_rows(), kRowsPerPiece, [&](size_t begin, size_t end, size_t) {
    MatrixF x, matrix;
    VectorF diagonal(dim), root, y;
    for (size_t r = begin; r < end; ++r) {
      const auto count = static_cast<Eigen::Index>(rows.begin[r + 1] - rows.begin[r]);
      if (count == 0) {
        solved.row(r).setZero();
        continue;
      }
      const float regularisation = AlsRegularisation(options, static_cast<size_t>(count), fixed.rows());
      diagonal = gram.array() + regularisation;
      x.resize(count, dim);
      root.resize(count);
      for (Eigen::Index k = 0; k < count; ++k) {
        x.row(k) = rotated.row(rows.columns[rows.begin[r] + k]);
        root[k] = std::sqrt(rows.weights[rows.begin[r] + k]);
      }
      x = root.asDiagonal() * x;
      if (count < dim) {
        // Woodbury: with B = W^1/2 X, (D + B^T B)^-1 B^T = D^-1 B^T (I + B D^-1 B^T)^-1.
        matrix.setIdentity(count, count);
        const MatrixF scaled = x * diagonal.array().rsqrt().matrix().asDiagonal();
        AddGramOfRows(scaled.data(), count, dim, matrix.data());
        y = root;
        SolvePositiveDefinite(&matrix, &y);
        solved.row(r) = (x.transpose() * y).cwiseQuotient(diagonal).transpose();
      } else {
        matrix.setZero(dim, dim);
        matrix.diagonal() = diagonal;
        AddGramOfColumns(x.data(), count, dim, matrix.data());
        y = x.transpose() * root;
        SolvePositiveDefinite(&matrix, &y);
        solved.row(r) = y.transpose();
      }
    }
  });
  *solution = Multiply(solved, axes.vectors.transpose(), pool);
}

double AlsLoss(const SparseRows& by_user, const SparseRows& by_item, const AlsModel& model,
               const AlsOptions& options, ThreadPool* pool) {
  const auto squares = [](const auto& row) { return static_cast<double>(row.squaredNorm()); };
  std::vector<double> pieces((by_user.num_rows() + kRowsPerPiece - 1) / kRowsPerPiece, 0.0);
  ForPieces(pool, by_user.num_rows(), kRowsPerPiece, [&](size_t begin, size_t end, size_t) {
    double sum = 0;
    for (size_t u = begin; u < end; ++u) {
      for (size_t k = by_user.begin[u]; k < by_user.begin[u + 1]; ++k) {
        const double error = model.users.row(u).dot(model.items.row(by_user.columns[k])) - 1.0;
        sum += by_user.weights[k] * error * error;
      }
      const size_t count = by_user.begin[u + 1] - by_user.begin[u];
      sum += AlsRegularisation(options, count, model.items.rows()) * squares(model.users.row(u));
    }
    pieces[begin / kRowsPerPiece] = sum;
  });
  double loss = std::accumulate(pieces.begin(), pieces.end(), 0.0);
  for (size_t i = 0; i < by_item.num_rows(); ++i) {
    const size_t count = by_item.begin[i + 1] - by_item.begin[i];
    loss += AlsRegularisation(options, count, model.users.rows()) * squares(model.items.row(i));
  }
  const MatrixF users_gram = GramOfColumns(model.users, pool);
  const MatrixF items_gram = GramOfColumns(model.items, pool);
  return loss + options.alpha0 * static_cast<double>(users_gram.cwiseProduct(items_gram).sum());
}

absl::StatusOr<AlsModel> TrainAls(const SparseRows& by_user, size_t num_items, const AlsOptions& options,
                                  ThreadPool* pool, Progress* progress,
                                  const std::function<void(uint32_t, const AlsModel&)>& after_epoch) {
  const SparseRows by_item = Transpose(by_user, num_items);
  AlsModel model;
  model.items.resize(static_cast<Eigen::Index>(num_items), options.dim);
  std::mt19937_64 random(options.seed);
  std::normal_distribution<float> normal(0, options.init_stddev / std::sqrt(static_cast<float>(options.dim)));
  for (Eigen::Index i = 0; i < model.items.size(); ++i) model.items.data()[i] = normal(random);
  progress->Begin("iALS epoch", options.epochs);
  for (uint32_t epoch = 0; epoch < options.epochs; ++epoch) {
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    SolveAlsSide(by_user, model.items, options, pool, &model.users);
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    SolveAlsSide(by_item, model.users, options, pool, &model.items);
    model.loss = AlsLoss(by_user, by_item, model, options, pool);
    if (!std::isfinite(model.loss)) {
      return absl::InternalError(absl::StrCat("iALS diverged in epoch ", epoch + 1, ": loss ", model.loss));
    }
    progress->Step(epoch + 1, absl::StrCat("loss ", model.loss));
    if (after_epoch) after_epoch(epoch + 1, model);
  }
  progress->End();
  SolveAlsSide(by_user, model.items, options, pool, &model.users);
  return model;
}

}  // namespace swiftlet
