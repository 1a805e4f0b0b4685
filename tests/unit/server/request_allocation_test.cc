// What answering a call allocates once its thread's buffers have grown: from the bytes that gRPC hands over
// to the bytes that it is given. gRPC's state of the call is not in this; the slice of the answer is, which
// gRPC allocates: kAnswer. Nothing else is, but for the text of every string of the request that does not fit
// into the string itself (over 15 bytes): protobuf puts strings into an arena, but not their text.
#include <grpcpp/grpcpp.h>
#include <grpcpp/test/default_reactor_test_peer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/recommendation_service.h"
#include "tests/testing/count_allocations.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

constexpr size_t kMeasured = 20;
constexpr size_t kAnswer = 1;
constexpr int64_t kNowMs = 1'700'000'000'000;
constexpr char kUser[] = "user-1";
constexpr char kLongId[] = "an id that is longer than a small string";

// All that a server needs to recommend, but for the transport.
class RequestAllocationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const EventTypeTable types = EventTypeTable::Default();
    absl::StatusOr<std::unique_ptr<Database>> database =
        Database::Open({.path = dir_.File("data"), .max_history_events = 200, .sync_writes = false}, types);
    ASSERT_TRUE(database.ok()) << database.status().ToString();
    database_ = *std::move(database);
    users_ = std::make_unique<UserCache>(
        database_.get(), UserCache::Options{.capacity_bytes = 1 << 20, .max_history_events = 200});
    catalog_ = std::make_unique<CatalogManager>(database_.get(), &reaper_);
    ASSERT_TRUE(testing::PublishRandomSnapshot(
                    ModelDirectory(dir_.File("models")),
                    {.num_items = 3000, .dim = 32, .version = 1, .with_rating_model = true})
                    .ok());
    SnapshotManager::Options manager;
    manager.model_dir = dir_.File("models");
    manager.poll_interval = absl::Hours(1);
    manager.now_ms = [] { return kNowMs; };
    snapshots_ = std::make_unique<SnapshotManager>(std::move(manager), types, database_.get(), catalog_.get(),
                                                   &metrics_);
    ASSERT_TRUE(snapshots_->Start().ok());
    core_.reset(new ServiceCore{.gate = CallGate({}, &metrics_, &workers_, &workers_),
                                .validator = RequestValidator({}, types),
                                .event_types = types,
                                .limits = {},
                                .now_ms = [] { return kNowMs; },
                                .start_time_ms = kNowMs,
                                .database = database_.get(),
                                .users = users_.get(),
                                .writes = nullptr,
                                .writers = nullptr,
                                .catalog = catalog_.get(),
                                .snapshots = snapshots_.get(),
                                .recall = nullptr});
    service_ = std::make_unique<RecommendationService>(core_.get());
    // Users with 50 events each, in the cache.
    for (const std::string user_id : {kUser, kLongId}) {
      std::vector<EventRecord> events;
      for (int i = 0; i < 50; ++i) {
        events.push_back({.user_id = user_id,
                          .item_id = absl::StrCat("item-", i * 7),
                          .event_id = "",
                          .timestamp_ms = kNowMs - 60 + i,
                          .value = 1,
                          .type = 1});
      }
      ASSERT_TRUE(users_->RecordEvents(events, kNowMs).ok());
      CachedUser user;
      ASSERT_TRUE(users_->Get(user_id, core_->catalog->Acquire()->user_vectors, &user).ok());
    }
  }
  void TearDown() override {
    snapshots_->Stop();
    catalog_->Clear();
  }

  static v1::RecommendRequest Request(const std::string& user_id = kUser) {
    v1::RecommendRequest request;
    request.set_user_id(user_id);
    request.set_k(10);
    return request;
  }
  static v1::RecommendRequest SessionOf50Events(const std::string& item_prefix) {
    v1::RecommendRequest request;
    request.set_k(10);
    for (int i = 0; i < 50; ++i) {
      v1::Event* event = request.mutable_history()->add_events();
      event->set_item_id(absl::StrCat(item_prefix, i * 3));
      event->set_type("view");
      event->set_timestamp_ms(kNowMs - 100 + i);
    }
    return request;
  }
  static void Filter(v1::ItemFilter& filter) {
    filter.add_any_of_categories("cat-1");
    filter.add_any_of_categories("cat-2");
    filter.add_none_of_categories("cat-3");
    for (int i = 0; i < 20; ++i) filter.add_exclude_item_ids(absl::StrCat("item-", i));
  }

  // Answers the request until the thread's buffers have grown, then kMeasured times; returns the most that
  // one of those calls has allocated.
  template <typename Handler>
  size_t Allocations(const google::protobuf::MessageLite& request, const Handler& handler) {
    const std::string bytes = request.SerializeAsString();
    size_t most = 0;
    for (size_t i = 0; i < 2 * kMeasured; ++i) {
      const grpc::Slice slice(bytes);
      const grpc::ByteBuffer in(&slice, 1);
      grpc::ByteBuffer out;
      grpc::CallbackServerContext context;
      grpc::testing::DefaultReactorTestPeer peer(&context);
      const size_t before = testing::NumAllocations();
      handler(&context, &in, &out);
      if (i >= kMeasured) most = std::max(most, testing::NumAllocations() - before);
      EXPECT_TRUE(peer.test_status_set()) << "answered inline";
      EXPECT_TRUE(peer.test_status().ok()) << peer.test_status().error_message();
      EXPECT_GT(out.Length(), 100u);
    }
    return most;
  }
  size_t ToRecommend(const v1::RecommendRequest& request) {
    return Allocations(request,
                       [&](auto* context, auto* in, auto* out) { service_->Recommend(context, in, out); });
  }
  size_t ToFindSimilar(const v1::SimilarItemsRequest& request) {
    return Allocations(request,
                       [&](auto* context, auto* in, auto* out) { service_->SimilarItems(context, in, out); });
  }
  size_t ToScore(const v1::ScoreItemsRequest& request) {
    return Allocations(request,
                       [&](auto* context, auto* in, auto* out) { service_->ScoreItems(context, in, out); });
  }
  size_t ToPredict(const v1::PredictRequest& request) {
    return Allocations(request,
                       [&](auto* context, auto* in, auto* out) { service_->Predict(context, in, out); });
  }

  testing::TempDir dir_;
  ServerMetrics metrics_{"test", [] { return kNowMs; }};
  ThreadPool workers_{1};
  Reaper reaper_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<UserCache> users_;
  std::unique_ptr<CatalogManager> catalog_;
  std::unique_ptr<SnapshotManager> snapshots_;
  std::unique_ptr<ServiceCore> core_;
  std::unique_ptr<RecommendationService> service_;
};

TEST_F(RequestAllocationTest, AreCounted) {
  const size_t before = testing::NumAllocations();
  const std::vector<int> v(100);
  EXPECT_EQ(testing::NumAllocations(), before + 1) << v.size();
}

TEST_F(RequestAllocationTest, ForACachedUserOnlyTheAnswer) {
  EXPECT_EQ(ToRecommend(Request()), kAnswer);
  v1::RecommendRequest request = Request();
  request.set_request_id("request-1");
  EXPECT_EQ(ToRecommend(request), kAnswer);
}

TEST_F(RequestAllocationTest, WithMetadataExplanationsFiltersAndContextOnlyTheAnswer) {
  v1::RecommendRequest request = Request();
  request.set_include_metadata(true);
  EXPECT_EQ(ToRecommend(request), kAnswer);
  Filter(*request.mutable_filter());
  EXPECT_EQ(ToRecommend(request), kAnswer);
  request.mutable_context()->add_item_ids("item-5");
  request.mutable_context()->add_item_ids("item-6");
  request.mutable_search()->set_mode(v1::Search::MODE_EXACT);
  request.set_explain(true);
  EXPECT_EQ(ToRecommend(request), kAnswer);
}

TEST_F(RequestAllocationTest, ForASessionOf50EventsOnlyTheAnswer) {
  EXPECT_EQ(ToRecommend(SessionOf50Events("item-")), kAnswer);
}

TEST_F(RequestAllocationTest, ForSimilarItemsOnlyTheAnswer) {
  v1::SimilarItemsRequest request;
  request.set_item_id("item-7");
  request.set_k(10);
  EXPECT_EQ(ToFindSimilar(request), kAnswer);
  request.set_include_metadata(true);
  Filter(*request.mutable_filter());
  EXPECT_EQ(ToFindSimilar(request), kAnswer);
}

TEST_F(RequestAllocationTest, ForScoresOf100ItemsOnlyTheAnswer) {
  v1::ScoreItemsRequest request;
  request.set_user_id(kUser);
  for (int i = 0; i < 100; ++i) request.add_item_ids(absl::StrCat(i % 10 == 0 ? "none-" : "item-", i * 7));
  EXPECT_EQ(ToScore(request), kAnswer);
  request.set_include_metadata(true);
  EXPECT_EQ(ToScore(request), kAnswer);
  *request.mutable_history() = SessionOf50Events("item-").history();
  EXPECT_EQ(ToScore(request), kAnswer);
}

TEST_F(RequestAllocationTest, ForPredictionsOf100ItemsOnlyTheAnswer) {
  v1::PredictRequest request;
  request.set_user_id(kUser);
  for (int i = 0; i < 100; ++i) request.add_item_ids(absl::StrCat(i % 10 == 0 ? "none-" : "item-", i * 7));
  EXPECT_EQ(ToPredict(request), kAnswer);
  request.set_include_metadata(true);
  *request.mutable_history() = SessionOf50Events("item-").history();
  for (v1::Event& event : *request.mutable_history()->mutable_events()) {
    event.set_type("rating");
    event.set_value(4);
  }
  EXPECT_EQ(ToPredict(request), kAnswer);
}

// One each: what is read of a request is copied once, and never of an answer.
TEST_F(RequestAllocationTest, LongStringsOfTheRequestAddTheirText) {
  v1::RecommendRequest request = Request(kLongId);
  EXPECT_EQ(ToRecommend(request), kAnswer + 1);
  request.set_request_id(kLongId);
  EXPECT_EQ(ToRecommend(request), kAnswer + 2);
  EXPECT_EQ(ToRecommend(SessionOf50Events("an item id that is long ")), kAnswer + 50);
}

// The memory of calls of different kinds and sizes is the same.
TEST_F(RequestAllocationTest, SmallCallsAfterALargeOneAddNothing) {
  v1::RecommendRequest large = SessionOf50Events("item-");
  for (int i = 0; i < 5000; ++i) large.mutable_filter()->add_exclude_item_ids(absl::StrCat("item-", i % 100));
  large.set_k(500);
  large.set_explain(true);
  ToRecommend(large);
  EXPECT_LE(CallArena::NumKept(), CallArena::kMaxKept);
  EXPECT_EQ(ToRecommend(Request()), kAnswer);
  EXPECT_EQ(ToRecommend(SessionOf50Events("item-")), kAnswer);
}

}  // namespace
}  // namespace swiftlet
