#include "engine/trainer/factorisation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "Eigen/Cholesky"
#include "Eigen/SVD"
#include "absl/strings/str_cat.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/trainer/factor_models.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using trainer_testing::kRating;
constexpr size_t kUsers = 40, kItems = 25;

// Pairs at random, denser within two blocks, and the same as a matrix.
SparseRows Pairs(Eigen::MatrixXd* dense) {
  std::mt19937_64 random(2);
  SparseRows rows;
  rows.begin.push_back(0);
  *dense = Eigen::MatrixXd::Zero(kUsers, kItems);
  for (size_t u = 0; u < kUsers; ++u) {
    for (size_t i = 0; i < kItems; ++i) {
      if (random() % 10 >= (u % 2 == i % 2 ? 5u : 1u)) continue;
      rows.columns.push_back(static_cast<uint32_t>(i));
      rows.weights.push_back(1);
      (*dense)(static_cast<Eigen::Index>(u), static_cast<Eigen::Index>(i)) = 1;
    }
    rows.begin.push_back(rows.columns.size());
  }
  return rows;
}

// R X V^T: what the factors say about the users they were fitted to.
Eigen::MatrixXd Scores(const Eigen::MatrixXd& r, const ItemFactors& factors) {
  return r * factors.inputs.cast<double>() * factors.items.cast<double>().transpose();
}

TEST(FactorSvdTest, IsTheTruncatedSvd) {
  Eigen::MatrixXd r;
  const SparseRows pairs = Pairs(&r);
  const auto factors = FactorSvd(pairs, kItems, {.dim = 6, .iterations = 30}, nullptr);
  ASSERT_TRUE(factors.ok()) << factors.status();
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(r, Eigen::ComputeThinU | Eigen::ComputeThinV);
  for (const Eigen::Index rank : {1, 3, 6}) {
    const Eigen::MatrixXd expected = svd.matrixU().leftCols(rank) *
                                     svd.singularValues().head(rank).asDiagonal() *
                                     svd.matrixV().leftCols(rank).transpose();
    const ItemFactors part{factors->items.leftCols(rank), factors->inputs.leftCols(rank)};
    EXPECT_LT((Scores(r, part) - expected).cwiseAbs().maxCoeff(), 2e-3) << rank;
  }
  ThreadPool pool(2);
  const auto again = FactorSvd(pairs, kItems, {.dim = 6, .iterations = 30}, &pool);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->items, factors->items);
}

TEST(FactorSvdTest, WithAnExponentIsTheLowPassFilter) {
  Eigen::MatrixXd r;
  const SparseRows pairs = Pairs(&r);
  const auto factors = FactorSvd(pairs, kItems, {.dim = 4, .item_exponent = 0.5f, .iterations = 40}, nullptr);
  ASSERT_TRUE(factors.ok()) << factors.status();
  const Eigen::VectorXd c = r.colwise().sum().transpose().array().max(1).rsqrt();
  const Eigen::VectorXd d = r.rowwise().sum().array().max(1).rsqrt();
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(d.asDiagonal() * r * c.asDiagonal(), Eigen::ComputeThinV);
  const Eigen::MatrixXd v = svd.matrixV().leftCols(4);
  const Eigen::MatrixXd expected =
      r * c.asDiagonal() * v * v.transpose() * c.cwiseInverse().asDiagonal().toDenseMatrix();
  EXPECT_LT((Scores(r, *factors) - expected).cwiseAbs().maxCoeff(), 5e-3);
}

TEST(FactorNmfTest, FactorsAreNotNegativeAndExplainMoreThanTheMean) {
  Eigen::MatrixXd r;
  const SparseRows pairs = Pairs(&r);
  const auto factors = FactorNmf(pairs, kItems, {.dim = 5, .lambda = 0.01f, .epochs = 200}, nullptr);
  ASSERT_TRUE(factors.ok()) << factors.status();
  EXPECT_GE(factors->items.minCoeff(), 0);
  EXPECT_GT(factors->items.maxCoeff(), 0);
  // Fold-in is least squares for the items' factors.
  const Eigen::MatrixXd h = factors->items.cast<double>();
  Eigen::MatrixXd gram = h.transpose() * h;
  gram.diagonal().array() += 0.01;
  const Eigen::MatrixXd expected = (gram.llt().solve(h.transpose())).transpose();
  EXPECT_LT((factors->inputs.cast<double>() - expected).cwiseAbs().maxCoeff(),
            1e-3 * expected.cwiseAbs().maxCoeff());
  // Nothing of rank 5 comes closer than the SVD; factors that are not negative come near.
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(r);
  const double best = svd.singularValues().tail(kItems - 5).squaredNorm();
  const double error = (r - Scores(r, *factors)).squaredNorm();
  EXPECT_GE(error, best * 0.999);
  EXPECT_LT(error, best * 1.25);
}

// Users of two groups, each with items of its own.
TEST(FactorModelsTest, RecommendWithinTheGroupAndExplainEveryTerm) {
  DatasetBuilder builder(EventTypeTable::Default());
  std::mt19937_64 random(3);
  for (uint32_t u = 0; u < 80; ++u) {
    for (int64_t e = 0; e < 8; ++e) {
      builder.AddEvent(absl::StrCat("u", u), absl::StrCat(u % 2 == 0 ? "a" : "b", random() % 12), kRating, 5,
                       1'000'000 + e * 1000);
    }
  }
  const Dataset data = *builder.Build();
  Progress quiet(nullptr);
  for (const char* kind : {"pure-svd", "nmf"}) {
    SCOPED_TRACE(kind);
    TrainingOptions options;
    options.kind = kind;
    options.attention.als.dim = 4;
    absl::StatusOr<TrainedModel> model = TrainModel({.data = &data}, options, nullptr, &quiet);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_GT(model->validation_ndcg, 0.1);
    EXPECT_TRUE(model->chosen.contains("rank"));
    const TrainingOptions refit = OptionsForRefit(options, *model);
    const absl::StatusOr<TrainedModel> again = TrainModel({.data = &data}, refit, nullptr, &quiet);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->contents.item_vectors, model->contents.item_vectors);
    const testing::TempDir dir;
    ASSERT_TRUE(WriteTrainedModel(dir.path(), *std::move(model), data, 1, 1000).ok());
    const auto snapshot = ModelSnapshot::Load(dir.path(), {});
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    const auto view = CatalogView::Build(**snapshot, {});
    const HistoryEvent history[] = {{ItemKeyOf("b1"), 1000, 5, kRating}, {ItemKeyOf("b2"), 2000, 5, kRating}};
    Scratch scratch;
    Recommendation shown;
    RecommendQuery query;
    query.k = 6;
    query.explain = true;
    ASSERT_TRUE(Recommend(**snapshot, *view, query, {.history = history}, scratch, &shown).ok());
    ASSERT_EQ(shown.items.size(), 6u);
    for (const RecommendedItem& item : shown.items) EXPECT_EQ(view->ItemId(item.row)[0], 'b');
  }
}

}  // namespace
}  // namespace swiftlet
