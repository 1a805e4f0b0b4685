#include "engine/trainer/split.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trainer_testing::CyclicData;
using trainer_testing::kDislike;
using trainer_testing::kView;

// No target of a user is among the user's training events, and the history is exactly those.
void ExpectNoLeak(const Dataset& data, const Split& split) {
  for (const TestUser& user : split.test) {
    std::vector<ItemKey> trained;
    for (size_t u = 0; u < split.train.num_users(); ++u) {
      if (split.train.user_ids[u] != user.user_id) continue;
      for (const TrainingEvent& e : split.train.EventsOf(u))
        trained.push_back(ItemKeyOf(split.train.item_ids[e.item]));
    }
    std::vector<ItemKey> history;
    for (const HistoryEvent& e : user.history) history.push_back(e.item_key);
    EXPECT_EQ(history, trained) << user.user_id;
    ASSERT_FALSE(user.targets.empty());
    for (const ItemKey target : user.targets) {
      EXPECT_EQ(std::count(trained.begin(), trained.end(), target), 0) << user.user_id;
    }
  }
}

TEST(SplitTest, LeaveLastOutHoldsOutTheNewestEventOfWhoHasTwo) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("one", "a", kView, 0, 1);
  builder.AddEvent("two", "b", kView, 0, 9);
  builder.AddEvent("two", "c", kView, 0, 3);
  const Split split = *MakeSplit(*builder.Build(), SplitKind::kLeaveLastOut, 0);
  ASSERT_EQ(split.test.size(), 1u);
  EXPECT_EQ(split.test[0].user_id, "two");
  EXPECT_THAT(split.test[0].targets, ElementsAre(ItemKeyOf("b")));
  EXPECT_THAT(split.test[0].history, ElementsAre(HistoryEvent{ItemKeyOf("c"), 3, 0, kView}));
  // The item that only the held-out event names is unknown to the training part.
  EXPECT_THAT(split.train.item_ids, ElementsAre("a", "c"));
  EXPECT_THAT(split.train.user_ids, ElementsAre("one", "two"));
}

TEST(SplitTest, NothingHeldOutIsInTheTrainingPart) {
  const Dataset data = CyclicData(50, 4, 30, 12, 8);
  const Split last = *MakeSplit(data, SplitKind::kLeaveLastOut, 0);
  ExpectNoLeak(data, last);
  EXPECT_EQ(last.num_held_out, 50u);
  EXPECT_EQ(last.train.events.size(), data.events.size() - 50);
  const Split time = *MakeSplit(data, SplitKind::kTime, 0.25);
  ExpectNoLeak(data, time);
  int64_t newest_trained = 0;
  for (const TrainingEvent& e : time.train.events) newest_trained = std::max(newest_trained, e.timestamp_ms);
  for (const TrainingEvent& e : data.events) {
    // An event is on the training side exactly when it is older than all held-out ones.
    if (e.timestamp_ms <= newest_trained) continue;
    EXPECT_GT(e.timestamp_ms, newest_trained);
  }
  EXPECT_EQ(time.train.events.size() + time.num_held_out, data.events.size());
  EXPECT_NEAR(static_cast<double>(time.num_held_out) / static_cast<double>(data.events.size()), 0.25, 0.09);
}

TEST(SplitTest, CountsHeldOutEventsThatAreNoTargets) {
  DatasetBuilder builder(EventTypeTable::Default());
  for (const char* user : {"again", "against", "fine"}) builder.AddEvent(user, "a", kView, 0, 1);
  builder.AddEvent("again", "a", kView, 0, 2);
  builder.AddEvent("against", "b", kDislike, 0, 2);
  builder.AddEvent("fine", "b", kView, 0, 2);
  const Split split = *MakeSplit(*builder.Build(), SplitKind::kLeaveLastOut, 0);
  EXPECT_EQ(split.num_held_out, 3u);
  EXPECT_EQ(split.num_seen, 1u);
  EXPECT_EQ(split.num_negative, 1u);
  ASSERT_EQ(split.test.size(), 1u);
  EXPECT_EQ(split.test[0].user_id, "fine");
}

TEST(SplitTest, ByTimeKeepsUsersWithoutHistoryAndCountsRepetitions) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("old", "a", kView, 0, 1);
  builder.AddEvent("old", "b", kView, 0, 2);
  builder.AddEvent("new", "a", kView, 0, 10);
  builder.AddEvent("new", "a", kView, 0, 11);
  const Split split = *MakeSplit(*builder.Build(), SplitKind::kTime, 0.5);
  ASSERT_EQ(split.test.size(), 1u);
  EXPECT_TRUE(split.test[0].history.empty());
  EXPECT_THAT(split.test[0].targets, ElementsAre(ItemKeyOf("a")));
  EXPECT_EQ(split.num_repeated, 1u);
}

TEST(SplitTest, RefusesWhatCannotBeSplit) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("u", "a", kView, 0, 1);
  const Dataset one = *builder.Build();
  EXPECT_EQ(MakeSplit(one, SplitKind::kLeaveLastOut, 0).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(MakeSplit(one, SplitKind::kTime, 0.5).status().message()),
              HasSubstr("the same time"));
  EXPECT_EQ(MakeSplit(one, SplitKind::kTime, 1.5).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SplitTest, LeaveOneOutTestsWithTheLastAndValidatesWithTheOneBefore) {
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("one", "a", kView, 0, 1);
  builder.AddEvent("two", "a", kView, 0, 1);
  builder.AddEvent("two", "b", kView, 0, 2);
  for (int e = 0; e < 4; ++e)
    builder.AddEvent("four", std::string(1, static_cast<char>('a' + e)), kView, 0, e);
  const Split split = *MakeSplit(*builder.Build(), SplitKind::kLeaveOneOut, 0);
  ASSERT_EQ(split.validation.size(), 1u);
  EXPECT_EQ(split.validation[0].user_id, "four");
  EXPECT_THAT(split.validation[0].targets, ElementsAre(ItemKeyOf("c")));
  EXPECT_THAT(split.validation[0].history, ElementsAre(HistoryEvent{ItemKeyOf("a"), 0, 0, kView},
                                                       HistoryEvent{ItemKeyOf("b"), 1, 0, kView}));
  ASSERT_EQ(split.test.size(), 2u);
  EXPECT_EQ(split.test[0].user_id, "four");
  EXPECT_THAT(split.test[0].targets, ElementsAre(ItemKeyOf("d")));
  // The test's history has the validation item, and training does not.
  ASSERT_EQ(split.test[0].history.size(), 3u);
  EXPECT_EQ(split.test[0].history[2].item_key, ItemKeyOf("c"));
  EXPECT_EQ(split.train.events.size(), 4u);
  EXPECT_THAT(split.train.item_ids, ElementsAre("a", "b"));
  EXPECT_EQ(split.test[1].user_id, "two");
  EXPECT_EQ(split.num_held_out, 2u);
  EXPECT_EQ(split.num_validation, 1u);
}

TEST(SplitTest, GivenTestEventsAreTheTargetsAndAllElseIsTrainedOn) {
  DatasetBuilder train(EventTypeTable::Default()), test(EventTypeTable::Default());
  train.AddEvent("u", "a", kView, 0, 0);
  train.AddEvent("u", "b", kView, 0, 0);
  train.AddEvent("v", "c", kView, 0, 0);
  test.AddEvent("u", "c", kView, 0, 0);
  test.AddEvent("u", "new", kView, 0, 0);
  test.AddEvent("u", "c", kView, 0, 0);
  test.AddEvent("v", "c", kView, 0, 0);
  test.AddEvent("cold", "a", kView, 0, 0);
  const Split split = *MakeGivenSplit(*train.Build(), *test.Build());
  EXPECT_EQ(split.train.events.size(), 3u);
  ASSERT_EQ(split.test.size(), 2u);
  EXPECT_EQ(split.test[0].user_id, "cold");
  EXPECT_TRUE(split.test[0].history.empty());
  EXPECT_EQ(split.test[1].history.size(), 2u);
  EXPECT_THAT(split.test[1].targets, ElementsAre(ItemKeyOf("c"), ItemKeyOf("new")));
  EXPECT_EQ(split.num_held_out, 5u);
  EXPECT_EQ(split.num_seen, 1u);
  EXPECT_EQ(split.num_repeated, 1u);
}

TEST(SplitTest, CarvedValidationIsAShareOfEveryUserAndNobodyLosesAll) {
  DatasetBuilder timeless(EventTypeTable::Default()), timed(EventTypeTable::Default());
  for (int e = 0; e < 20; ++e) {
    timeless.AddEvent("u", absl::StrCat("i", e), kView, 0, 0);
    timed.AddEvent("u", absl::StrCat("i", e), kView, 0, 1 + e);
  }
  timeless.AddEvent("one", "i0", kView, 0, 0);
  timed.AddEvent("one", "i0", kView, 0, 1);
  const Dataset data = *timeless.Build();
  const Split split = *CarveValidation(data, 0.2, 1);
  ASSERT_EQ(split.validation.size(), 1u);
  EXPECT_EQ(split.validation[0].targets.size(), 4u);
  EXPECT_EQ(split.train.events.size(), 17u);
  EXPECT_TRUE(split.test.empty());
  std::set<ItemKey> items(split.validation[0].targets.begin(), split.validation[0].targets.end());
  for (const HistoryEvent& e : split.validation[0].history) items.insert(e.item_key);
  EXPECT_EQ(items.size(), 20u);
  EXPECT_EQ(CarveValidation(data, 0.2, 1)->validation[0].targets, split.validation[0].targets);
  EXPECT_NE(CarveValidation(data, 0.2, 2)->validation[0].targets, split.validation[0].targets);
  // With times, the newest ones.
  const Split newest = *CarveValidation(*timed.Build(), 0.2, 1);
  EXPECT_THAT(newest.validation[0].targets,
              ElementsAre(ItemKeyOf("i16"), ItemKeyOf("i17"), ItemKeyOf("i18"), ItemKeyOf("i19")));
  EXPECT_EQ(CarveValidation(data, 1.0, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace swiftlet
