#include "engine/trainer/als.h"

#include <cmath>
#include <random>

#include "Eigen/Cholesky"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using trainer_testing::CyclicData;
using trainer_testing::kDislike;
using trainer_testing::kRating;
using trainer_testing::kView;

// Every term of the objective, written out over all pairs in double.
double DenseLoss(const SparseRows& by_user, const SparseRows& by_item, const AlsModel& model,
                 const AlsOptions& o) {
  double loss = 0;
  for (Eigen::Index u = 0; u < model.users.rows(); ++u) {
    for (Eigen::Index i = 0; i < model.items.rows(); ++i) {
      const double score = model.users.row(u).cast<double>().dot(model.items.row(i).cast<double>());
      loss += o.alpha0 * score * score;
      for (size_t k = by_user.begin[u]; k < by_user.begin[u + 1]; ++k) {
        if (by_user.columns[k] == i) loss += by_user.weights[k] * (score - 1) * (score - 1);
      }
    }
    loss += o.lambda *
            std::pow(by_user.begin[u + 1] - by_user.begin[u] + o.alpha0 * model.items.rows(), o.nu) *
            model.users.row(u).squaredNorm();
  }
  for (Eigen::Index i = 0; i < model.items.rows(); ++i) {
    loss += o.lambda *
            std::pow(by_item.begin[i + 1] - by_item.begin[i] + o.alpha0 * model.users.rows(), o.nu) *
            model.items.row(i).squaredNorm();
  }
  return loss;
}

TEST(AlsTest, SolvesEveryRowAsADenseSolveDoes) {
  const Dataset data = CyclicData(7, 2, 6, 5, 3);
  const std::vector<EventClass> classes = MakeEventClasses(data, {});
  SparseRows rows = MakePositives(data, classes, {});
  for (size_t k = 0; k < rows.weights.size(); ++k) rows.weights[k] = 1 + static_cast<float>(k % 3);
  AlsOptions options{.dim = 3, .lambda = 0.05f, .alpha0 = 0.2f, .nu = 0.7f};
  const MatrixF items = MatrixF::Random(static_cast<Eigen::Index>(data.num_items()), 3);
  MatrixF users;
  SolveAlsSide(rows, items, options, nullptr, &users);
  for (size_t u = 0; u < data.num_users(); ++u) {
    Eigen::MatrixXd a = Eigen::MatrixXd::Zero(3, 3);
    Eigen::VectorXd b = Eigen::VectorXd::Zero(3);
    for (Eigen::Index i = 0; i < items.rows(); ++i) {
      const Eigen::VectorXd v = items.row(i).transpose().cast<double>();
      double weight = 0;
      for (size_t k = rows.begin[u]; k < rows.begin[u + 1]; ++k) {
        if (rows.columns[k] == i) weight += rows.weights[k];
      }
      a += (options.alpha0 + weight) * v * v.transpose();
      b += weight * v;
    }
    a.diagonal().array() +=
        0.05 * std::pow(rows.begin[u + 1] - rows.begin[u] + 0.2 * static_cast<double>(items.rows()), 0.7);
    const Eigen::VectorXd expected = a.ldlt().solve(b);
    EXPECT_LT((users.row(u).transpose().cast<double>() - expected).norm(), 1e-4 * (1 + expected.norm()))
        << "user " << u;
  }
}

// Rows of a few neighbours are solved by neighbours, others by dimensions, small and large systems by
// different routines: all must agree with the normal equations.
TEST(AlsTest, SolvesRowsOfAnyLengthAsADenseSolveDoes) {
  std::mt19937_64 random(7);
  constexpr uint32_t kItems = 300;
  for (const uint32_t dim : {5u, 48u, 80u}) {
    SparseRows rows;
    rows.begin.push_back(0);
    for (const uint32_t count : {0u, 1u, 4u, 5u, 6u, 31u, 33u, 47u, 48u, 79u, 80u, 200u}) {
      for (uint32_t k = 0; k < count; ++k) {
        rows.columns.push_back((k * 37 + count) % kItems);
        rows.weights.push_back(0.5f + static_cast<float>(k % 4));
      }
      rows.begin.push_back(rows.columns.size());
    }
    MatrixF items(kItems, dim);
    std::normal_distribution<float> normal;
    for (Eigen::Index k = 0; k < items.size(); ++k) items.data()[k] = normal(random);
    const AlsOptions options{.dim = dim, .lambda = 0.02f, .alpha0 = 0.1f, .nu = 0.9f};
    MatrixF solution;
    SolveAlsSide(rows, items, options, nullptr, &solution);
    const Eigen::MatrixXd v = items.cast<double>();
    for (size_t r = 0; r < rows.num_rows(); ++r) {
      Eigen::MatrixXd a = double{options.alpha0} * v.transpose() * v;
      Eigen::VectorXd b = Eigen::VectorXd::Zero(dim);
      for (size_t k = rows.begin[r]; k < rows.begin[r + 1]; ++k) {
        const Eigen::VectorXd x = v.row(rows.columns[k]).transpose();
        a += double{rows.weights[k]} * x * x.transpose();
        b += double{rows.weights[k]} * x;
      }
      a.diagonal().array() += 0.02 * std::pow(rows.begin[r + 1] - rows.begin[r] + 0.1 * kItems, 0.9);
      const Eigen::VectorXd expected = a.ldlt().solve(b);
      EXPECT_LT((solution.row(r).transpose().cast<double>() - expected).norm(),
                1e-4 * (0.1 + expected.norm()))
          << "dim " << dim << ", row " << r;
    }
  }
}

TEST(AlsTest, ReportedLossIsTheObjectiveAndNeverGrows) {
  const Dataset data = CyclicData(20, 2, 8, 6, 5);
  const SparseRows by_user = MakePositives(data, MakeEventClasses(data, {}), {});
  const SparseRows by_item = Transpose(by_user, data.num_items());
  double previous = INFINITY;
  for (uint32_t epochs = 1; epochs <= 6; ++epochs) {
    AlsOptions options{.dim = 4, .epochs = epochs};
    Progress silent(nullptr);
    const AlsModel model = *TrainAls(by_user, data.num_items(), options, nullptr, &silent);
    // The result's users were solved once more, for the final items.
    EXPECT_LE(AlsLoss(by_user, by_item, model, options, nullptr), model.loss * 1.0001);
    EXPECT_NEAR(AlsLoss(by_user, by_item, model, options, nullptr),
                DenseLoss(by_user, by_item, model, options), 1e-3 * model.loss);
    EXPECT_LT(model.loss, previous);
    previous = model.loss;
  }
}

TEST(AlsTest, IsTheSameWithAnyNumberOfThreads) {
  const Dataset data = CyclicData(300, 5, 40, 6, 5);
  const SparseRows rows = MakePositives(data, MakeEventClasses(data, {}), {});
  ThreadPool pool(3);
  Progress silent(nullptr);
  const AlsOptions options{.dim = 9, .epochs = 3};
  const AlsModel a = *TrainAls(rows, data.num_items(), options, nullptr, &silent);
  const AlsModel b = *TrainAls(rows, data.num_items(), options, &pool, &silent);
  EXPECT_EQ(a.items, b.items);
  EXPECT_EQ(a.users, b.users);
  EXPECT_EQ(a.loss, b.loss);
}

TEST(AlsTest, PositivesTakeTheNewestSignTheLargestWeightAndSkipMarkedEvents) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("u", "liked then disliked", kView, 0, 1);
  builder.AddEvent("u", "liked then disliked", kDislike, 0, 2);
  builder.AddEvent("u", "purchased", kView, 0, 3);
  builder.AddEvent("u", "purchased", 5, 0, 4);
  builder.AddEvent("u", "purchased", kView, 0, 5);
  builder.AddEvent("u", "skipped", kRating, 0, 6);
  const Dataset data = *builder.Build();
  std::vector<bool> skip(6, false);
  skip[5] = true;
  const SparseRows rows = MakePositives(data, MakeEventClasses(data, {}), skip);
  EXPECT_THAT(rows.begin, ElementsAre(0, 1));
  ASSERT_EQ(rows.columns.size(), 1u);
  EXPECT_EQ(data.item_ids[rows.columns[0]], "purchased");
  EXPECT_EQ(rows.weights[0], 5.0f);
}

TEST(AlsTest, TransposeTurnsRowsIntoColumns) {
  const SparseRows rows{.begin = {0, 2, 2, 3}, .columns = {0, 2, 2}, .weights = {1, 2, 3}};
  const SparseRows columns = Transpose(rows, 4);
  EXPECT_THAT(columns.begin, ElementsAre(0, 1, 1, 3, 3));
  EXPECT_THAT(columns.columns, ElementsAre(0, 0, 2));
  EXPECT_THAT(columns.weights, ElementsAre(1, 2, 3));
}

}  // namespace
}  // namespace swiftlet
