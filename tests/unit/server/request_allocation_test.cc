// What answering a call allocates once its thread's buffers have grown: from the bytes that gRPC hands over
// to the bytes that it is given. gRPC's state of the call is not in this; the slice of the answer is, which
// gRPC allocates.
#include <grpcpp/grpcpp.h>
#include <grpcpp/test/default_reactor_test_peer.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
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
constexpr int64_t kNowMs = 1'700'000'000'000;

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
    ASSERT_TRUE(testing::PublishRandomSnapshot(ModelDirectory(dir_.File("models")),
                                               {.num_items = 3000, .dim = 32, .version = 1})
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
    // A user with 50 events, in the cache.
    std::vector<EventRecord> events;
    for (int i = 0; i < 50; ++i) {
      events.push_back({.user_id = "a user id that is longer than a small string",
                        .item_id = absl::StrCat("item-", i * 7),
                        .event_id = "",
                        .timestamp_ms = kNowMs - 60 + i,
                        .value = 1,
                        .type = 1});
    }
    ASSERT_TRUE(users_->RecordEvents(events, kNowMs).ok());
    CachedUser user;
    ASSERT_TRUE(users_->Get(events[0].user_id, core_->catalog->Acquire()->user_vectors, &user).ok());
  }
  void TearDown() override {
    snapshots_->Stop();
    catalog_->Clear();
  }

  v1::RecommendRequest Request() const {
    v1::RecommendRequest request;
    request.set_user_id("a user id that is longer than a small string");
    request.set_k(10);
    return request;
  }

  // Answers the request `n` times; returns what the last half of the calls have allocated.
  template <typename Handler>
  size_t Allocations(size_t n, const google::protobuf::MessageLite& request, const Handler& handler) {
    const std::string bytes = request.SerializeAsString();
    size_t allocated = 0;
    for (size_t i = 0; i < n; ++i) {
      const grpc::Slice slice(bytes);
      const grpc::ByteBuffer in(&slice, 1);
      grpc::ByteBuffer out;
      grpc::CallbackServerContext context;
      grpc::testing::DefaultReactorTestPeer peer(&context);
      const size_t before = testing::NumAllocations();
      handler(&context, &in, &out);
      if (i >= n / 2) allocated += testing::NumAllocations() - before;
      EXPECT_TRUE(peer.test_status_set()) << "answered inline";
      EXPECT_TRUE(peer.test_status().ok()) << peer.test_status().error_message();
      EXPECT_GT(out.Length(), 100u);
    }
    return allocated;
  }
  size_t RecommendAllocations(const v1::RecommendRequest& request) {
    return Allocations(2 * kMeasured, request,
                       [&](auto* context, auto* in, auto* out) { service_->Recommend(context, in, out); });
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

// The answer's slice, and two of protobuf: a string in a oneof is made anew for every message.
TEST_F(RequestAllocationTest, ForACachedUserOnlyItsIdAndTheAnswer) {
  EXPECT_EQ(RecommendAllocations(Request()), 3u * kMeasured);
}

TEST_F(RequestAllocationTest, ARequestIdAddsNothing) {
  v1::RecommendRequest request = Request();
  request.set_request_id("a request id that is longer than a small string");
  EXPECT_EQ(RecommendAllocations(request), 3u * kMeasured);
}

TEST_F(RequestAllocationTest, ForSimilarItemsOnlyTheAnswer) {
  v1::SimilarItemsRequest request;
  request.set_item_id("item-7");
  request.set_k(10);
  EXPECT_EQ(
      Allocations(2 * kMeasured, request,
                  [&](auto* context, auto* in, auto* out) { service_->SimilarItems(context, in, out); }),
      1u * kMeasured);
}

}  // namespace
}  // namespace swiftlet
