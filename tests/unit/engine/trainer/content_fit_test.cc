#include "engine/trainer/content_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "Eigen/Cholesky"
#include "absl/strings/str_cat.h"
#include "engine/trainer/content_ridge.h"

namespace swiftlet {
namespace {

TEST(ContentRidgeTest, SolvesTheNormalEquations) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  constexpr Eigen::Index kRows = 60, kColumns = 17, kTargets = 40;
  SparseDesign design;
  design.num_columns = kColumns;
  Eigen::MatrixXd x = Eigen::MatrixXd::Zero(kRows, kColumns);
  Eigen::VectorXd w(kRows);
  VectorF weights(kRows);
  MatrixF targets(kRows, kTargets);
  for (Eigen::Index i = 0; i < kRows; ++i) {
    for (int e = 0; e < 6; ++e) {  // some columns twice
      const auto column = static_cast<uint32_t>(random() % (kColumns - 1));
      const float value = normal(random);
      design.columns.push_back(column);
      design.values.push_back(value);
      x(i, column) += value;
    }
    design.columns.push_back(kColumns - 1);
    design.values.push_back(1);
    x(i, kColumns - 1) = 1;
    design.row_begin.push_back(design.columns.size());
    w[i] = weights[i] = i % 7 == 0 ? 0.0f : std::fabs(normal(random));
    for (Eigen::Index t = 0; t < kTargets; ++t) targets(i, t) = 3 + normal(random);
  }
  const MatrixF found = SolveRidge(
      design, weights, targets,
      {.lambda = 0.7f, .intercept = kColumns - 1, .max_iterations = 200, .tolerance = 1e-7f}, nullptr);
  Eigen::MatrixXd normal_matrix = x.transpose() * w.asDiagonal() * x;
  normal_matrix.diagonal().array() += 0.7;
  normal_matrix(kColumns - 1, kColumns - 1) -= 0.7;
  const Eigen::MatrixXd expected =
      normal_matrix.llt().solve(x.transpose() * w.asDiagonal() * targets.cast<double>());
  EXPECT_LT((found.cast<double>() - expected).cwiseAbs().maxCoeff(), 1e-4);
  ThreadPool pool(2);
  EXPECT_EQ(SolveRidge(design, weights, targets, {.lambda = 0.7f}, &pool),
            SolveRidge(design, weights, targets, {.lambda = 0.7f}, nullptr));
}

// Items of ten kinds: the kind is a category, and the vector is the kind's with noise. The title tells
// nothing.
class ContentFitTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kItems = 300, kDim = 6, kKinds = 10;

  ContentFitTest() : kinds_(kKinds, kDim) {
    std::mt19937_64 random(3);
    std::normal_distribution<float> normal;
    for (Eigen::Index i = 0; i < kinds_.size(); ++i) kinds_.data()[i] = normal(random);
    for (uint32_t i = 0; i < kItems; ++i) {
      const uint32_t kind = i % kKinds;
      ids_.push_back(absl::StrCat("i", i));
      titles_.push_back(absl::StrCat("word", random() % 50));
      categories_.push_back({absl::StrCat("kind ", kind)});
      for (uint32_t j = 0; j < kDim; ++j) {
        vectors_.push_back(kinds_(kind, j) + 0.1f * normal(random));
        inputs_.push_back(2 * vectors_.back());
      }
      bias_.push_back(static_cast<float>(kind) + 0.1f * normal(random));
      popularity_.push_back(static_cast<float>(1 + random() % 100));
    }
  }
  ContentTargets Targets() const {
    return {.dim = kDim,
            .item_ids = ids_,
            .vectors = vectors_,
            .input_vectors = inputs_,
            .bias = bias_,
            .attention_logits = {},
            .popularity = popularity_};
  }
  std::vector<ItemContent> Content(bool described = true) const {
    std::vector<ItemContent> content(kItems);
    for (uint32_t i = 0; described && i < kItems; ++i) {
      content[i] = {.title = titles_[i], .categories = categories_[i]};
    }
    return content;
  }
  ContentPlace PlaceOf(const FittedContent& fitted, const ItemContent& content,
                       std::span<const ExternalVector> vectors = {}) const {
    ContentScratch scratch;
    ContentPlace place;
    EXPECT_TRUE(fitted.tower.View(kDim).Place(content, vectors, scratch, &place));
    return place;
  }

  MatrixF kinds_;
  std::vector<std::string> ids_, titles_;
  std::vector<std::vector<std::string>> categories_;
  std::vector<float> vectors_, inputs_, bias_, popularity_;
};

TEST_F(ContentFitTest, FindsWhatACategoryTells) {
  const auto fitted = FitContent(Targets(), Content(), {}, {}, nullptr);
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  EXPECT_EQ(fitted->num_items, kItems);
  EXPECT_GT(fitted->score_r2, 0.9);
  EXPECT_GT(fitted->bias_r2, 0.9);
  for (uint32_t kind = 0; kind < kKinds; ++kind) {
    const std::vector<std::string> categories = {absl::StrCat("kind ", kind)};
    const ContentPlace place = PlaceOf(*fitted, {.title = "something new", .categories = categories});
    for (uint32_t j = 0; j < kDim; ++j) {
      EXPECT_NEAR(place.vector[j], kinds_(kind, j), 0.3) << kind;
      EXPECT_NEAR(place.input_vector[j], 2 * place.vector[j], 1e-3);
    }
    EXPECT_NEAR(place.bias, kind, 0.6);
  }
}

TEST_F(ContentFitTest, ItemsWithoutEventsAreNotFittedTo) {
  for (uint32_t i = 0; i < kItems; i += 2) {
    popularity_[i] = 0;
    for (uint32_t j = 0; j < kDim; ++j) vectors_[i * kDim + j] = 1e6f;
  }
  const auto fitted = FitContent(Targets(), Content(), {}, {}, nullptr);
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  EXPECT_EQ(fitted->num_items, kItems / 2);
  const ContentPlace place = PlaceOf(*fitted, {.categories = categories_[1]});
  EXPECT_LT(std::fabs(place.vector[0]), 10);
}

TEST_F(ContentFitTest, VectorsFromElsewhereAreEnough) {
  // Two sources: one knows the kind and has an offset and scale of its own, the other one is noise.
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  std::vector<ExternalVectors> externals(2);
  externals[0] = {.name = "text", .vectors = MatrixF::Constant(kItems, kKinds, 100), .rows = {}};
  externals[1] = {.name = "image", .vectors = MatrixF(kItems, 3), .rows = {}};
  for (uint32_t i = 0; i < kItems; ++i) {
    externals[0].vectors(i, i % kKinds) += 1000;
    for (Eigen::Index j = 0; j < 3; ++j) externals[1].vectors(i, j) = normal(random);
    if (i % 7 != 0) externals[0].rows[ids_[i]] = i;
    externals[1].rows[ids_[i]] = i;
  }
  const auto fitted = FitContent(Targets(), Content(false), externals, {}, nullptr);
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  EXPECT_TRUE(fitted->tower.buckets.empty());
  for (uint32_t kind = 0; kind < kKinds; ++kind) {
    std::vector<float> text(kKinds, 100.0f);
    text[kind] += 1000;
    const ExternalVector vectors[] = {{"text", text}};
    const ContentPlace place = PlaceOf(*fitted, {}, vectors);
    for (uint32_t j = 0; j < kDim; ++j) EXPECT_NEAR(place.vector[j], kinds_(kind, j), 0.5) << kind;
  }
}

TEST_F(ContentFitTest, ShiftsBiasesUntilNewItemsAreShownAsOftenAsTheyWerePicked) {
  // Scores are biases alone. Trained items have what they earned, and content cannot tell it apart: without a
  // shift no held-out item reaches the first 20.
  std::mt19937_64 random(9);
  for (uint32_t i = 0; i < kItems; ++i) {
    popularity_[i] = static_cast<float>(1 + random() % 100);
    bias_[i] = std::log(popularity_[i]);
    categories_[i] = {"all"};
  }
  ContentTargets targets = Targets();
  targets.held_out.assign(kItems, false);
  std::vector<float> others;
  for (uint32_t i = 0; i < kItems; ++i) {
    targets.held_out[i] = i % 5 == 0;
    if (i % 5 != 0) others.push_back(bias_[i]);
  }
  std::sort(others.begin(), others.end(), std::greater<>());
  others.resize(kContentShown);
  targets.users = {.vectors = MatrixF::Zero(50, kDim),
                   .picks = std::vector<std::vector<uint32_t>>(50),
                   .final_vectors = MatrixF::Zero(50, kDim),
                   .best_scores = std::vector<std::vector<float>>(50, others)};
  const auto fitted = FitContent(targets, Content(), {}, {}, nullptr);
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  EXPECT_EQ(fitted->num_picks, 0);
  EXPECT_EQ(fitted->scales.personal, 1);
  EXPECT_LT(fitted->share_before, 0.1);
  EXPECT_GT(fitted->bias_shift, 0.3);
  EXPECT_NEAR(fitted->share, 0.2, 0.1);
  const auto without = FitContent(targets, Content(), {}, {.calibrate = false}, nullptr);
  ASSERT_TRUE(without.ok());
  EXPECT_NEAR(PlaceOf(*fitted, {.categories = categories_[0]}).bias,
              PlaceOf(*without, {.categories = categories_[0]}).bias + fitted->bias_shift, 1e-3);
}

// Users who pick among the held-out items those of one kind, or any.
ContentUsers Pickers(const MatrixF& kinds, bool by_kind) {
  std::mt19937_64 random(4);
  ContentUsers users{
      .vectors = MatrixF(100, kinds.cols()), .picks = {}, .final_vectors = {}, .best_scores = {}};
  for (uint32_t u = 0; u < 100; ++u) {
    users.vectors.row(u) = kinds.row(u % kinds.rows());
    std::vector<uint32_t> picks;
    for (int p = 0; p < 5; ++p) {
      const auto any = static_cast<uint32_t>(random() % 300);
      // Every third item is held out.
      for (uint32_t i = any;; i = (i + 1) % 300) {
        if (i % 3 != 0 || (by_kind && i % kinds.rows() != u % kinds.rows())) continue;
        picks.push_back(i);
        break;
      }
    }
    users.picks.push_back(picks);
  }
  return users;
}

TEST_F(ContentFitTest, BelievesInContentAsFarAsItExplainsWhatUsersPick) {
  bias_.assign(kItems, 0.5f);
  for (const bool by_kind : {true, false}) {
    SCOPED_TRACE(by_kind);
    ContentTargets targets = Targets();
    targets.held_out.assign(kItems, false);
    for (uint32_t i = 0; i < kItems; i += 3) targets.held_out[i] = true;
    targets.users = Pickers(kinds_, by_kind);
    const auto fitted = FitContent(targets, Content(), {}, {}, nullptr);
    ASSERT_TRUE(fitted.ok()) << fitted.status();
    EXPECT_EQ(fitted->num_picks, 500);
    const std::vector<std::string> a = {"kind 1"}, b = {"kind 2"};
    const ContentPlace first = PlaceOf(*fitted, {.categories = a});
    const ContentPlace second = PlaceOf(*fitted, {.categories = b});
    float difference = 0, expected = 0;
    for (uint32_t j = 0; j < kDim; ++j) {
      difference += (first.vector[j] - second.vector[j]) * (kinds_(1, j) - kinds_(2, j));
      expected += (kinds_(1, j) - kinds_(2, j)) * (kinds_(1, j) - kinds_(2, j));
    }
    if (by_kind) {
      EXPECT_GT(fitted->log_likelihood, 0.5);
      EXPECT_GT(difference, 0.5f * expected);
    } else {
      EXPECT_LT(fitted->log_likelihood, 0.05);
      EXPECT_LT(std::max(fitted->scales.personal, fitted->scales.shared) * 0.3f, fitted->scales.bias);
    }
    EXPECT_NEAR(first.bias, 0.5f + fitted->bias_shift, 0.1f);
    // What an item says about its viewers is as it was.
    for (uint32_t j = 0; j < kDim; ++j) EXPECT_NEAR(first.input_vector[j], 2 * kinds_(1, j), 0.6);
  }
}

TEST(ContentCalibrationTest, ScalesBySharesOfTheScore) {
  VectorF direction(2);
  direction << 0.6f, 0.8f;
  MatrixF rows(1, 2);
  rows << 3, 1;
  Eigen::RowVectorXf mean(2);
  mean << 1, 0;
  // Deviation (2, 1) = 2 m + (.8, -.6).
  ScaleRows(direction, {.bias = 1, .shared = 0.5f, .personal = 0.25f}, mean, rows);
  EXPECT_NEAR(rows(0, 0), 1 + 0.6f + 0.2f, 1e-5);
  EXPECT_NEAR(rows(0, 1), 0.8f - 0.15f, 1e-5);
}

TEST(ContentCalibrationTest, FindsTheScalesThatPicksWereMadeWith) {
  // Picks by a logit of 2 b + 1 (mean part) + 0.5 (rest): 1, .5 and .25 once divided by the largest.
  constexpr uint32_t kItems = 40, kUsers = 1500;
  std::mt19937_64 random(8);
  std::normal_distribution<float> normal;
  MatrixF items(kItems, 3);
  VectorF biases(kItems);
  for (Eigen::Index i = 0; i < items.size(); ++i) items.data()[i] = normal(random);
  for (Eigen::Index i = 0; i < biases.size(); ++i) biases[i] = normal(random);
  ContentUsers users{.vectors = MatrixF(kUsers, 3), .picks = {}, .final_vectors = {}, .best_scores = {}};
  for (Eigen::Index u = 0; u < kUsers; ++u) {
    users.vectors.row(u) << 1 + 0.2f * normal(random), normal(random), normal(random);
  }
  const VectorF direction = MeanDirection(users.vectors);
  std::vector<int32_t> rows(kItems);
  for (uint32_t i = 0; i < kItems; ++i) rows[i] = static_cast<int32_t>(i);
  for (Eigen::Index u = 0; u < kUsers; ++u) {
    const VectorF user = users.vectors.row(u).transpose();
    const VectorF shared = items * direction * user.dot(direction), rest = items * user - shared;
    const VectorF p = (2 * biases + shared + 0.5f * rest).array().exp().matrix();
    std::discrete_distribution<uint32_t> draw(p.data(), p.data() + p.size());
    users.picks.push_back({draw(random), draw(random)});
  }
  const FittedScales fitted = FitScales(users, rows, items, biases);
  EXPECT_EQ(fitted.num_picks, 2 * kUsers);
  EXPECT_NEAR(fitted.scales.bias, 1, 1e-6);
  EXPECT_NEAR(fitted.scales.shared, 0.5, 0.06);
  EXPECT_NEAR(fitted.scales.personal, 0.25, 0.03);
  EXPECT_GT(fitted.log_likelihood, 1);
}

TEST_F(ContentFitTest, TheSameSeedMakesTheSameTowerOnAnyNumberOfThreads) {
  ThreadPool pool(2);
  const auto a = FitContent(Targets(), Content(), {}, {}, nullptr);
  const auto b = FitContent(Targets(), Content(), {}, {}, &pool);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->tower.output_weights, b->tower.output_weights);
  EXPECT_EQ(a->tower.fact_weights, b->tower.fact_weights);
}

TEST_F(ContentFitTest, RefusesWhatThereIsNothingToLearnFrom) {
  EXPECT_EQ(FitContent(Targets(), Content(false), {}, {}, nullptr).status().code(),
            absl::StatusCode::kFailedPrecondition);
  for (uint32_t i = 0; i < kItems; ++i) {
    titles_[i] = std::string(1, static_cast<char>(0x21));
    categories_[i] = {absl::StrCat("own", i)};
  }
  EXPECT_THAT(std::string(FitContent(Targets(), Content(), {}, {}, nullptr).status().message()),
              ::testing::HasSubstr("no feature"));
  std::vector<ItemContent> too_few(1);
  EXPECT_EQ(FitContent(Targets(), too_few, {}, {}, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  popularity_.assign(kItems, 0);
  EXPECT_THAT(std::string(FitContent(Targets(), Content(), {}, {}, nullptr).status().message()),
              ::testing::HasSubstr("0 items"));
}

}  // namespace
}  // namespace swiftlet
