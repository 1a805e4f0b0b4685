// Predict: expected ratings of stored users and of sessions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/rating_predictor.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;

// The engine's answer for a history, from the snapshot that the server serves.
class PredictTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TempDir;
    const absl::Status status =
        PublishRandomSnapshot(ModelDirectory(dir_->path() + "/models"),
                              {.num_items = 300, .version = 1, .with_rating_model = true});
    ASSERT_TRUE(status.ok()) << status;
    server_ = new ServerProcess({.dir = dir_->path()});
    snapshot_ = *ModelSnapshot::Load(dir_->path() + "/models/1", {});
  }
  static void TearDownTestSuite() {
    snapshot_.reset();
    EXPECT_EQ(server_->Terminate(), 0) << server_->Log();
    delete server_;
    delete dir_;
  }
  static std::vector<PredictedRating> Expected(const std::vector<v1::Event>& events,
                                               const std::vector<std::string>& items) {
    std::vector<HistoryEvent> history;
    for (const v1::Event& e : events) {
      history.push_back({.item_key = ItemKeyOf(e.item_id()),
                         .value = e.value(),
                         .type = static_cast<EventTypeId>(e.type() == "rating" ? 6 : 1)});
    }
    std::vector<ItemKey> keys;
    for (const std::string& item : items) keys.push_back(ItemKeyOf(item));
    RatingScratch scratch;
    RatingPrediction prediction;
    EXPECT_TRUE(PredictRatings(*snapshot_, {.history = history}, keys, scratch, &prediction).ok());
    return prediction.ratings;
  }
  static v1::Event RatingEvent(const std::string& user, const std::string& item, float value,
                               int64_t time_ms) {
    v1::Event event = MakeEvent(user, item, "rating", 1'600'000'000'000 + time_ms);
    event.set_value(value);
    return event;
  }
  // Asks for kWanted and checks every number against `events`.
  static void ExpectPredictions(v1::PredictRequest request, const std::vector<v1::Event>& events,
                                int num_used) {
    for (const char* item : kWanted) request.add_item_ids(item);
    v1::PredictResponse response;
    ASSERT_OK(server_->Predict(request, &response));
    const std::vector<PredictedRating> expected = Expected(events, {std::begin(kWanted), std::end(kWanted)});
    ASSERT_EQ(response.ratings_size(), static_cast<int>(expected.size()));
    for (int i = 0; i < response.ratings_size(); ++i) {
      EXPECT_EQ(response.ratings(i).item_id(), kWanted[i]);
      EXPECT_EQ(response.ratings(i).rating(), expected[i].rating) << kWanted[i];
      EXPECT_EQ(response.ratings(i).unknown_item(), !expected[i].known_item);
    }
    EXPECT_EQ(response.num_ratings_used(), num_used);
    EXPECT_EQ(response.min_rating(), 1.0f);
    EXPECT_EQ(response.max_rating(), 5.0f);
    EXPECT_EQ(response.snapshot_version(), 1);
    EXPECT_FALSE(response.request_id().empty());
  }

  // The last ten items of the snapshot were never rated.
  static constexpr const char* kWanted[] = {"item-7", "item-200", "item-299", "nothing", "item-7"};
  static TempDir* dir_;
  static ServerProcess* server_;
  static std::shared_ptr<const ModelSnapshot> snapshot_;
};
TempDir* PredictTest::dir_ = nullptr;
ServerProcess* PredictTest::server_ = nullptr;
std::shared_ptr<const ModelSnapshot> PredictTest::snapshot_;

TEST_F(PredictTest, ARatingCountsAsSoonAsItIsAcknowledged) {
  v1::PredictRequest request;
  request.set_user_id("rater");
  ExpectPredictions(request, {}, 0);
  std::vector<v1::Event> events;
  v1::RecordEventsResponse recorded;
  for (int i = 0; i < 6; ++i) {
    // Item 13 is rated twice: the last counts.
    events.push_back(
        RatingEvent("rater", "item-" + std::to_string(10 + i % 4), 1.0f + static_cast<float>(i) / 2, i));
    ASSERT_OK(server_->RecordEvents(Batch({events.back()}), &recorded));
    ExpectPredictions(request, events, std::min(i + 1, 4));
  }
  // Neither counts: no rating, not on the scale, an item that the model does not know.
  const std::vector<v1::Event> others = {MakeEvent("rater", "item-50", "view"),
                                         RatingEvent("rater", "item-51", 9, 90),
                                         RatingEvent("rater", "item-295", 1, 91)};
  ASSERT_OK(server_->RecordEvents(Batch(others), &recorded));
  ExpectPredictions(request, events, 4);
}

TEST_F(PredictTest, ASessionIsAnsweredLikeAUserWithTheseEvents) {
  std::vector<v1::Event> events;
  for (int i = 0; i < 30; ++i) {
    events.push_back(RatingEvent("", "item-" + std::to_string(3 * i), static_cast<float>(1 + i % 5), i));
  }
  v1::PredictRequest request;
  // In any order: sorted by time.
  for (size_t i = events.size(); i-- > 0;) *request.mutable_history()->add_events() = events[i];
  ExpectPredictions(request, events, 30);
}

TEST_F(PredictTest, MetadataAndRequestIdComeBack) {
  v1::PredictRequest request;
  request.set_user_id("nobody");
  request.add_item_ids("item-7");
  request.add_item_ids("nothing");
  request.set_request_id("mine");
  v1::PredictResponse response;
  ASSERT_OK(server_->Predict(request, &response));
  EXPECT_FALSE(response.ratings(0).has_metadata());
  request.set_include_metadata(true);
  ASSERT_OK(server_->Predict(request, &response));
  EXPECT_EQ(response.ratings(0).metadata().title(), "Title 7");
  EXPECT_FALSE(response.ratings(0).metadata().categories().empty());
  EXPECT_FALSE(response.ratings(1).has_metadata());
  EXPECT_EQ(response.request_id(), "mine");
}

TEST_F(PredictTest, BadRequestsAreRefusedByField) {
  const auto refused = [&](const std::function<void(v1::PredictRequest&)>& change,
                           const std::string& reason) {
    v1::PredictRequest request;
    request.set_user_id("u");
    request.add_item_ids("item-1");
    change(request);
    v1::PredictResponse response;
    const grpc::Status status = server_->Predict(request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << reason;
    EXPECT_THAT(status.error_message(), HasSubstr(reason));
  };
  refused([](auto& r) { r.clear_user(); }, "user: neither user_id nor history is set");
  refused([](auto& r) { r.set_user_id(""); }, "user_id");
  refused([](auto& r) { r.clear_item_ids(); }, "item_ids: 0 entries, 1 to 10000 are allowed");
  refused(
      [](auto& r) {
        for (int i = 0; i < 10'000; ++i) r.add_item_ids("x");
      },
      "item_ids: 10001 entries");
  refused([](auto& r) { r.add_item_ids(""); }, "item_ids[1]");
  refused([](auto& r) { r.mutable_history()->add_events()->set_item_id("x"); }, "history.events[0].type");
}

TEST(PredictWithoutRatingsTest, IsAFailedPrecondition) {
  TempDir dir;
  ASSERT_TRUE(
      PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {.num_items = 50, .version = 1}).ok());
  ServerProcess server({.dir = dir.path()});
  v1::PredictRequest request;
  request.set_user_id("u");
  request.add_item_ids("item-1");
  v1::PredictResponse response;
  const grpc::Status status = server.Predict(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("snapshot 1 has no rating model"));
  EXPECT_EQ(server.Terminate(), 0) << server.Log();
}

}  // namespace
}  // namespace swiftlet::testing
