#include "engine/trainer/fit_model.h"

#include <cmath>
#include <numeric>
#include <random>

#include "engine/recommender.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/split.h"
#include "engine/trainer/write_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using trainer_testing::CyclicData;
using trainer_testing::kDislike;
using trainer_testing::kRating;
using trainer_testing::kView;

FitOptions SmallOptions() {
  FitOptions options;
  options.als.dim = 12;
  options.als.epochs = 5;
  options.attention.max_epochs = 15;
  options.attention.max_events = 10;
  options.attention.num_negatives = 40;
  options.attention.learning_rate = 0.02f;
  options.attention.batch_size = 64;
  return options;
}

TEST(FitModelTest, BeatsPopularityAndTheMeanThroughTheEngineWhereOrderMatters) {
  const Split split = *MakeSplit(CyclicData(240, 4, 40, 14, 21), SplitKind::kLeaveLastOut, 0);
  Progress silent(nullptr);
  const FittedModel model = *FitModel(split.train, {}, 0, SmallOptions(), nullptr, &silent);
  testing::TempDir dir;
  const auto snapshot =
      testing::WriteAndLoad(dir.File("model"), ContentsOf(split.train, model, SmallOptions(), 1, 1000));
  const auto mean =
      testing::WriteAndLoad(dir.File("mean"), MeanOfHistoryContents(split.train, model, 10, 1000));
  UserVectors users;
  for (size_t u = 0; u < split.train.num_users(); ++u) {
    const auto row = model.long_term.row(static_cast<Eigen::Index>(u));
    users[split.train.user_ids[u]].assign(row.data(), row.data() + row.size());
  }
  EvaluationOptions options;
  const double attention = Evaluate(*snapshot, users, split.test, options, nullptr)->at.at(10).ndcg;
  const double plain_mean = Evaluate(*mean, {}, split.test, options, nullptr)->at.at(10).ndcg;
  options.ranker = Ranker::kPopularity;
  const double popularity = Evaluate(*snapshot, users, split.test, options, nullptr)->at.at(10).ndcg;
  EXPECT_GT(attention, 1.9 * popularity);
  EXPECT_GT(attention, 1.2 * plain_mean);
}

TEST(FitModelTest, TheEngineRanksAsTheFitDoes) {
  // NDCG@10 of the held-out last events through the engine is what the fit's own validation saw.
  const Dataset data = CyclicData(80, 4, 30, 8, 5);
  Progress silent(nullptr);
  const FittedModel model = *FitModel(data, {}, 0, SmallOptions(), nullptr, &silent);
  testing::TempDir dir;
  const auto snapshot =
      testing::WriteAndLoad(dir.File("model"), ContentsOf(data, model, SmallOptions(), 1, 1000));
  const Split split = *MakeSplit(data, SplitKind::kLeaveLastOut, 0);
  std::vector<uint32_t> event_classes;
  for (const TrainingEvent& e : data.events)
    event_classes.push_back(ClassOfEvent(model.classes, e.type, e.value));
  std::vector<FitExample> examples;
  UserVectors users;
  MatrixF raw(static_cast<Eigen::Index>(split.test.size()), 12);
  for (const TestUser& user : split.test) {
    const auto u = static_cast<uint32_t>(std::find(data.user_ids.begin(), data.user_ids.end(), user.user_id) -
                                         data.user_ids.begin());
    const Eigen::Index e = static_cast<Eigen::Index>(examples.size());
    examples.push_back({u, data.user_begin[u + 1] - 1});
    raw.row(e) = model.long_term.row(u) / model.attention.long_term_scale;
    users[user.user_id].assign(model.long_term.row(u).data(), model.long_term.row(u).data() + 12);
  }
  const FitInput input{&data, event_classes, examples, &raw};
  EXPECT_NEAR(Evaluate(*snapshot, users, split.test, {}, nullptr)->at.at(10).ndcg,
              ValidationNdcg(model.attention, input, 10, nullptr), 1e-6);
}

TEST(FitModelTest, WhereNoEpochIsBetterTheStartIsFittedAgain) {
  const Dataset data = CyclicData(60, 4, 20, 8, 5);
  TrainingOptions options{.kind = "attention", .attention = SmallOptions()};
  options.attention.attention.learning_rate = options.attention.attention.logit_learning_rate = 1e-9f;
  Progress silent(nullptr);
  const Split split = *MakeSplit(data, SplitKind::kLeaveOneOut, 0);
  const TrainedModel chosen =
      *TrainModel({.data = &split.train, .validation = split.validation}, options, nullptr, &silent);
  EXPECT_EQ(chosen.epochs, 0u);
  EXPECT_GT(chosen.validation_ndcg, 0);
  const TrainedModel again = *TrainModel({.data = &data}, OptionsForRefit(options, chosen), nullptr, &silent);
  EXPECT_EQ(again.contents.manifest.training_parameters.at("attention.epochs"), "0");
  EXPECT_EQ(again.validation_ndcg, 0);  // it was not chosen anew
}

TEST(FitModelTest, WhatAStepLeavesOutAndTheMeanOfTheStepsAreChosenWhereTheyAreNotGiven) {
  Progress silent(nullptr);
  const auto fit = [&](uint32_t users, const FitOptions& options) {
    return FitModel(CyclicData(users, 3, 10, 6, 2), {}, 2, options, nullptr, &silent)->attention.items;
  };
  FitOptions given = SmallOptions();
  given.attention.event_dropout = 0.1f;
  given.attention.dropout = 0.5f;
  given.attention.average_decay = 0.9f;  // 60 users have 300 examples, 5 steps an epoch
  EXPECT_EQ(fit(60, SmallOptions()), fit(60, given));
  FitOptions small_steps = SmallOptions();
  small_steps.attention.batch_size = given.attention.batch_size = 1;
  given.attention.average_decay = 0.998f;  // 600 steps an epoch
  EXPECT_EQ(fit(120, small_steps), fit(120, given));
  given.attention.average_decay = 0;
  EXPECT_NE(fit(120, small_steps), fit(120, given));
  given.attention.dropout = given.attention.event_dropout = 0;
  const MatrixF plain = fit(120, given);
  given.attention.dropout = 0.2f;
  EXPECT_NE(fit(120, given), plain) << "none is none";
}

TEST(FitModelTest, DropoutFollowsFromTheLengthOfHistories) {
  Progress silent(nullptr);
  const auto dropout = [&](uint32_t events_of_user, float given) {
    FitOptions options = SmallOptions();
    options.attention.dropout = given;
    return FitModel(CyclicData(20, 3, 40, events_of_user, 2), {}, 1, options, nullptr, &silent)
        ->options.dropout;
  };
  EXPECT_EQ(dropout(6, -1), 0.5f);
  EXPECT_EQ(dropout(40, -1), 0.2f);
  EXPECT_EQ(dropout(40, 0), 0.0f);
}

TEST(FitModelTest, MarkedEventsChangeNothing) {
  // The same events but for the item of each user's last one, which is marked: the models must be the same.
  Dataset data = CyclicData(30, 3, 10, 6, 2);
  std::vector<bool> skip(data.events.size(), false);
  for (size_t u = 0; u < data.num_users(); ++u) skip[data.user_begin[u + 1] - 1] = true;
  Progress silent(nullptr);
  const FittedModel a = *FitModel(data, skip, 2, SmallOptions(), nullptr, &silent);
  for (size_t u = 0; u < data.num_users(); ++u) data.events[data.user_begin[u + 1] - 1].item = 3;
  const FittedModel b = *FitModel(data, skip, 2, SmallOptions(), nullptr, &silent);
  EXPECT_EQ(a.attention.items, b.attention.items);
  EXPECT_EQ(a.attention.inputs, b.attention.inputs);
  EXPECT_EQ(a.attention.bias, b.attention.bias);
  EXPECT_EQ(a.long_term, b.long_term);
}

TEST(FitModelTest, TinyAndOddDataMakeALoadableSnapshot) {
  const auto fit = [](const std::function<void(DatasetBuilder*)>& fill) {
    DatasetBuilder builder(EventTypeTable::Default());
    fill(&builder);
    const Dataset data = *builder.Build();
    Progress silent(nullptr);
    for (const uint32_t epochs : {0u, 2u}) {
      const auto model = FitModel(data, {}, epochs, SmallOptions(), nullptr, &silent);
      ASSERT_TRUE(model.ok()) << model.status();
      testing::TempDir dir;
      const auto snapshot =
          testing::WriteAndLoad(dir.File("model"), ContentsOf(data, *model, SmallOptions(), 1, 1000));
      EXPECT_EQ(snapshot->num_items(), data.num_items());
    }
  };
  fit([](DatasetBuilder* b) { b->AddEvent("u", "i", kView, 0, 1); });
  fit([](DatasetBuilder* b) { b->AddEvent("u", "i", kDislike, 0, 1); });
  fit([](DatasetBuilder* b) {  // one item, again and again
    for (int n = 0; n < 5; ++n) b->AddEvent("u", "i", kView, 0, n);
  });
  fit([](DatasetBuilder* b) {  // users with one event each
    for (int n = 0; n < 5; ++n) b->AddEvent(absl::StrCat("u", n), absl::StrCat("i", n % 2), kView, 0, 7);
  });
  fit([](DatasetBuilder* b) {  // the same event many times, and negatives
    for (int n = 0; n < 9; ++n)
      b->AddEvent("u", absl::StrCat("i", n % 3), n % 2 == 0 ? kView : kDislike, 0, 7);
  });
}

TEST(FitModelTest, EventsOfTypesThatTrainingNeverSawCount) {
  const Dataset data = CyclicData(120, 4, 20, 10, 5);  // ratings alone
  Progress silent(nullptr);
  const FittedModel model = *FitModel(data, {}, 5, SmallOptions(), nullptr, &silent);
  const SnapshotContents contents = ContentsOf(data, model, SmallOptions(), 1, 1000);
  EXPECT_EQ(contents.manifest.training_parameters.at("attention.types_without_events"),
            "view,click,like,cart,purchase,dislike,play,skip,share,save,search");
  testing::TempDir dir;
  const auto snapshot = testing::WriteAndLoad(dir.File("model"), contents);
  const auto view = CatalogView::Build(*snapshot, {});
  const auto scores_after = [&](const char* type) {
    const HistoryEvent event{ItemKeyOf("i7"), 1'000'000, 0, data.event_types.FindByName(type)->id};
    std::vector<uint32_t> rows(snapshot->num_items());
    std::iota(rows.begin(), rows.end(), 0u);
    Scratch scratch;
    Recommendation result;
    RecommendQuery query;
    query.k = 10;
    query.explain = true;
    const UserState user{.history = {&event, 1}};
    EXPECT_TRUE(Recommend(*snapshot, *view, query, user, scratch, &result).ok());
    EXPECT_EQ(result.num_history_events_used, 1u) << type;
    EXPECT_EQ(result.source, ItemSource::kHistory) << type;
    EXPECT_TRUE(ScoreItems(*snapshot, *view, query, user, rows, scratch, &result).ok());
    std::vector<float> scores;
    for (const RecommendedItem& item : result.items) {
      scores.push_back(item.score - snapshot->Bias(item.row));
    }
    return scores;
  };
  // What follows i7 in its group's cycle is liked after it, and disliked after a dislike of it.
  const std::vector<float> liked = scores_after("like"), disliked = scores_after("dislike");
  const uint32_t next = *snapshot->FindRow(ItemKeyOf("i8"));
  EXPECT_GT(liked[next], 0);
  EXPECT_LT(disliked[next], 0);
  for (size_t i = 0; i < liked.size(); ++i) EXPECT_FLOAT_EQ(liked[i], -disliked[i]);
  for (const EventType& type : data.event_types.types()) scores_after(type.name.c_str());
}

TEST(FitModelTest, TheWeightOfAnUnseenTypeIsRelativeToWhatWasLearned) {
  DatasetBuilder builder(EventTypeTable::Default());
  std::mt19937 random(3);
  for (int u = 0; u < 40; ++u) {  // views (weight 1) and, a third as often, purchases (weight 5)
    for (int e = 0; e < 8; ++e) {
      builder.AddEvent(absl::StrCat("u", u), absl::StrCat("i", (u % 4) * 5 + random() % 5),
                       e % 4 == 3 ? EventTypeId{5} : kView, 0, 1000 * e);
    }
  }
  const Dataset data = *builder.Build();
  Progress silent(nullptr);
  const FittedModel model = *FitModel(data, {}, 5, SmallOptions(), nullptr, &silent);
  const auto logit = [&](const char* type) {
    return model.attention
        .class_logits[ClassOfEvent(model.classes, data.event_types.FindByName(type)->id, 0)];
  };
  ASSERT_NE(logit("view"), logit("purchase"));
  const double mean = 0.75 * logit("view") + 0.25 * logit("purchase");
  EXPECT_NEAR(model.mean_class_logit, mean, 1e-5);
  EXPECT_NEAR(logit("like"), mean + std::log(3 / 2.0), 1e-5);     // the mean weight is 2
  EXPECT_NEAR(logit("dislike"), mean + std::log(3 / 2.0), 1e-5);  // its sign is the class's, not the logit's
  EXPECT_NEAR(logit("skip"), mean + std::log(1 / 2.0), 1e-5);
  for (const EventClass& c : model.classes) {
    EXPECT_EQ(c.sign, data.event_types.FindById(c.type)->weight < 0 ? -1 : 1) << int{c.type};
  }
}

TEST(FitModelTest, UnseenTypesChangeNothingOfWhatIsLearned) {
  Dataset data = CyclicData(60, 3, 10, 6, 2);
  Progress silent(nullptr);
  const FittedModel all = *FitModel(data, {}, 3, SmallOptions(), nullptr, &silent);
  data.event_types = *EventTypeTable::Create({{kRating, "rating", 1.0f}});
  const FittedModel alone = *FitModel(data, {}, 3, SmallOptions(), nullptr, &silent);
  const size_t learned = alone.classes.size();
  EXPECT_EQ(learned, MakeEventClasses(data, {}).size());
  EXPECT_TRUE(alone.unseen_types.empty());
  ASSERT_EQ(all.classes.size(), learned + 11);
  EXPECT_TRUE(std::equal(alone.classes.begin(), alone.classes.end(), all.classes.begin()));
  EXPECT_EQ(all.attention.class_logits.head(learned), alone.attention.class_logits);
  EXPECT_EQ(all.attention.items, alone.attention.items);
  EXPECT_EQ(all.attention.inputs, alone.attention.inputs);
  EXPECT_EQ(all.attention.position_logits, alone.attention.position_logits);
  EXPECT_EQ(all.long_term, alone.long_term);
}

TEST(FitModelTest, InputMapIsTheLeastSquaresMapOfTheTables) {
  Progress silent(nullptr);
  const Dataset data = CyclicData(120, 3, 30, 8, 5);
  const FittedModel model = *FitModel(data, {}, 3, SmallOptions(), nullptr, &silent);
  const double error =
      (model.attention.items * model.input_map.transpose() - model.attention.inputs).squaredNorm();
  EXPECT_LT(error, 0.8 * model.attention.inputs.squaredNorm());
  for (int trial = 0; trial < 5; ++trial) {
    const MatrixF other = model.input_map + 0.1f * model.input_map.norm() * MatrixF::Random(12, 12) / 12;
    EXPECT_GT((model.attention.items * other.transpose() - model.attention.inputs).squaredNorm(), error);
  }
}

}  // namespace
}  // namespace swiftlet
