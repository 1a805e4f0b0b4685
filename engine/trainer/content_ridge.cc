#include "engine/trainer/content_ridge.h"

#include <algorithm>

#include "engine/kernels/dot.h"

namespace swiftlet {
namespace {

constexpr size_t kTargetsAtOnce = 32;
using RowArray = Eigen::Array<double, 1, Eigen::Dynamic>;

// out [1, c] = x_i B.
void RowTimes(const SparseDesign& design, size_t i, const MatrixF& b, float* out) {
  const auto c = static_cast<size_t>(b.cols());
  std::fill_n(out, c, 0.0f);
  for (size_t e = design.row_begin[i]; e < design.row_begin[i + 1]; ++e) {
    AddScaled(design.values[e], &b.data()[design.columns[e] * c], c, out);
  }
}

// out += scale * x_i^T row.
void AddOuter(const SparseDesign& design, size_t i, float scale, const float* row, MatrixF* out) {
  const auto c = static_cast<size_t>(out->cols());
  for (size_t e = design.row_begin[i]; e < design.row_begin[i + 1]; ++e) {
    AddScaled(scale * design.values[e], row, c, &out->data()[design.columns[e] * c]);
  }
}

RowArray ColumnDots(const MatrixF& a, const MatrixF& b) {
  RowArray sums = RowArray::Zero(a.cols());
  for (Eigen::Index r = 0; r < a.rows(); ++r) {
    sums += a.row(r).array().cast<double>() * b.row(r).array().cast<double>();
  }
  return sums;
}

// Where the intercept is free it is eliminated: for given other coefficients the best one makes the weighted
// mean of the errors 0, so that rows and targets are taken as deviations from their weighted means.
MatrixF SolveColumns(const SparseDesign& design, const VectorF& weights, MatrixF targets,
                     const VectorF& preconditioner, const RidgeOptions& options) {
  const auto rows = static_cast<Eigen::Index>(design.num_columns);
  const Eigen::Index c = targets.cols();
  const bool has_intercept = options.intercept < design.num_columns;
  const auto intercept = static_cast<Eigen::Index>(options.intercept);
  const double total_weight = std::max(weights.cast<double>().sum(), 1e-300);
  const auto weighted_mean = [&](const MatrixF& values) -> Eigen::RowVectorXf {
    return (weights.cast<double>().transpose() * values.cast<double>() / total_weight).cast<float>();
  };
  // X^T W (values - their mean); nothing for the intercept.
  const auto back = [&](MatrixF& values, MatrixF* out) {
    if (has_intercept) values.rowwise() -= weighted_mean(values);
    for (size_t i = 0; i < design.num_rows(); ++i) {
      const auto r = static_cast<Eigen::Index>(i);
      if (weights[r] != 0) AddOuter(design, i, weights[r], values.row(r).data(), out);
    }
    if (has_intercept) out->row(intercept).setZero();
  };
  const Eigen::RowVectorXf target_mean = weighted_mean(targets);
  MatrixF solution = MatrixF::Zero(rows, c), residual = MatrixF::Zero(rows, c);
  back(targets, &residual);
  MatrixF z = preconditioner.asDiagonal() * residual;
  MatrixF direction = z, product(rows, c), fitted(targets.rows(), c);
  RowArray rz = ColumnDots(residual, z);
  const RowArray goal = rz * double{options.tolerance} * double{options.tolerance};
  for (uint32_t iteration = 0; iteration < options.max_iterations && (rz > goal).any(); ++iteration) {
    product = options.lambda * direction;
    for (size_t i = 0; i < design.num_rows(); ++i) {
      RowTimes(design, i, direction, fitted.row(static_cast<Eigen::Index>(i)).data());
    }
    back(fitted, &product);
    const RowArray curvature = ColumnDots(direction, product);
    const RowArray step = (curvature > 0 && rz > goal).select(rz / curvature.max(1e-300), 0.0);
    for (Eigen::Index r = 0; r < rows; ++r) {
      solution.row(r).array() += step.cast<float>() * direction.row(r).array();
      residual.row(r).array() -= step.cast<float>() * product.row(r).array();
    }
    z = preconditioner.asDiagonal() * residual;
    const RowArray next = ColumnDots(residual, z);
    const RowArray beta = (rz > 0).select(next / rz.max(1e-300), 0.0);
    for (Eigen::Index r = 0; r < rows; ++r) {
      direction.row(r) = z.row(r).array() + beta.cast<float>() * direction.row(r).array();
    }
    // A target that has arrived keeps its solution: its step is 0 from here on.
    rz = (rz > goal).select(next, rz);
  }
  if (has_intercept) {
    for (size_t i = 0; i < design.num_rows(); ++i) {
      RowTimes(design, i, solution, fitted.row(static_cast<Eigen::Index>(i)).data());
    }
    solution.row(intercept) = target_mean - weighted_mean(fitted);
  }
  return solution;
}

}  // namespace

MatrixF SolveRidge(const SparseDesign& design, const VectorF& weights, const MatrixF& targets,
                   const RidgeOptions& options, ThreadPool* pool) {
  const auto columns = static_cast<Eigen::Index>(design.num_columns);
  VectorF preconditioner = VectorF::Constant(columns, options.lambda);
  for (size_t i = 0; i < design.num_rows(); ++i) {
    for (size_t e = design.row_begin[i]; e < design.row_begin[i + 1]; ++e) {
      preconditioner[design.columns[e]] +=
          weights[static_cast<Eigen::Index>(i)] * design.values[e] * design.values[e];
    }
  }
  preconditioner = (preconditioner.array() > 0).select(preconditioner.array().inverse(), 0.0f);
  MatrixF solution(columns, targets.cols());
  ForPieces(pool, static_cast<size_t>(targets.cols()), kTargetsAtOnce, [&](size_t begin, size_t end, size_t) {
    const auto first = static_cast<Eigen::Index>(begin), count = static_cast<Eigen::Index>(end - begin);
    solution.middleCols(first, count) =
        SolveColumns(design, weights, targets.middleCols(first, count), preconditioner, options);
  });
  return solution;
}

MatrixF Predict(const SparseDesign& design, const MatrixF& coefficients) {
  MatrixF result(static_cast<Eigen::Index>(design.num_rows()), coefficients.cols());
  for (size_t i = 0; i < design.num_rows(); ++i) {
    RowTimes(design, i, coefficients, result.row(static_cast<Eigen::Index>(i)).data());
  }
  return result;
}

}  // namespace swiftlet
