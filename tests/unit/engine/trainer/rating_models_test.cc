// The rating models that the served one is held against, and the cross-validation of all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/rating_predictor.h"
#include "engine/trainer/rating_evaluation.h"
#include "engine/trainer/rating_fit.h"
#include "engine/trainer/rating_knn.h"
#include "engine/trainer/rating_nmf.h"
#include "engine/trainer/rating_sgd.h"
#include "engine/trainer/rating_training.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/rating_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trainer_testing::FindPlanted;
using trainer_testing::PlantedRatings;

RatingFit Baseline(const RatingSet& set) {
  return *FitRatings(set, {.dim = 0, .implicit = false}, nullptr, nullptr);
}

// The formula of rating_knn.h, pair by pair, in double.
double SlowNeighbours(const RatingSet& set, const RatingFit& baseline, const RatingKnnOptions& options,
                      uint32_t user, uint32_t item) {
  const auto residual = [&](uint32_t u, uint32_t i) -> double {
    for (const Rating& r : set.ratings) {
      if (r.user == u && r.item == i) return double{r.value} - double{baseline.Predict(u, i)};
    }
    return NAN;
  };
  std::vector<std::pair<double, double>> neighbours;  // similarity, residual
  for (uint32_t j = 0; j < set.num_items; ++j) {
    const double mine = residual(user, j);
    if (j == item || std::isnan(mine)) continue;
    double n = 0, xy = 0, xx = 0, yy = 0;
    for (uint32_t u = 0; u < set.num_users; ++u) {
      const double x = residual(u, item), y = residual(u, j);
      if (std::isnan(x) || std::isnan(y)) continue;
      n += 1, xy += x * y, xx += x * x, yy += y * y;
    }
    if (n < 2) continue;
    const double similarity = (n - 1) / (n - 1 + double{options.shrinkage}) * xy / std::sqrt(xx * yy);
    if (similarity > 0) neighbours.emplace_back(similarity, mine);
  }
  std::sort(neighbours.rbegin(), neighbours.rend());
  double sum = 0, weights = 0;
  for (size_t k = 0; k < std::min<size_t>(options.neighbours, neighbours.size()); ++k) {
    sum += neighbours[k].first * neighbours[k].second;
    weights += neighbours[k].first;
  }
  return double{baseline.Predict(user, item)} + (weights > 0 ? sum / weights : 0.0);
}

TEST(RatingKnnTest, IsTheFormula) {
  const RatingData data = FindPlanted(PlantedRatings(25, 14, 7, 2));
  const RatingFit baseline = Baseline(data.set);
  const std::vector<RatingKnnOptions> options = {{.neighbours = 3, .shrinkage = 5},
                                                 {.neighbours = 40, .shrinkage = 100}};
  std::vector<Rating> wanted;
  for (uint32_t u = 0; u < data.set.num_users; ++u) {
    for (uint32_t i = 0; i < data.set.num_items; ++i) wanted.push_back({u, i, 0});
  }
  ThreadPool pool(2);
  const auto got = PredictByNeighbours(data.set, baseline, options, wanted, &pool);
  ASSERT_TRUE(got.ok());
  for (size_t o = 0; o < options.size(); ++o) {
    for (size_t w = 0; w < wanted.size(); ++w) {
      EXPECT_NEAR(double{(*got)[o][w]},
                  SlowNeighbours(data.set, baseline, options[o], wanted[w].user, wanted[w].item), 1e-4);
    }
  }
}

TEST(RatingNmfTest, FactorsStayNonNegativeAndTheObjectiveFalls) {
  const RatingData data = FindPlanted(PlantedRatings(60, 40, 20, 3));
  const RatingNmfOptions options{.dim = 4, .sweeps = 20};
  const double level = MomentsOf(data.set).mean - double{data.set.scale.min};
  double last = INFINITY;
  const auto model = FitRatingsNmf(data.set, options, [&](uint32_t, const RatingNmfModel& m) {
    EXPECT_GE(m.users.minCoeff(), 0.0f);
    EXPECT_GE(m.items.minCoeff(), 0.0f);
    double objective = 0;
    for (const Rating& r : data.set.ratings) {
      const double error = double{m.Predict(r.user, r.item)} - double{r.value};
      objective += error * error + double{options.regularisation} * level *
                                       (double{m.users.row(r.user).squaredNorm()} +
                                        double{m.items.row(r.item).squaredNorm()});
    }
    EXPECT_LE(objective, last * (1 + 1e-5));
    last = objective;
    return true;
  });
  ASSERT_TRUE(model.ok());
  EXPECT_LT(last, 1e4);
}

TEST(RatingNmfTest, WithoutRatingsTheMean) {
  const RatingSet set{.num_users = 3, .num_items = 2, .ratings = {{0, 0, 1}, {1, 0, 4}}, .scale = {1, 5}};
  const auto model = FitRatingsNmf(set, {}, nullptr);
  EXPECT_EQ(model->Predict(2, 0), 2.5f);
  EXPECT_EQ(model->Predict(0, 1), 2.5f);
}

TEST(RatingSgdTest, LearnsThePlantedFactors) {
  const RatingData data = FindPlanted(PlantedRatings(200, 80, 30, 5));
  const RatingSplit split = SplitRatings(data.set, AssignFolds(data.set.ratings.size(), 10, 1), 0);
  const RatingFit biases = Baseline(split.train);
  std::vector<float> predictions;
  for (const Rating& r : split.test) predictions.push_back(biases.Predict(r.user, r.item));
  const double baseline = ErrorsOf(split.test, predictions).rmse;
  for (const bool implicit : {false, true}) {
    const auto model = FitRatingsSgd(
        split.train, {.dim = 8, .epochs = 60, .learning_rate = 0.02f, .implicit = implicit}, nullptr);
    ASSERT_TRUE(model.ok()) << model.status();
    predictions.clear();
    for (const Rating& r : split.test) predictions.push_back(model->Predict(r.user, r.item));
    EXPECT_LT(ErrorsOf(split.test, predictions).rmse, 0.75 * baseline) << implicit;
    EXPECT_EQ(model->y.size() > 0, implicit);
  }
}

TEST(RatingSgdTest, SaysWhenItDiverges) {
  const RatingData data = FindPlanted(PlantedRatings(30, 20, 10, 5));
  const absl::Status status = FitRatingsSgd(data.set, {.learning_rate = 50}, nullptr).status();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("lower the learning rate"));
}

TEST(PredictServedTest, IsTheFoldInOfTheNewestRatings) {
  const Dataset events = PlantedRatings(40, 30, 15, 7);
  const RatingData data = FindPlanted(events);
  const auto fit = FitRatings(data.set, {.dim = 4, .sweeps = 6}, nullptr, nullptr);
  testing::TempDir dir;
  const auto snapshot = WriteRatingSnapshot(dir.path(), events, RatingContentsOf(*fit, data));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  ThreadPool pool(2);
  const RatingRows by_user = RatingsByUser(data.set);
  for (const uint32_t max_history : {0u, 3u}) {
    const auto got =
        PredictServed(**snapshot, events, data.type, data.set, data.set.ratings, max_history, &pool);
    ASSERT_TRUE(got.ok());
    const RatingModel& model = *(*snapshot)->rating_model();
    RatingFoldInScratch scratch;
    std::vector<float> user(5);
    for (size_t w = 0; w < data.set.ratings.size(); ++w) {
      const Rating& r = data.set.ratings[w];
      std::vector<RatedItem> rated;
      const size_t end = by_user.begin[r.user + 1];
      const size_t begin = max_history == 0 ? by_user.begin[r.user]
                                            : std::max(by_user.begin[r.user], end - std::min<size_t>(end, 3));
      for (size_t k = begin; k < end; ++k) rated.push_back({by_user.other[k], by_user.values[k]});
      model.FoldIn(rated, scratch, user);
      EXPECT_NEAR((*got)[w], model.Predict(user, r.item), 1e-4f);
    }
  }
}

// Held-out ratings of users are predicted from their histories alone, and what is no rating is not.
TEST(EvaluateHeldOutRatingsTest, IsTheErrorOfWhatAServerPredicts) {
  const Dataset data = PlantedRatings(60, 40, 20, 5);
  const absl::StatusOr<Split> split = MakeSplit(data, SplitKind::kLeaveOneOut, 0);
  ASSERT_TRUE(split.ok()) << split.status();
  Progress quiet(nullptr);
  auto trained = TrainRatings(split->train, {.data = {}, .fit = {}, .holdout = false}, nullptr, &quiet);
  ASSERT_TRUE(trained.ok() && trained->has_value()) << trained.status();
  testing::TempDir dir;
  const auto snapshot = WriteRatingSnapshot(dir.path(), split->train, std::move((*trained)->contents));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  double squares = 0, sum = 0;
  uint64_t count = 0;
  RatingScratch scratch;
  RatingPrediction prediction;
  std::vector<TestUser> users = split->test;
  for (TestUser& user : users) {
    ASSERT_EQ(user.held_out.size(), 1u);
    const std::vector<ItemKey> items = {user.held_out[0].item_key};
    ASSERT_TRUE(PredictRatings(**snapshot, {.history = user.history}, items, scratch, &prediction).ok());
    const double error = double{prediction.ratings[0].rating} - double{user.held_out[0].value};
    squares += error * error;
    sum += std::fabs(error);
    ++count;
    user.held_out.push_back({items[0], 1, 3.0f, /*type=*/1});  // a view
    user.held_out.push_back({items[0], 1, 99.0f, user.held_out[0].type});
  }
  ThreadPool pool(2);
  const auto found = EvaluateHeldOutRatings(**snapshot, users, 0, &pool);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->count, count);
  EXPECT_NEAR(found->errors.rmse, std::sqrt(squares / static_cast<double>(count)), 1e-9);
  EXPECT_NEAR(found->errors.mae, sum / static_cast<double>(count), 1e-9);
  EXPECT_LT(found->errors.rmse, 1.0) << "the planted factors are found";
  const auto none = EvaluateHeldOutRatings(**snapshot, {}, 0, nullptr);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->count, 0u);
  EXPECT_EQ(none->errors.rmse, 0);
}

TEST(CrossValidateRatingsTest, MeasuresEveryModel) {
  const Dataset events = PlantedRatings(120, 50, 25, 8);
  const RatingData data = FindPlanted(events);
  Progress progress(nullptr);
  const RatingEvaluationOptions options{.folds = 3, .models = {}, .served = {.dim = 7}, .max_history = 5};
  const auto results = CrossValidateRatings(events, data, options, nullptr, &progress);
  ASSERT_TRUE(results.ok()) << results.status();
  std::map<std::string, RatingResult> named;
  std::vector<std::string> names;
  for (const RatingResult& r : *results) {
    named[r.name] = r;
    names.push_back(r.name);
    EXPECT_EQ(r.fold_rmse.size(), 3u);
    EXPECT_NEAR(r.rmse, (r.fold_rmse[0] + r.fold_rmse[1] + r.fold_rmse[2]) / 3, 1e-9);
    EXPECT_LE(r.mae, r.rmse);
  }
  EXPECT_THAT(
      names,
      ElementsAre("baseline (biases)", "k-NN baseline (items)", "NMF", "SVD, biased (gradient descent)",
                  "SVD++ (gradient descent)", "biased MF (Bayesian)", "SVD++ (Bayesian), trained users",
                  "the same served: folded in by the engine", "the same, from the newest 5 ratings"));
  const double baseline = named["baseline (biases)"].rmse;
  const double served = named["the same served: folded in by the engine"].rmse;
  EXPECT_LT(served, 0.75 * baseline);
  EXPECT_NEAR(served, named["SVD++ (Bayesian), trained users"].rmse, 0.03);
  EXPECT_GT(named["the same, from the newest 5 ratings"].rmse, served);
  EXPECT_LT(named["k-NN baseline (items)"].rmse, baseline);
  const std::string table = FormatRatingResults(*results);
  for (const std::string& name : names) EXPECT_THAT(table, HasSubstr(name));
  const auto json = nlohmann::json::parse(RatingResultsToJson(*results, data, options));
  EXPECT_EQ(json["models"].size(), 9u);
  EXPECT_EQ(json["ratings"], data.set.ratings.size());
}

TEST(CrossValidateRatingsTest, RefusesWhatMakesNoSense) {
  const Dataset events = PlantedRatings(6, 5, 3, 8);
  const RatingData data = FindPlanted(events);
  Progress progress(nullptr);
  const auto status_of = [&](const RatingEvaluationOptions& options) {
    return CrossValidateRatings(events, data, options, nullptr, &progress).status();
  };
  EXPECT_THAT(status_of({.models = {"als"}, .served = {}}).ToString(), HasSubstr("expected one of baseline"));
  EXPECT_THAT(status_of({.folds = 1, .models = {}, .served = {}}).ToString(), HasSubstr("folds: 1"));
  EXPECT_THAT(status_of({.folds = 1000, .models = {}, .served = {}}).ToString(), HasSubstr("folds: 1000"));
}

TEST(TrainRatingsTest, MeasuresAndFits) {
  const Dataset events = PlantedRatings(100, 50, 25, 8);
  Progress progress(nullptr);
  auto trained = TrainRatings(events, {.data = {}, .fit = {.dim = 7}}, nullptr, &progress);
  ASSERT_TRUE(trained.ok()) << trained.status();
  ASSERT_TRUE(trained->has_value());
  EXPECT_EQ((*trained)->contents.parameters.event_type, 6);
  EXPECT_EQ((*trained)->contents.parameters.dim, 7u);
  EXPECT_EQ((*trained)->contents.counts.size(), events.num_items());
  EXPECT_LT((*trained)->metrics.at("rating.rmse"), 0.8 * (*trained)->metrics.at("rating.baseline_rmse"));
  EXPECT_GT((*trained)->metrics.at("rating.mae"), 0.0);
  trained = TrainRatings(events, {.data = {}, .fit = {}, .holdout = false}, nullptr, &progress);
  EXPECT_TRUE((*trained)->metrics.empty());
  trained = TrainRatings(PlantedRatings(6, 5, 3, 8), {.data = {}, .fit = {}}, nullptr, &progress);
  EXPECT_TRUE(trained->has_value() && (*trained)->metrics.empty());  // too few to measure with
}

TEST(TrainRatingsTest, WithoutRatingsThereIsNoModel) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("u", "x", 1, 0, 1);
  builder.AddEvent("u", "y", 1, 5, 2);
  const Dataset views = *builder.Build();
  Progress progress(nullptr);
  const auto none = TrainRatings(views, {.data = {}, .fit = {}}, nullptr, &progress);
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());
  EXPECT_TRUE(absl::IsInvalidArgument(
      TrainRatings(views, {.data = {.type = "stars"}, .fit = {}}, nullptr, &progress).status()));
  EXPECT_TRUE(TrainRatings(views, {.data = {.type = "view"}, .fit = {}}, nullptr, &progress)->has_value());
}

}  // namespace
}  // namespace swiftlet
