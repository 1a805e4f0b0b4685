#include "client/load/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/load/catalogue.h"
#include "swiftlet/v1/event.pb.h"
#include "swiftlet/v1/recommendation.pb.h"

namespace swiftlet::load {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kItems = 1000;

WorkloadOptions Options(std::string_view mix) {
  WorkloadOptions options;
  options.mix = *ParseMix(mix);
  options.num_users = 100;
  options.num_cold_users = 90;
  return options;
}

std::unique_ptr<Workload> MakeWorkload(const WorkloadOptions& options) {
  return std::make_unique<Workload>(options, NumberedItems("item-", kItems), kItems);
}

// An answer of these items, by a snapshot version.
std::string Ranked(const std::vector<std::string>& ids, int64_t version = 1) {
  v1::RecommendResponse response;
  for (const std::string& id : ids) response.add_items()->set_item_id(id);
  response.set_snapshot_version(version);
  return response.SerializeAsString();
}

// `k` items that the user has not seen.
std::vector<std::string> Unseen(const Workload& workload, uint64_t user, bool cold, int k) {
  std::set<std::string> seen;
  for (int j = 0; j < workload.options().history_events; ++j)
    seen.insert(workload.HistoryItem(user, cold, j));
  std::vector<std::string> ids;
  for (const std::string& id : workload.item_ids()) {
    if (static_cast<int>(ids.size()) < k && !seen.contains(id)) ids.push_back(id);
  }
  return ids;
}

TEST(ParseMixTest, ReadsWeights) {
  const auto mix = ParseMix("recommend=90,events=10.5,freshness=1");
  ASSERT_TRUE(mix.ok());
  EXPECT_EQ((*mix)[static_cast<int>(Kind::kRecommend)], 90);
  EXPECT_EQ((*mix)[static_cast<int>(Kind::kEvents)], 10.5);
  EXPECT_EQ((*mix)[static_cast<int>(Kind::kFreshEvent)], 1);
  for (const char* bad : {"", "recommend", "recommend=x", "recommend=-1", "recommend=nan", "walk=1",
                          "recommend=0", "null=1", "fresh-event=1"}) {
    EXPECT_FALSE(ParseMix(bad).ok()) << bad;
  }
}

TEST(WorkloadTest, ColdUsersComeAllInTurn) {
  const auto workload = MakeWorkload(Options("cold=1"));
  for (int round = 0; round < 2; ++round) {
    std::set<uint64_t> users;
    for (int i = 0; i < 90; ++i) users.insert(workload->NextColdUser());
    EXPECT_EQ(users.size(), 90u);
    EXPECT_EQ(*users.rbegin(), 89u);
  }
}

TEST(WorkloadTest, RecordedHistoriesAreTheOnesThatAnswersAreHeldTo) {
  const auto workload = MakeWorkload(Options("recommend=1,cold=1"));
  HistorySource source(workload.get(), /*cold=*/true, /*batch=*/70);
  Call call;
  std::map<std::string, std::vector<std::string>> recorded;
  while (source.Next(call)) {
    v1::RecordEventsRequest request;
    ASSERT_TRUE(request.ParseFromString(call.request));
    EXPECT_LE(request.events_size(), 70);
    for (const v1::Event& event : request.events()) recorded[event.user_id()].push_back(event.item_id());
    v1::RecordEventsResponse answer;
    answer.set_num_recorded(request.events_size());
    EXPECT_EQ(source.OnAnswer(call, absl::StatusCode::kOk, answer.SerializeAsString()).wrong, "");
  }
  ASSERT_EQ(recorded.size(), 90u);
  std::vector<uint64_t> hashes;
  for (uint64_t user = 0; user < 90; ++user) {
    const std::vector<std::string>& items = recorded[absl::StrCat("load-cold-", user)];
    ASSERT_EQ(items.size(), 50u);
    workload->HistoryHashes(user, /*cold=*/true, hashes);
    for (size_t j = 0; j < items.size(); ++j) EXPECT_EQ(Workload::HashOf(items[j]), hashes[j]);
  }
  EXPECT_FALSE(source.failed());
}

TEST(WorkloadTest, AFailureEndsTheRecordingOfHistories) {
  const auto workload = MakeWorkload(Options("recommend=1"));
  HistorySource source(workload.get(), /*cold=*/false, /*batch=*/10);
  Call call;
  ASSERT_TRUE(source.Next(call));
  source.OnAnswer(call, absl::StatusCode::kUnavailable, "");
  EXPECT_TRUE(source.failed());
  EXPECT_FALSE(source.Next(call));
}

TEST(WorkloadTest, WhatTheServerHasNoRoomForIsSentAgain) {
  const auto workload = MakeWorkload(Options("recommend=1"));
  const auto stored = [](const Call& call) {
    v1::RecordEventsResponse answer;
    answer.set_num_recorded(static_cast<int64_t>(call.user));
    return answer.SerializeAsString();
  };
  HistorySource source(workload.get(), /*cold=*/false, /*batch=*/10);
  Call call;
  ASSERT_TRUE(source.Next(call));
  const std::string request = call.request;
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(source.OnAnswer(call, absl::StatusCode::kResourceExhausted, "").follow_up);
    EXPECT_EQ(call.request, request);
  }
  EXPECT_FALSE(source.OnAnswer(call, absl::StatusCode::kOk, stored(call)).follow_up);
  EXPECT_TRUE(source.Next(call));
  EXPECT_FALSE(source.failed());
  HistorySource impatient(workload.get(), /*cold=*/false, /*batch=*/10, absl::ZeroDuration());
  ASSERT_TRUE(impatient.Next(call));
  EXPECT_FALSE(impatient.OnAnswer(call, absl::StatusCode::kResourceExhausted, "").follow_up);
  EXPECT_TRUE(impatient.failed());
}

TEST(MixSourceTest, WrongAnswersAreFound) {
  const auto workload = MakeWorkload(Options("recommend=1"));
  MixSource source(workload.get(), 1);
  Call call;
  ASSERT_TRUE(source.Next(call));
  ASSERT_EQ(call.kind, Kind::kRecommend);
  const std::vector<std::string> right = Unseen(*workload, call.user, false, 10);
  const auto verdict = [&](const std::vector<std::string>& ids, int64_t version = 1) {
    return source.OnAnswer(call, absl::StatusCode::kOk, Ranked(ids, version)).wrong;
  };
  EXPECT_EQ(verdict(right), "");
  std::vector<std::string> wrong = right;
  wrong.pop_back();
  EXPECT_THAT(verdict(wrong), HasSubstr("9 items, 10 were asked for"));
  wrong = right;
  wrong.push_back("one-too-many");
  EXPECT_THAT(verdict(wrong), HasSubstr("11 items"));
  wrong = right;
  wrong[3] = wrong[7];
  EXPECT_THAT(verdict(wrong), HasSubstr("twice"));
  for (const int j : {0, 49}) {
    wrong = right;
    wrong[9] = workload->HistoryItem(call.user, false, j);
    EXPECT_THAT(verdict(wrong), HasSubstr("own history"));
  }
  EXPECT_THAT(verdict(right, 0), HasSubstr("snapshot_version 0"));
  call.version_before = 5;
  EXPECT_EQ(verdict(right, 5), "");
  EXPECT_THAT(verdict(right, 4), HasSubstr("older snapshot"));
  EXPECT_EQ(source.OnAnswer(call, absl::StatusCode::kOk, "\xff").wrong, "the answer is no message");
  EXPECT_EQ(source.OnAnswer(call, absl::StatusCode::kUnavailable, "").wrong, "");
}

TEST(MixSourceTest, LongAnswersAreHeldToTheSame) {
  WorkloadOptions options = Options("recommend=1");
  options.k = 100;
  options.allow_rollback = true;
  const auto workload = MakeWorkload(options);
  MixSource source(workload.get(), 1);
  Call call;
  ASSERT_TRUE(source.Next(call));
  call.version_before = 9;
  std::vector<std::string> ids = Unseen(*workload, call.user, false, 100);
  EXPECT_EQ(source.OnAnswer(call, absl::StatusCode::kOk, Ranked(ids)).wrong, "");
  ids[99] = ids[0];
  EXPECT_THAT(source.OnAnswer(call, absl::StatusCode::kOk, Ranked(ids)).wrong, HasSubstr("twice"));
}

TEST(MixSourceTest, FewerItemsAreRightWhereTheCatalogueHasNoMore) {
  WorkloadOptions options = Options("recommend=1");
  options.history_events = 0;
  Workload workload(options, NumberedItems("item-", 6), 6);
  MixSource source(&workload, 1);
  Call call;
  ASSERT_TRUE(source.Next(call));
  EXPECT_EQ(source.OnAnswer(call, absl::StatusCode::kOk, Ranked(NumberedItems("item-", 6))).wrong, "");
}

TEST(MixSourceTest, HistoriesBeyondTheLimitAreNotHeldAgainstAnswers) {
  WorkloadOptions options = Options("recommend=1");
  options.num_users = 1;
  const auto workload = MakeWorkload(options);
  MixSource source(workload.get(), 1);
  Call call;
  ASSERT_TRUE(source.Next(call));
  std::vector<std::string> ids = Unseen(*workload, 0, false, 10);
  ids[0] = workload->HistoryItem(0, false, 0);
  workload->AddEvents(0, 150);
  EXPECT_NE(source.OnAnswer(call, absl::StatusCode::kOk, Ranked(ids)).wrong, "");
  workload->AddEvents(0, 1);
  EXPECT_EQ(source.OnAnswer(call, absl::StatusCode::kOk, Ranked(ids)).wrong, "");
}

TEST(MixSourceTest, KindsComeAsOftenAsTheirWeights) {
  const auto workload =
      MakeWorkload(Options("recommend=50,cold=10,anonymous=20,similar=10,events=5,upsert=5"));
  MixSource source(workload.get(), 3);
  std::array<int, kNumKinds> counts = {};
  Call call;
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(source.Next(call));
    ++counts[static_cast<size_t>(call.kind)];
  }
  EXPECT_NEAR(counts[static_cast<int>(Kind::kRecommend)], 10'000, 400);
  EXPECT_NEAR(counts[static_cast<int>(Kind::kCold)], 2'000, 250);
  EXPECT_NEAR(counts[static_cast<int>(Kind::kAnonymous)], 4'000, 300);
  EXPECT_NEAR(counts[static_cast<int>(Kind::kSimilar)], 2'000, 250);
  EXPECT_NEAR(counts[static_cast<int>(Kind::kEvents)], 1'000, 200);
  EXPECT_NEAR(counts[static_cast<int>(Kind::kUpsert)], 1'000, 200);
}

class FreshnessTest : public ::testing::Test {
 protected:
  FreshnessTest() {
    WorkloadOptions options = Options("freshness=1");
    options.num_trials = 3;
    workload_ = MakeWorkload(options);
    source_ = std::make_unique<MixSource>(workload_.get(), 1);
    v1::RecordEventsResponse response;
    response.set_num_recorded(1);
    recorded_ = response.SerializeAsString();
  }
  // The first answer of a user, then an event: what is sent next has to reflect it.
  void Begin() {
    ASSERT_TRUE(source_->Next(call_));
    ASSERT_EQ(call_.kind, Kind::kFreshRecommend);
    EXPECT_EQ(Answer("item-0").wrong, "");
    Event("item-0");
  }
  void Event(const std::string& item) {
    ASSERT_TRUE(source_->Next(call_));
    ASSERT_EQ(call_.kind, Kind::kFreshEvent);
    v1::RecordEventsRequest request;
    ASSERT_TRUE(request.ParseFromString(call_.request));
    EXPECT_EQ(request.events(0).item_id(), item);
    ASSERT_TRUE(source_->OnAnswer(call_, absl::StatusCode::kOk, recorded_).follow_up);
    ASSERT_EQ(call_.kind, Kind::kFreshRecommend);
    v1::RecommendRequest recommend;
    ASSERT_TRUE(recommend.ParseFromString(call_.request));
    EXPECT_EQ(recommend.user_id(), request.events(0).user_id());
  }
  // Ten items from this one on.
  Verdict Answer(const std::string& first) {
    std::vector<std::string> ids = NumberedItems("other-", 9);
    ids.insert(ids.begin(), first);
    return source_->OnAnswer(call_, absl::StatusCode::kOk, Ranked(ids));
  }

  std::unique_ptr<Workload> workload_;
  std::unique_ptr<MixSource> source_;
  Call call_;
  std::string recorded_;
};

TEST_F(FreshnessTest, AnAnswerWithTheItemOfTheEventIsStale) {
  Begin();
  EXPECT_THAT(Answer("item-0").wrong, HasSubstr("stale"));
  EXPECT_EQ(workload_->num_trials(), 1);
  EXPECT_EQ(workload_->num_stale(), 1);
}

TEST_F(FreshnessTest, EndsAfterItsTrials) {
  Begin();
  for (int i = 1; i <= 3; ++i) {
    EXPECT_EQ(Answer(absl::StrCat("item-", i)).wrong, "");
    EXPECT_EQ(workload_->num_trials(), i);
    if (i < 3) Event(absl::StrCat("item-", i));
  }
  EXPECT_EQ(workload_->num_stale(), 0);
  EXPECT_FALSE(source_->Next(call_));
}

TEST_F(FreshnessTest, AnEventOfUnknownFateIsNoTrial) {
  ASSERT_TRUE(source_->Next(call_));
  Answer("item-0");
  ASSERT_TRUE(source_->Next(call_));
  ASSERT_EQ(call_.kind, Kind::kFreshEvent);
  EXPECT_FALSE(source_->OnAnswer(call_, absl::StatusCode::kDeadlineExceeded, "").follow_up);
  ASSERT_TRUE(source_->Next(call_));
  EXPECT_EQ(call_.kind, Kind::kFreshRecommend);  // of another user
  EXPECT_EQ(workload_->num_trials(), 0);
}

}  // namespace
}  // namespace swiftlet::load
