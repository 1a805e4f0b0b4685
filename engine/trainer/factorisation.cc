#include "engine/trainer/factorisation.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "Eigen/Cholesky"
#include "Eigen/QR"
#include "engine/base/status_macros.h"
#include "engine/kernels/dot.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/linear_algebra.h"

namespace swiftlet {
namespace {

constexpr size_t kGrain = 256;
constexpr uint32_t kOversampling = 10;

// rows * dense: [rows.num_rows(), dense.cols()].
MatrixF Times(const SparseRows& rows, const MatrixF& dense, ThreadPool* pool) {
  const auto width = static_cast<size_t>(dense.cols());
  MatrixF product = MatrixF::Zero(static_cast<Eigen::Index>(rows.num_rows()), dense.cols());
  ForPieces(pool, rows.num_rows(), kGrain, [&](size_t begin, size_t end, size_t) {
    for (size_t r = begin; r < end; ++r) {
      for (size_t e = rows.begin[r]; e < rows.begin[r + 1]; ++e) {
        AddScaled(rows.weights[e], dense.row(rows.columns[e]).data(), width,
                  product.row(static_cast<Eigen::Index>(r)).data());
      }
    }
  });
  return product;
}

MatrixF RandomMatrix(Eigen::Index rows, Eigen::Index columns, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  MatrixF matrix(rows, columns);
  for (Eigen::Index i = 0; i < matrix.size(); ++i) matrix.data()[i] = normal(random);
  return matrix;
}

// An orthonormal basis of the columns.
MatrixF Orthonormal(const MatrixF& matrix) {
  const Eigen::HouseholderQR<Eigen::MatrixXf> qr{Eigen::MatrixXf(matrix)};
  return qr.householderQ() * Eigen::MatrixXf::Identity(matrix.rows(), matrix.cols());
}

}  // namespace

absl::StatusOr<ItemFactors> FactorSvd(const SparseRows& by_user, size_t num_items, const SvdOptions& options,
                                      ThreadPool* pool) {
  const auto n = static_cast<Eigen::Index>(num_items);
  SparseRows rows = by_user;
  std::vector<float> scales(num_items, 1.0f);
  if (options.item_exponent != 0) {
    std::vector<float> counts(num_items, 0.0f);
    for (const uint32_t column : rows.columns) counts[column] += 1;
    for (size_t i = 0; i < num_items; ++i) {
      scales[i] = std::pow(std::max(counts[i], 1.0f), -options.item_exponent);
    }
    for (size_t u = 0; u < rows.num_rows(); ++u) {
      const auto count = static_cast<float>(rows.begin[u + 1] - rows.begin[u]);
      for (size_t e = rows.begin[u]; e < rows.begin[u + 1]; ++e) {
        rows.weights[e] *= scales[rows.columns[e]] / std::sqrt(count);
      }
    }
  }
  const SparseRows by_item = Transpose(rows, num_items);
  const auto smaller = static_cast<Eigen::Index>(std::min(num_items, rows.num_rows()));
  const Eigen::Index dim = std::min<Eigen::Index>(options.dim, smaller);
  const Eigen::Index width = std::min<Eigen::Index>(dim + kOversampling, smaller);
  MatrixF basis = Orthonormal(RandomMatrix(n, width, options.seed));
  for (uint32_t i = 0; i < options.iterations; ++i) {
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    basis = Orthonormal(Times(by_item, Times(rows, basis, pool), pool));
  }
  const Eigensystem inner = DecomposeSymmetric(GramOfColumns(Times(rows, basis, pool), pool));
  ItemFactors factors;
  factors.items = Multiply(basis, MatrixF(inner.vectors.leftCols(dim)), pool);
  factors.inputs = factors.items;
  for (Eigen::Index i = 0; i < n; ++i) {
    factors.inputs.row(i) *= scales[static_cast<size_t>(i)];
    factors.items.row(i) /= scales[static_cast<size_t>(i)];
  }
  return factors;
}

absl::StatusOr<ItemFactors> FactorNmf(const SparseRows& by_user, size_t num_items, const NmfOptions& options,
                                      ThreadPool* pool) {
  const auto dim = static_cast<Eigen::Index>(options.dim);
  const SparseRows by_item = Transpose(by_user, num_items);
  double sum = 0;
  for (const float weight : by_user.weights) sum += double{weight};
  const double cells = static_cast<double>(by_user.num_rows()) * static_cast<double>(num_items);
  // Products of the start have the mean of R.
  const auto size = static_cast<float>(std::sqrt(std::max(sum, 1e-12) / cells / options.dim));
  MatrixF users =
      RandomMatrix(static_cast<Eigen::Index>(by_user.num_rows()), dim, options.seed).cwiseAbs() * size;
  MatrixF items = RandomMatrix(static_cast<Eigen::Index>(num_items), dim, options.seed + 1).cwiseAbs() * size;
  const auto improve = [&](const SparseRows& rows, const MatrixF& fixed, MatrixF* solution) {
    const MatrixF gram = GramOfColumns(fixed, pool);
    const MatrixF right = Times(rows, fixed, pool);
    ForPieces(pool, rows.num_rows(), kGrain, [&](size_t begin, size_t end, size_t) {
      for (size_t r = begin; r < end; ++r) {
        auto row = solution->row(static_cast<Eigen::Index>(r));
        for (Eigen::Index k = 0; k < dim; ++k) {
          const float slope =
              right(static_cast<Eigen::Index>(r), k) - row.dot(gram.row(k)) - options.lambda * row[k];
          const float curvature = gram(k, k) + options.lambda;
          if (curvature > 0) row[k] = std::max(0.0f, row[k] + slope / curvature);
        }
      }
    });
  };
  for (uint32_t epoch = 0; epoch < options.epochs; ++epoch) {
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    improve(by_user, items, &users);
    improve(by_item, users, &items);
  }
  ItemFactors factors;
  Eigen::MatrixXf gram = GramOfColumns(items, pool);
  gram.diagonal().array() += options.lambda + 1e-6f * std::max(gram.trace() / static_cast<float>(dim), 1e-6f);
  factors.inputs = gram.llt().solve(items.transpose()).transpose();
  factors.items = std::move(items);
  return factors;
}

}  // namespace swiftlet
