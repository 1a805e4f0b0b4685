#include "engine/trainer/linear_models.h"

#include <cmath>
#include <filesystem>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/trainer/als.h"
#include "engine/trainer/blend.h"
#include "engine/trainer/evaluate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using trainer_testing::CyclicData;

class LinearModelsTest : public ::testing::Test {
 protected:
  void Train(const TrainingOptions& options) {
    absl::StatusOr<TrainedModel> trained = TrainModel({.data = &data_}, options, nullptr, &progress_);
    ASSERT_TRUE(trained.ok()) << trained.status();
    model_ = *trained;
    const std::string directory = dir_.File(absl::StrCat(options.kind, ++num_trained_));
    std::filesystem::create_directory(directory);
    ASSERT_TRUE(WriteTrainedModel(directory, *std::move(trained), data_, 1, 1).ok());
    absl::StatusOr<std::shared_ptr<const ModelSnapshot>> loaded = ModelSnapshot::Load(directory, {});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    snapshot_ = *loaded;
    view_ = CatalogView::Build(*snapshot_, {});
  }
  std::vector<HistoryEvent> HistoryOf(size_t user) const {
    std::vector<HistoryEvent> history;
    for (const TrainingEvent& e : data_.EventsOf(user)) {
      history.push_back({ItemKeyOf(data_.item_ids[e.item]), e.timestamp_ms, e.value, e.type});
    }
    return history;
  }
  std::vector<float> ScoresOf(std::span<const HistoryEvent> history) {
    std::vector<uint32_t> rows(snapshot_->num_items());
    for (uint32_t row = 0; row < rows.size(); ++row) rows[row] = row;
    EXPECT_TRUE(
        ScoreItems(*snapshot_, *view_, {.explain = true}, {.history = history}, rows, scratch_, &result_)
            .ok());
    std::vector<float> scores;
    for (const RecommendedItem& item : result_.items) scores.push_back(item.score);
    return scores;
  }

  Dataset data_ = CyclicData(80, 3, 15, 9, 11);
  Progress progress_{nullptr};
  testing::TempDir dir_;
  int num_trained_ = 0;
  TrainedModel model_;
  std::shared_ptr<const ModelSnapshot> snapshot_;
  std::shared_ptr<const CatalogView> view_;
  Scratch scratch_;
  Recommendation result_;
};

// What the server computes from a history is what the trainer's own solve gives, whichever of the two ways to
// solve is shorter; and the terms of an explanation add up to it.
TEST_F(LinearModelsTest, FoldInIsTheTrainersUserSolve) {
  for (const uint32_t dim : {4u, 24u}) {
    TrainingOptions options{.kind = "ials"};
    options.attention.als = {.dim = dim, .lambda = 0.02f, .alpha0 = 0.2f, .nu = 0.8f, .epochs = 4};
    Train(options);
    const SparseRows positives = MakePositives(data_, ClassesOfAllTypes(data_, {}), {});
    MatrixF items(data_.num_items(), dim), users;
    for (uint32_t i = 0; i < data_.num_items(); ++i) {
      const uint32_t row = *snapshot_->FindRow(ItemKeyOf(data_.item_ids[i]));
      for (uint32_t j = 0; j < dim; ++j) items(i, j) = snapshot_->ItemVector(row)[j];
    }
    SolveAlsSide(positives, items, options.attention.als, nullptr, &users);
    for (size_t u = 0; u < data_.num_users(); u += 7) {
      const std::vector<HistoryEvent> history = HistoryOf(u);
      const std::vector<float> scores = ScoresOf(history);
      for (const RecommendedItem& item : result_.items) {
        const double expected = users.row(u).dot(items.row(item.row));
        EXPECT_NEAR(item.score, expected, 1e-4) << "dim " << dim << " user " << u;
        double sum = 0;
        for (const Contribution& term : result_.ExplanationOf(item)) sum += term.score;
        EXPECT_NEAR(sum, expected, 1e-4);
      }
    }
    // An item counts once, and one whose newest event counts against is left out.
    std::vector<HistoryEvent> history = HistoryOf(0), twice = history;
    twice.insert(twice.begin(), history.back());
    const std::vector<float> once = ScoresOf(history), again = ScoresOf(twice);
    for (size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(once[i], again[i], 1e-6);
    std::vector<HistoryEvent> without, disliked = history;
    for (const HistoryEvent& e : history) {
      if (e.item_key != history.back().item_key) without.push_back(e);
    }
    disliked.push_back(
        {history.back().item_key, history.back().timestamp_ms + 1, 0, trainer_testing::kDislike});
    const std::vector<float> expected = ScoresOf(without), found = ScoresOf(disliked);
    for (size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-6);
  }
}

TEST_F(LinearModelsTest, NeighboursAndTheirWeightsAreChosenOnValidation) {
  for (const char* const kind : {"ease", "item-knn", "user-knn"}) {
    Train({.kind = kind, .neighbours = 20});
    EXPECT_EQ(snapshot_->manifest().model_kind, "neighbours");
    ASSERT_TRUE(snapshot_->manifest().neighbours.has_value());
    EXPECT_EQ(snapshot_->manifest().neighbours->kind, kind);
    // The next item follows from the newest: older events must weigh less.
    EXPECT_GT(model_.chosen.at("recency") + model_.chosen.at("half_life"), 0) << kind;
    EXPECT_GT(model_.validation_ndcg, 0.4) << kind;
    const TrainingOptions refit = OptionsForRefit({.kind = kind, .neighbours = 20}, model_);
    EXPECT_EQ(refit.chosen, model_.chosen);
  }
}

// Users of four communities, whose items nobody else has, and some that everybody has.
TEST_F(LinearModelsTest, UserKnnFindsCommunities) {
  constexpr uint32_t kCommunities = 4, kItems = 12, kPopular = 15;
  std::mt19937_64 random(8);
  DatasetBuilder builder(EventTypeTable::Default());
  for (uint32_t u = 0; u < 240; ++u) {
    std::set<uint32_t> popular, own;
    while (popular.size() < 3) popular.insert(static_cast<uint32_t>(random() % kPopular));
    while (own.size() < 7) own.insert(static_cast<uint32_t>(random() % kItems));
    int64_t time = 1'000'000;
    const auto add = [&](const std::string& item) {
      builder.AddEvent(absl::StrCat("u", u), item, trainer_testing::kView, 0, time += 60'000);
    };
    for (const uint32_t i : popular) add(absl::StrCat("popular", i));
    std::vector<uint32_t> shuffled(own.begin(), own.end());
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    for (const uint32_t i : shuffled) add(absl::StrCat("c", u % kCommunities, "-", i));
  }
  absl::StatusOr<Split> split = MakeSplit(*builder.Build(), SplitKind::kLeaveOneOut, 0);
  ASSERT_TRUE(split.ok()) << split.status();
  absl::StatusOr<TrainedModel> trained = TrainModel({.data = &split->train, .validation = split->validation},
                                                    {.kind = "user-knn"}, nullptr, &progress_);
  ASSERT_TRUE(trained.ok()) << trained.status();
  ASSERT_TRUE(trained->contents.neighbours.has_value());
  EXPECT_EQ(trained->contents.neighbours->neighbours.users->nearest, trained->chosen.at("nearest"));
  EXPECT_EQ(trained->contents.neighbours->user_offsets.size(), 241u);
  EXPECT_TRUE(trained->long_term.size() == 0) << "no row that belongs to a user's id";
  const double validation_ndcg = trained->validation_ndcg;
  const std::string directory = dir_.File("communities");
  std::filesystem::create_directory(directory);
  ASSERT_TRUE(WriteTrainedModel(directory, *std::move(trained), split->train, 1, 1).ok());
  const auto loaded = ModelSnapshot::Load(directory, {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_NE((*loaded)->neighbour_users(), nullptr);

  const auto view = CatalogView::Build(**loaded, {});
  double ndcg = 0, of_popular = 0, of_validation = 0;
  const auto gain = [&](std::span<const HistoryEvent> history, std::span<const ItemKey> targets) {
    EXPECT_TRUE(
        Recommend(**loaded, *view, {.k = 10, .exclude_seen = true}, {.history = history}, scratch_, &result_)
            .ok());
    for (size_t rank = 0; rank < result_.items.size(); ++rank) {
      if ((*loaded)->Key(result_.items[rank].row) == targets[0]) return 1 / std::log2(2.0 + double(rank));
    }
    return 0.0;
  };
  for (const TestUser& user : split->test) {
    ndcg += gain(user.history, user.targets) / static_cast<double>(split->test.size());
    size_t rank = 0;
    for (const uint32_t row : (*loaded)->popularity_order()) {
      const bool seen = std::any_of(user.history.begin(), user.history.end(),
                                    [&](const HistoryEvent& e) { return e.item_key == (*loaded)->Key(row); });
      if (seen) continue;
      if (rank >= 10) break;
      if ((*loaded)->Key(row) == user.targets[0])
        of_popular += 1 / std::log2(2.0 + double(rank)) / static_cast<double>(split->test.size());
      ++rank;
    }
  }
  EXPECT_GT(ndcg, of_popular + 0.1) << of_popular;
  EXPECT_GT(ndcg, 0.4);  // 0.55: any order of what is left of the community
  // What validation measured is what the engine answers: there is no other ranking.
  for (const TestUser& user : split->validation)
    of_validation += gain(user.history, user.targets) / static_cast<double>(split->validation.size());
  EXPECT_NEAR(of_validation, validation_ndcg, 5e-3);  // but for ties
}

TEST_F(LinearModelsTest, ABlendsScoreIsTheWeightedSumOfItsParts) {
  // The attention looks at fewer events than the neighbours do.
  for (const auto& [first, second] :
       {std::pair("ials", "ease"), std::pair("attention", "ease"), std::pair("ials", "user-knn")}) {
    TrainingOptions options{.kind = "blend", .neighbours = 20, .blend = {first, second}};
    options.attention.als = {.dim = 8, .lambda = 0.02f, .alpha0 = 0.2f, .epochs = 4};
    options.attention.attention.max_events = 3;
    options.attention.attention.max_epochs = 2;
    options.chosen = {{"weight0", 0.7}, {"weight1", 1.9}};
    Train(options);
    EXPECT_EQ(snapshot_->manifest().model_kind, first);
    EXPECT_GT(snapshot_->manifest().max_events, 100u);
    const auto chosen = model_.chosen;
    std::vector<std::vector<float>> blended, sum;
    for (size_t u = 0; u < 20; ++u) blended.push_back(ScoresOf(HistoryOf(u)));
    sum.resize(20);
    for (int k = 0; k < 2; ++k) {
      TrainingOptions part = options;
      part.kind = options.blend[k];
      part.chosen.clear();
      const std::string prefix = k == 0 ? "part0." : "part1.";
      for (const auto& [name, value] : chosen) {
        if (name.starts_with(prefix)) part.chosen[name.substr(prefix.size())] = value;
      }
      part.chosen.erase("epochs");
      Train(part);
      for (size_t u = 0; u < 20; ++u) {
        const std::vector<float> scores = ScoresOf(HistoryOf(u));
        if (sum[u].empty()) sum[u].resize(scores.size());
        for (size_t i = 0; i < scores.size(); ++i) sum[u][i] += (k == 0 ? 0.7f : 1.9f) * scores[i];
      }
    }
    for (size_t u = 0; u < 20; ++u) {
      for (size_t i = 0; i < sum[u].size(); ++i) EXPECT_NEAR(blended[u][i], sum[u][i], 1e-4) << first;
    }
  }
}

TEST_F(LinearModelsTest, IalsSearchesForWhatIsNotGiven) {
  TrainingOptions options{.kind = "ials"};
  options.attention.als = {.dim = 8, .lambda = 0, .alpha0 = 0.7f, .epochs = 4};
  Train(options);
  EXPECT_NE(model_.chosen.at("alpha0"), double{0.7f}) << "what the option is by itself is not given";
  options.als_alpha0_given = true;
  Train(options);
  EXPECT_EQ(model_.chosen.at("alpha0"), double{0.7f});
  EXPECT_GT(model_.chosen.at("lambda"), 0);
  options.attention.als.lambda = 0.02f;
  Train(options);
  EXPECT_EQ(model_.chosen.at("alpha0"), double{0.7f});
  EXPECT_EQ(model_.chosen.at("lambda"), double{0.02f});
}

// The curve is of the fit that validation measured: its last point is the model.
TEST_F(LinearModelsTest, CurvesHaveAPointForEveryEpochWhereThereIsValidation) {
  absl::StatusOr<Split> split = MakeSplit(data_, SplitKind::kLeaveOneOut, 0);
  ASSERT_TRUE(split.ok()) << split.status();
  TrainingOptions options{.kind = "ials"};
  options.attention.als = {.dim = 8, .lambda = 0.02f, .alpha0 = 0.2f, .epochs = 5};
  const absl::StatusOr<TrainedModel> model =
      TrainModel({.data = &split->train, .validation = split->validation}, options, nullptr, &progress_);
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(model->curve.size(), 5u);
  for (uint32_t e = 0; e < 5; ++e) {
    EXPECT_EQ(model->curve[e].epoch, e + 1);
    EXPECT_GT(model->curve[e].validation_ndcg, 0);
    EXPECT_GE(model->curve[e].seconds, model->curve[e == 0 ? 0 : e - 1].seconds);
  }
  const absl::StatusOr<TrainedModel> without = TrainModel({.data = &data_}, options, nullptr, &progress_);
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_TRUE(without->curve.empty());
}

TEST_F(LinearModelsTest, ABlendOfEventsThatNothingCanBeChosenByIsItsFirstPart) {
  DatasetBuilder builder(EventTypeTable::Default());
  for (const char* user : {"a", "b", "c"}) builder.AddEvent(user, "one", 1, 1, 1);
  data_ = *builder.Build();
  TrainingOptions options{.kind = "blend", .neighbours = 20, .blend = {"ials", "ease"}};
  options.attention.als = {.dim = 4, .lambda = 0.02f, .alpha0 = 0.2f, .epochs = 2};
  Train(options);
  EXPECT_EQ(model_.chosen.at("weight0"), 1);
  EXPECT_EQ(model_.chosen.at("weight1"), 0);
}

TEST_F(LinearModelsTest, ABlendKeepsItsPartsWhenAsked) {
  TrainingOptions options{.kind = "blend", .neighbours = 20, .blend = {"ials", "ease"}};
  options.attention.als = {.dim = 8, .lambda = 0.02f, .alpha0 = 0.2f, .epochs = 4};
  Train(options);
  EXPECT_TRUE(model_.parts.empty());
  options.keep_parts = true;
  Train(options);
  ASSERT_EQ(model_.parts.size(), 2u);
  EXPECT_EQ(model_.parts[0].kind, "ials");
  EXPECT_EQ(model_.parts[0].model.contents.item_vectors.size(), data_.num_items() * 8);
  EXPECT_FALSE(model_.parts[0].model.contents.neighbours.has_value());
  EXPECT_EQ(model_.parts[1].kind, "ease");
  EXPECT_TRUE(model_.parts[1].model.contents.neighbours.has_value());
}

TEST_F(LinearModelsTest, ABlendOfTwoNeighbourModelsIsRefused) {
  TrainingOptions options{.kind = "blend", .neighbours = 5, .blend = {"ease", "item-knn"}};
  options.chosen = {{"weight0", 1}, {"weight1", 1}, {"part0.recency", 0}, {"part1.recency", 0}};
  const auto status = TrainModel({.data = &data_}, options, nullptr, &progress_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

}  // namespace
}  // namespace swiftlet
