// Recommend, ScoreItems, SimilarItems and RecordEvents over one snapshot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/recommender.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr uint32_t kItems = 300;
// Users with a trained vector. Tests share a server: each has users of its own. 0 to 34 never get events, 39
// is erased, those from 40 up (also beyond the trained ones) get many.
constexpr uint64_t kUsers = 90;

void Publish(const std::string& model_dir, int64_t version) {
  const absl::Status status = PublishRandomSnapshot(
      ModelDirectory(model_dir), {.num_items = kItems,
                                  .seed = static_cast<uint64_t>(version),
                                  .version = version,
                                  .num_users = kUsers,
                                  .write_user_vectors = RandomUserVectors(kUsers, version)});
  ASSERT_TRUE(status.ok()) << status.ToString();
}

std::vector<std::string> Ids(const v1::RecommendResponse& response) {
  std::vector<std::string> ids;
  for (const v1::ScoredItem& item : response.items()) ids.push_back(item.item_id());
  return ids;
}

// One server for the tests of this file: each uses users of its own.
class ServingTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TempDir;
    Publish(dir_->path() + "/models", 1);
    server_ = new ServerProcess({.dir = dir_->path()});
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(server_->Terminate(), 0) << server_->Log();
    delete server_;
    delete dir_;
  }
  void SetUp() override { ASSERT_TRUE(server_->running()); }

  static TempDir* dir_;
  static ServerProcess* server_;
};
TempDir* ServingTest::dir_ = nullptr;
ServerProcess* ServingTest::server_ = nullptr;

TEST(EmptyStart, ServesEventsAndCatalogueAndWaitsForASnapshot) {
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  EXPECT_EQ(server.Health(""), 2);
  EXPECT_EQ(server.Health("swiftlet.v1.RecommendationService"), 2);
  for (const char* service : {"EventService", "CatalogService", "UserService", "AdminService"}) {
    EXPECT_EQ(server.Health(std::string("swiftlet.v1.") + service), 1) << service;
  }
  v1::RecommendResponse response;
  EXPECT_CODE(server.Recommend(UserRequest("u", 10), &response), grpc::StatusCode::FAILED_PRECONDITION,
              "no snapshot is loaded");
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server.RecordEvents(Batch({MakeEvent("u", "item-7", "like")}), &recorded));
  EXPECT_EQ(recorded.num_recorded(), 1);
  EXPECT_FALSE(server.GetStatus().has_serving());

  Publish(server.model_dir(), 1);
  ASSERT_TRUE(server.WaitForVersion(1)) << server.Log();
  EXPECT_EQ(server.Health(""), 1);
  EXPECT_EQ(server.Health("swiftlet.v1.RecommendationService"), 1);
  // The event that came before the snapshot counts now.
  ASSERT_OK(server.Recommend(UserRequest("u", 10), &response));
  EXPECT_EQ(response.num_history_events_used(), 1);
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_HISTORY);
  EXPECT_THAT(Ids(response), Not(::testing::Contains("item-7")));
  EXPECT_EQ(server.Terminate(), 0);
}

TEST_F(ServingTest, AnswersHoldKItemsBestFirstOfOneVersion) {
  v1::RecommendRequest request = UserRequest("user-1", 25);
  request.set_request_id("my request");
  v1::RecommendResponse response;
  ASSERT_OK(server_->Recommend(request, &response));
  EXPECT_THAT(response.items(), SizeIs(25));
  EXPECT_EQ(response.snapshot_version(), 1);
  EXPECT_EQ(response.request_id(), "my request");
  const std::vector<std::string> ids = Ids(response);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 25u);
  for (int i = 1; i < response.items_size(); ++i) {
    EXPECT_GE(response.items(i - 1).score(), response.items(i).score());
  }
  for (const v1::ScoredItem& item : response.items()) {
    EXPECT_EQ(item.source(), v1::SOURCE_LONG_TERM);
    EXPECT_FALSE(item.has_metadata());
    EXPECT_THAT(item.explanation(), IsEmpty());
  }
  // Generated ids differ.
  v1::RecommendResponse a, b;
  ASSERT_OK(server_->Recommend(UserRequest("user-1", 1), &a));
  ASSERT_OK(server_->Recommend(UserRequest("user-1", 1), &b));
  EXPECT_THAT(a.request_id(), SizeIs(16));
  EXPECT_NE(a.request_id(), b.request_id());
}

TEST_F(ServingTest, AnswersAreTheEnginesOwn) {
  const absl::StatusOr<std::shared_ptr<const ModelSnapshot>> snapshot =
      ModelSnapshot::Load(dir_->path() + "/models/1", {});
  ASSERT_TRUE(snapshot.ok()) << snapshot.status().ToString();
  const std::shared_ptr<const CatalogView> view = CatalogView::Build(**snapshot, {});
  Scratch scratch;
  Recommendation expected;
  for (uint64_t user = 0; user < 35; ++user) {
    const std::string id = "user-" + std::to_string(user);
    const std::vector<float> long_term = RandomUserVector(user, /*seed=*/1, (*snapshot)->dim());
    RecommendQuery query;
    query.k = 10;
    ASSERT_TRUE(
        Recommend(**snapshot, *view, query, {.history = {}, .long_term = long_term}, scratch, &expected)
            .ok());
    v1::RecommendResponse response;
    ASSERT_OK(server_->Recommend(UserRequest(id, 10), &response));
    ASSERT_EQ(response.items_size(), static_cast<int>(expected.items.size()));
    for (int i = 0; i < response.items_size(); ++i) {
      EXPECT_EQ(response.items(i).item_id(), view->ItemId(expected.items[i].row)) << id;
      EXPECT_EQ(response.items(i).score(), expected.items[i].score) << id;
    }
  }
}

TEST_F(ServingTest, FiltersApplyInsideTheScan) {
  v1::RecommendRequest request = UserRequest("user-2", 20);
  request.set_include_metadata(true);
  v1::RecommendResponse plain;
  ASSERT_OK(server_->Recommend(request, &plain));
  for (const v1::ScoredItem& item : plain.items()) {
    EXPECT_THAT(item.metadata().title(), HasSubstr("Title "));
    EXPECT_THAT(item.metadata().categories(), Not(IsEmpty()));
  }
  for (int i = 0; i < 10; ++i) request.mutable_filter()->add_exclude_item_ids(plain.items(i).item_id());
  request.mutable_filter()->add_exclude_item_ids("no such item");
  v1::RecommendResponse rest;
  ASSERT_OK(server_->Recommend(request, &rest));
  ASSERT_THAT(rest.items(), SizeIs(20));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(rest.items(i).item_id(), plain.items(10 + i).item_id());

  request.clear_filter();
  request.mutable_filter()->add_any_of_categories("cat-1");
  request.mutable_filter()->add_none_of_categories("cat-2");
  request.set_k(kItems);
  v1::RecommendResponse filtered;
  ASSERT_OK(server_->Recommend(request, &filtered));
  // All of them: kItems / 5 have cat-1 first, some of them cat-2 too, and some others cat-1 second.
  EXPECT_GT(filtered.items_size(), 20);
  EXPECT_LT(filtered.items_size(), static_cast<int>(kItems));
  for (const v1::ScoredItem& item : filtered.items()) {
    EXPECT_THAT(item.metadata().categories(), ::testing::Contains("cat-1"));
    EXPECT_THAT(item.metadata().categories(), Not(::testing::Contains("cat-2")));
  }
  request.mutable_filter()->clear_any_of_categories();
  request.mutable_filter()->add_any_of_categories("no such category");
  v1::RecommendResponse none;
  ASSERT_OK(server_->Recommend(request, &none));
  EXPECT_THAT(none.items(), IsEmpty());
}

TEST_F(ServingTest, SeenItemsAreLeftOutUnlessAskedFor) {
  std::vector<v1::Event> events;
  for (int i = 0; i < 12; ++i)
    events.push_back(MakeEvent("seen", "item-" + std::to_string(i), "like", 1000 + i));
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server_->RecordEvents(Batch(events), &recorded));
  v1::RecommendRequest request = UserRequest("seen", kItems);
  v1::RecommendResponse response;
  ASSERT_OK(server_->Recommend(request, &response));
  EXPECT_THAT(response.items(), SizeIs(kItems - 12));
  EXPECT_EQ(response.num_history_events_used(), 12);
  for (const v1::Event& event : events) EXPECT_THAT(Ids(response), Not(::testing::Contains(event.item_id())));
  request.set_exclude_seen(false);
  ASSERT_OK(server_->Recommend(request, &response));
  EXPECT_THAT(response.items(), SizeIs(kItems));
}

TEST_F(ServingTest, ScoreItemsGivesTheScoresOfRecommend) {
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server_->RecordEvents(
      Batch({MakeEvent("scored", "item-5", "purchase"), MakeEvent("scored", "item-9", "dislike")}),
      &recorded));
  v1::RecommendResponse recommended;
  ASSERT_OK(server_->Recommend(UserRequest("scored", 15), &recommended));
  v1::ScoreItemsRequest request;
  request.set_user_id("scored");
  request.add_item_ids("nothing");
  for (int i = 14; i >= 0; --i) request.add_item_ids(recommended.items(i).item_id());
  request.add_item_ids(recommended.items(3).item_id());
  request.set_include_metadata(true);
  v1::ScoreItemsResponse response;
  ASSERT_OK(server_->ScoreItems(request, &response));
  ASSERT_THAT(response.items(), SizeIs(16));
  EXPECT_THAT(response.unknown_item_ids(), ::testing::ElementsAre("nothing"));
  EXPECT_EQ(response.snapshot_version(), 1);
  for (int i = 0; i < 15; ++i) {
    EXPECT_EQ(response.items(i).item_id(), recommended.items(14 - i).item_id());
    EXPECT_FLOAT_EQ(response.items(i).score(), recommended.items(14 - i).score());
    EXPECT_TRUE(response.items(i).has_metadata());
  }
  EXPECT_FLOAT_EQ(response.items(15).score(), recommended.items(3).score());
}

TEST_F(ServingTest, SimilarItemsAreTheLargestCosines) {
  const absl::StatusOr<std::shared_ptr<const ModelSnapshot>> snapshot =
      ModelSnapshot::Load(dir_->path() + "/models/1", {});
  ASSERT_TRUE(snapshot.ok());
  const ModelSnapshot& s = **snapshot;
  const uint32_t row = *s.FindRow(ItemKeyOf("item-42"));
  std::vector<std::pair<double, std::string>> cosines;
  for (uint32_t r = 0; r < s.num_items(); ++r) {
    if (r == row) continue;
    double dot = 0, a = 0, b = 0;
    for (uint32_t d = 0; d < s.dim(); ++d) {
      const double x = s.ItemVector(row)[d], y = s.ItemVector(r)[d];
      dot += x * y, a += x * x, b += y * y;
    }
    cosines.emplace_back(dot / std::sqrt(a * b), s.ItemId(r));
  }
  std::sort(cosines.rbegin(), cosines.rend());
  v1::SimilarItemsRequest request;
  request.set_item_id("item-42");
  request.set_k(20);
  v1::SimilarItemsResponse response;
  ASSERT_OK(server_->SimilarItems(request, &response));
  ASSERT_THAT(response.items(), SizeIs(20));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(response.items(i).item_id(), cosines[i].second);
    EXPECT_NEAR(response.items(i).score(), cosines[i].first, 1e-5);
    EXPECT_EQ(response.items(i).source(), v1::SOURCE_UNSPECIFIED);
  }
  request.set_item_id("nothing");
  EXPECT_CODE(server_->SimilarItems(request, &response), grpc::StatusCode::NOT_FOUND, "item_id: \"nothing\"");
}

TEST_F(ServingTest, AnInlineHistoryGivesTheAnswerOfAStoredOne) {
  std::vector<v1::Event> events;
  for (int i = 0; i < 8; ++i) {
    events.push_back(MakeEvent("stored", "item-" + std::to_string(i * 7), i % 2 == 0 ? "click" : "like",
                               1'000'000'000'000 + i * 60'000));
  }
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server_->RecordEvents(Batch(events), &recorded));
  v1::RecommendResponse stored, from_session;
  ASSERT_OK(server_->Recommend(UserRequest("stored", 20), &stored));
  v1::RecommendRequest request;
  request.set_k(20);
  // In any order: sorted by time.
  for (size_t i : {3, 0, 7, 1, 5, 2, 6, 4}) {
    v1::Event& event = *request.mutable_history()->add_events() = events[i];
    event.clear_user_id();
  }
  ASSERT_OK(server_->Recommend(request, &from_session));
  EXPECT_EQ(from_session.num_history_events_used(), 8);
  ASSERT_EQ(from_session.items_size(), stored.items_size());
  for (int i = 0; i < stored.items_size(); ++i) {
    EXPECT_EQ(from_session.items(i).item_id(), stored.items(i).item_id());
    EXPECT_EQ(from_session.items(i).score(), stored.items(i).score());
  }
  // Nothing is stored.
  v1::GetUserRequest get;
  get.set_user_id("");
  v1::GetUserResponse user;
  EXPECT_CODE(server_->GetUser(get, &user), grpc::StatusCode::INVALID_ARGUMENT, "user_id");
}

TEST_F(ServingTest, AnEmptySessionAndAnUnknownUserGetPopularItems) {
  v1::RecommendRequest session;
  session.mutable_history();
  session.set_k(10);
  v1::RecommendRequest unknown = UserRequest("never heard of", 10);
  v1::RecommendResponse a, b;
  ASSERT_OK(server_->Recommend(session, &a));
  ASSERT_OK(server_->Recommend(unknown, &b));
  ASSERT_THAT(a.items(), SizeIs(10));
  EXPECT_EQ(Ids(a), Ids(b));
  for (const v1::ScoredItem& item : b.items()) EXPECT_EQ(item.source(), v1::SOURCE_POPULAR);
  EXPECT_GE(b.items(0).score(), b.items(9).score());
  EXPECT_EQ(b.num_history_events_used(), 0);
}

TEST_F(ServingTest, TheContextIsAllThereIsForAnUnknownUser) {
  v1::RecommendRequest request = UserRequest("on a product page", 10);
  request.mutable_context()->add_item_ids("item-3");
  request.mutable_context()->add_item_ids("unknown item");
  (*request.mutable_context()->mutable_features())["device"] = "phone";
  request.set_explain(true);
  v1::RecommendResponse response;
  ASSERT_OK(server_->Recommend(request, &response));
  ASSERT_THAT(response.items(), SizeIs(10));
  for (const v1::ScoredItem& item : response.items()) {
    EXPECT_EQ(item.source(), v1::SOURCE_CONTEXT);
    bool has_context = false;
    for (const v1::Contribution& term : item.explanation()) {
      if (term.kind() == v1::Contribution::KIND_CONTEXT) {
        has_context = true;
        EXPECT_EQ(term.item_id(), "item-3");
      }
    }
    EXPECT_TRUE(has_context);
  }
}

TEST_F(ServingTest, TheNextAnswerReflectsAnAcknowledgedEvent) {
  for (int i = 0; i < 60; ++i) {
    v1::RecommendResponse before, after;
    ASSERT_OK(server_->Recommend(UserRequest("reader", 5), &before));
    const std::string item = before.items(i % 5).item_id();
    v1::RecordEventsResponse recorded;
    ASSERT_OK(server_->RecordEvents(Batch({MakeEvent("reader", item, "click")}), &recorded));
    ASSERT_OK(server_->Recommend(UserRequest("reader", 5), &after));
    EXPECT_EQ(after.num_history_events_used(), std::min(i + 1, 50));  // the snapshot's max_events
    EXPECT_THAT(Ids(after), Not(::testing::Contains(item)));
  }
}

TEST_F(ServingTest, EventsWithAnIdCountOnce) {
  const v1::RecordEventsRequest batch = Batch({MakeEvent("once", "item-1", "click", 0, "event-a"),
                                               MakeEvent("once", "item-2", "click", 0, "event-b"),
                                               MakeEvent("once", "item-2", "click", 0, "event-b")});
  v1::RecordEventsResponse response;
  ASSERT_OK(server_->RecordEvents(batch, &response));
  EXPECT_EQ(response.num_recorded(), 2);
  EXPECT_EQ(response.num_duplicates(), 1);
  ASSERT_OK(server_->RecordEvents(batch, &response));
  EXPECT_EQ(response.num_recorded(), 0);
  EXPECT_EQ(response.num_duplicates(), 3);
  v1::GetUserRequest get;
  get.set_user_id("once");
  v1::GetUserResponse user;
  ASSERT_OK(server_->GetUser(get, &user));
  EXPECT_THAT(user.events(), SizeIs(2));
}

TEST_F(ServingTest, GetUserReturnsTheHistoryNewestFirst) {
  v1::Event rating = MakeEvent("got", "item-1", "rating", 5000);
  rating.set_value(4.5f);
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server_->RecordEvents(Batch({MakeEvent("got", "an item no snapshot knows", "view", 9000), rating,
                                         MakeEvent("got", "item-2", "click", 7000)}),
                                  &recorded));
  v1::GetUserRequest get;
  get.set_user_id("got");
  v1::GetUserResponse user;
  ASSERT_OK(server_->GetUser(get, &user));
  ASSERT_THAT(user.events(), SizeIs(3));
  EXPECT_EQ(user.events(0).item_id(), "an item no snapshot knows");
  EXPECT_EQ(user.events(1).item_id(), "item-2");
  EXPECT_EQ(user.events(2).item_id(), "item-1");
  EXPECT_EQ(user.events(2).type(), "rating");
  EXPECT_EQ(user.events(2).value(), 4.5f);
  EXPECT_EQ(user.events(2).timestamp_ms(), 5000);
  EXPECT_FALSE(user.has_long_term_vector());
  get.set_max_events(1);
  ASSERT_OK(server_->GetUser(get, &user));
  ASSERT_THAT(user.events(), SizeIs(1));
  EXPECT_EQ(user.events(0).timestamp_ms(), 9000);
  get.set_user_id("nobody");
  EXPECT_CODE(server_->GetUser(get, &user), grpc::StatusCode::NOT_FOUND, "\"nobody\" has no events");
}

TEST_F(ServingTest, AnErasedUserIsUnknown) {
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server_->RecordEvents(Batch({MakeEvent("user-39", "item-1", "like")}), &recorded));
  v1::RecommendResponse response;
  ASSERT_OK(server_->Recommend(UserRequest("user-39", 5), &response));
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_HISTORY);
  v1::GetUserRequest get;
  get.set_user_id("user-39");
  v1::GetUserResponse user;
  ASSERT_OK(server_->GetUser(get, &user));
  EXPECT_TRUE(user.has_long_term_vector());

  v1::DeleteUserRequest erase;
  erase.set_user_id("user-39");
  v1::DeleteUserResponse erased;
  ASSERT_OK(server_->DeleteUser(erase, &erased));
  ASSERT_OK(server_->DeleteUser(erase, &erased));
  // Neither the events nor the trained vector.
  ASSERT_OK(server_->Recommend(UserRequest("user-39", 5), &response));
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_POPULAR);
  EXPECT_CODE(server_->GetUser(get, &user), grpc::StatusCode::NOT_FOUND, "user-39");
  ASSERT_OK(server_->RecordEvents(Batch({MakeEvent("user-39", "item-2", "like")}), &recorded));
  ASSERT_OK(server_->Recommend(UserRequest("user-39", 5), &response));
  EXPECT_EQ(response.num_history_events_used(), 1);
}

// The terms of every item of every answer add up to its score, and the weights of the slots to 1.
void ExpectExact(const google::protobuf::RepeatedPtrField<v1::ScoredItem>& items) {
  for (const v1::ScoredItem& item : items) {
    ASSERT_THAT(item.explanation(), Not(IsEmpty()));
    double sum = 0, largest = 0, weights = 0;
    for (int i = 0; i < item.explanation_size(); ++i) {
      const v1::Contribution& term = item.explanation(i);
      sum += term.score();
      largest = std::max(largest, std::abs(static_cast<double>(term.score())));
      weights += term.weight();
      EXPECT_GE(term.weight(), 0);
      EXPECT_NE(term.kind(), v1::Contribution::KIND_UNSPECIFIED);
      if (i > 0) {
        EXPECT_LE(term.score(), item.explanation(i - 1).score());
      }
      if (term.kind() == v1::Contribution::KIND_EVENT) {
        EXPECT_THAT(term.item_id(), HasSubstr("item-"));
        EXPECT_THAT(term.event_type(), Not(IsEmpty()));
        EXPECT_GT(term.event_timestamp_ms(), 0);
        EXPECT_THAT(term.item_title(), HasSubstr("Title "));
      }
    }
    EXPECT_NEAR(sum, item.score(), 1e-4 * std::max(largest, 1e-3));
    if (item.source() != v1::SOURCE_POPULAR) {
      EXPECT_NEAR(weights, 1.0, 1e-4);
    }
  }
}

TEST_F(ServingTest, ExplanationsAddUpToTheScoreOfEveryAnswer) {
  std::mt19937 random(7);
  const std::vector<std::string> types = {"view",     "click",   "like", "cart",
                                          "purchase", "dislike", "skip", "rating"};
  auto some_event = [&](const std::string& user) {
    v1::Event event =
        MakeEvent(user, "item-" + std::to_string(random() % kItems), types[random() % types.size()],
                  1'600'000'000'000 + static_cast<int64_t>(random() % 1'000'000'000));
    event.set_value(static_cast<float>(random() % 50) / 10);
    return event;
  };
  for (int i = 0; i < 200; ++i) {
    // Users with and without a trained vector, sessions; with and without context.
    const std::string user = "user-" + std::to_string(40 + random() % 80);
    v1::RecommendRequest request = UserRequest(user, 1 + static_cast<int>(random() % 30));
    v1::ScoreItemsRequest score;
    score.set_user_id(user);
    if (random() % 2 == 0) {
      std::vector<v1::Event> events;
      for (uint32_t n = 1 + random() % 10; n > 0; --n) events.push_back(some_event(user));
      v1::RecordEventsResponse recorded;
      ASSERT_OK(server_->RecordEvents(Batch(events), &recorded));
    }
    if (random() % 4 == 0) {
      for (uint32_t n = random() % 80; n > 0; --n) *request.mutable_history()->add_events() = some_event("");
      request.mutable_history();
      *score.mutable_history() = request.history();
    }
    for (uint32_t n = random() % 3; n > 0; --n) {
      request.mutable_context()->add_item_ids("item-" + std::to_string(random() % kItems));
    }
    *score.mutable_context() = request.context();
    request.set_explain(true);
    request.set_include_metadata(true);
    request.set_exclude_seen(random() % 2 == 0);
    v1::RecommendResponse response;
    ASSERT_OK(server_->Recommend(request, &response));
    ASSERT_EQ(response.items_size(), request.k());
    ASSERT_NO_FATAL_FAILURE(ExpectExact(response.items()));

    for (const v1::ScoredItem& item : response.items()) score.add_item_ids(item.item_id());
    score.set_explain(true);
    score.set_include_metadata(true);
    v1::ScoreItemsResponse scored;
    ASSERT_OK(server_->ScoreItems(score, &scored));
    ASSERT_NO_FATAL_FAILURE(ExpectExact(scored.items()));
    for (int n = 0; n < scored.items_size(); ++n) {
      EXPECT_NEAR(scored.items(n).score(), response.items(n).score(),
                  1e-5 * std::max(1.0f, std::abs(response.items(n).score())));
    }
  }
}

}  // namespace
}  // namespace swiftlet::testing
