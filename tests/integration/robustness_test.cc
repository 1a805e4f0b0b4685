// Requests that make no sense get a clear status, and the server lives on.
#include <gmock/gmock.h>
#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <ctime>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;

class RobustnessTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TempDir;
    ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir_->path() + "/models"), {.version = 1}).ok());
    server_ = new ServerProcess({.dir = dir_->path()});
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(server_->Terminate(), 0) << server_->Log();
    delete server_;
    delete dir_;
  }
  void SetUp() override { ASSERT_TRUE(server_->running()); }
  // Whatever came before, it still answers, and nothing of it was stored.
  void TearDown() override {
    v1::RecommendResponse response;
    ASSERT_OK(server_->Recommend(UserRequest("somebody", 3), &response));
    EXPECT_EQ(response.items_size(), 3);
    EXPECT_EQ(response.items(0).source(), v1::SOURCE_POPULAR);
  }
  void ExpectRefused(v1::RecommendRequest request, const std::string& message) {
    v1::RecommendResponse response;
    EXPECT_CODE(server_->Recommend(request, &response), kInvalid, message);
  }
  void ExpectRefused(const v1::Event& event, const std::string& message) {
    v1::RecordEventsResponse response;
    // A good event beside it is not stored either: see TearDown.
    EXPECT_CODE(server_->RecordEvents(Batch({MakeEvent("somebody", "item-1"), event}), &response), kInvalid,
                message);
  }

  static TempDir* dir_;
  static ServerProcess* server_;
};
TempDir* RobustnessTest::dir_ = nullptr;
ServerProcess* RobustnessTest::server_ = nullptr;

TEST_F(RobustnessTest, RecommendNamesTheFieldAndItsValue) {
  const std::string huge(10000, 'x');
  ExpectRefused(UserRequest("", 10), "user_id: \"\" is not 1 to 256 bytes");
  ExpectRefused(UserRequest(huge, 10), "xxx...\" (10000 bytes) is not 1 to 256 bytes");
  ExpectRefused(UserRequest(std::string("a\0b", 3), 10), "user_id: \"a\\000b\"");
  ExpectRefused(UserRequest("u", 0), "k: 0 is not in [1, 1000]");
  ExpectRefused(UserRequest("u", 10'000'000), "k: 10000000 is not in [1, 1000]");
  ExpectRefused(UserRequest("u", -1), "k: -1 is not in [1, 1000]");
  v1::RecommendRequest nobody;
  nobody.set_k(10);
  ExpectRefused(nobody, "user: neither user_id nor history is set");
  v1::RecommendRequest request = UserRequest("u", 10);
  request.mutable_filter()->add_exclude_item_ids("fine");
  request.mutable_filter()->add_exclude_item_ids(huge);
  ExpectRefused(request, "filter.exclude_item_ids[1]: ");
  request.mutable_filter()->clear_exclude_item_ids();
  for (int i = 0; i < 10001; ++i) request.mutable_filter()->add_exclude_item_ids("x");
  ExpectRefused(request, "filter.exclude_item_ids: 10001 ids, at most 10000");
  request = UserRequest("u", 10);
  for (int i = 0; i < 51; ++i) request.mutable_context()->add_item_ids("x");
  ExpectRefused(request, "context.item_ids: 51 ids, at most 50");
  request = UserRequest("u", 10);
  (*request.mutable_context()->mutable_features())["key"] = huge;
  ExpectRefused(request, "context.features[\"key\"]");
  request = UserRequest("u", 10);
  request.set_request_id(huge);
  ExpectRefused(request, "request_id: ");
}

TEST_F(RobustnessTest, InlineHistoriesAreCheckedEventByEvent) {
  v1::RecommendRequest request;
  request.set_k(10);
  *request.mutable_history()->add_events() = MakeEvent("", "item-1");
  *request.mutable_history()->add_events() = MakeEvent("", "");
  ExpectRefused(request, "history.events[1].item_id: \"\"");
  request.mutable_history()->mutable_events(1)->set_item_id("item-2");
  request.mutable_history()->mutable_events(1)->set_value(std::nanf(""));
  ExpectRefused(request, "history.events[1].value: nan is not a finite number");
  request.mutable_history()->mutable_events(1)->set_value(0);
  request.mutable_history()->mutable_events(1)->set_type("teleport");
  ExpectRefused(request, "history.events[1].type: \"teleport\" is not an event type; known: view, click");
  request.mutable_history()->clear_events();
  for (int i = 0; i < 1001; ++i) *request.mutable_history()->add_events() = MakeEvent("", "item-1");
  ExpectRefused(request, "history.events: 1001 events, at most 1000");
  // The most that is allowed works: the newest count.
  request.mutable_history()->mutable_events()->RemoveLast();
  v1::RecommendResponse response;
  ASSERT_OK(server_->Recommend(request, &response));
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_HISTORY);
}

TEST_F(RobustnessTest, EventsAreStoredAllOrNone) {
  const std::string huge(10000, 'x');
  ExpectRefused(MakeEvent("", "item-1"), "events[1].user_id: \"\"");
  ExpectRefused(MakeEvent("u", huge), "events[1].item_id: ");
  ExpectRefused(MakeEvent("u", "i", ""), "events[1].type: \"\" is not an event type");
  ExpectRefused(MakeEvent("u", "i", "click", -5), "events[1].timestamp_ms: -5 is negative");
  ExpectRefused(MakeEvent("u", "i", "click", std::numeric_limits<int64_t>::max()),
                "events[1].timestamp_ms: ");
  ExpectRefused(MakeEvent("u", "i", "click", (static_cast<int64_t>(std::time(nullptr)) + 2 * 86400) * 1000),
                "more than a day ahead");
  ExpectRefused(MakeEvent("u", "i", "click", 0, huge), "events[1].event_id: ");
  for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    v1::Event event = MakeEvent("u", "i");
    event.set_value(value);
    ExpectRefused(event, "events[1].value: ");
  }
  v1::RecordEventsResponse response;
  EXPECT_CODE(server_->RecordEvents({}, &response), kInvalid, "events: 0 entries, 1 to 1000");
  EXPECT_CODE(server_->RecordEvents(Batch(std::vector<v1::Event>(1001, MakeEvent("u", "i"))), &response),
              kInvalid, "events: 1001 entries");
}

TEST_F(RobustnessTest, ItemsAreCheckedToo) {
  v1::UpsertItemsResponse response;
  auto refused = [&](const std::function<void(v1::Item&)>& change, const std::string& message) {
    v1::UpsertItemsRequest request;
    request.add_items()->set_item_id("good");
    request.add_items()->set_item_id("item");
    change(*request.mutable_items(1));
    EXPECT_CODE(server_->UpsertItems(request, &response), kInvalid, message);
  };
  refused([](v1::Item& i) { i.set_item_id(""); }, "items[1].item_id: \"\"");
  refused([](v1::Item& i) { i.set_item_id("good"); }, "items[1].item_id: \"good\" is in the batch twice");
  refused([](v1::Item& i) { i.mutable_metadata()->set_title(std::string(1025, 't')); },
          "items[1].metadata.title: ");
  refused([](v1::Item& i) { i.mutable_metadata()->add_categories(""); },
          "items[1].metadata.categories[0]: \"\"");
  refused([](v1::Item& i) { i.mutable_metadata()->add_categories(std::string(129, 'c')); },
          "items[1].metadata.categories[0]: ");
  refused(
      [](v1::Item& i) {
        for (int c = 0; c < 65; ++c) i.mutable_metadata()->add_categories("c");
      },
      "items[1].metadata.categories: 65");
  refused([](v1::Item& i) { i.add_vector(std::nanf("")); }, "items[1].vector[0]: nan");
  refused([](v1::Item& i) { i.mutable_vector()->Resize(64, 3e38f); },
          "items[1].vector[0]: 3e+38 is not in [-1e6, 1e6]");
  refused([](v1::Item& i) { i.mutable_vector()->Resize(5000, 1.0f); }, "items[1].vector: 5000 numbers");
  refused([](v1::Item& i) { i.add_vector(1.0f); }, "items[1].vector: dimension 1");
  v1::GetItemsRequest get;
  get.add_item_ids("good");
  v1::GetItemsResponse got;
  ASSERT_OK(server_->GetItems(get, &got));
  EXPECT_EQ(got.items_size(), 0) << "all of the batch or none";
  EXPECT_CODE(server_->GetItems({}, &got), kInvalid, "item_ids: 0 entries");
  v1::DeleteItemsResponse deleted;
  EXPECT_CODE(server_->DeleteItems({}, &deleted), kInvalid, "item_ids: 0 entries");
  v1::GetUserRequest user;
  user.set_user_id("u");
  user.set_max_events(-1);
  v1::GetUserResponse user_response;
  EXPECT_CODE(server_->GetUser(user, &user_response), kInvalid, "max_events: -1 is negative");
}

TEST_F(RobustnessTest, BytesThatAreNoMessageAreInvalidArguments) {
  // user_id = "\xff\xfe", k = 10.
  EXPECT_CODE(
      server_->CallRaw("/swiftlet.v1.RecommendationService/Recommend", "\x0a\x02\xff\xfe\x18\x0a", nullptr),
      kInvalid, "swiftlet.v1.RecommendRequest.user_id: is not valid UTF-8");
  EXPECT_CODE(server_->CallRaw("/swiftlet.v1.RecommendationService/Recommend", "\x0a\x7f garbage", nullptr),
              kInvalid, "are not a swiftlet.v1.RecommendRequest message");
  EXPECT_EQ(server_->CallRaw("/swiftlet.v1.RecommendationService/Nothing", "", nullptr).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  std::mt19937 random(3);
  for (const char* method : {"RecommendationService/Recommend", "RecommendationService/ScoreItems",
                             "RecommendationService/SimilarItems", "EventService/RecordEvents",
                             "CatalogService/UpsertItems", "CatalogService/DeleteItems",
                             "CatalogService/GetItems", "UserService/GetUser", "UserService/DeleteUser"}) {
    for (int i = 0; i < 60; ++i) {
      std::string bytes(random() % 40, '\0');
      for (char& c : bytes) c = static_cast<char>(random());
      const grpc::Status status = server_->CallRaw(std::string("/swiftlet.v1.") + method, bytes, nullptr);
      EXPECT_EQ(status.error_code(), kInvalid) << method << ": " << status.error_message();
    }
  }
}

TEST_F(RobustnessTest, AMessageThatIsTooLargeIsRefused) {
  v1::RecommendRequest request = UserRequest("u", 1);
  request.set_request_id(std::string(5 << 20, 'x'));
  v1::RecommendResponse response;
  EXPECT_EQ(server_->Recommend(request, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(RobustnessTest, ADeadlineInThePastIsReported) {
  auto stub = v1::RecommendationService::NewStub(server_->channel());
  for (int i = 0; i < 50; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::microseconds(20 * i));
    v1::RecommendResponse response;
    const grpc::Status status = stub->Recommend(&context, UserRequest("u", 5), &response);
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
        << status.error_code() << " " << status.error_message();
  }
}

TEST(Admission, TooManyCallsAtOnceAreRefusedAsExhausted) {
  TempDir dir;
  ServerProcess server(
      {.dir = dir.path(), .config = "limits { max_concurrent_requests: 2 } num_worker_threads: 1"});
  ASSERT_TRUE(server.running());
  // Many calls in flight on one connection; each waits for an fsync.
  constexpr int kCalls = 200;
  auto stub = v1::EventService::NewStub(server.channel());
  grpc::CompletionQueue queue;
  struct InFlight {
    grpc::ClientContext context;
    v1::RecordEventsResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::RecordEventsResponse>> reader;
  };
  std::vector<InFlight> calls(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    calls[i].reader = stub->AsyncRecordEvents(&calls[i].context,
                                              Batch({MakeEvent("u", "item-" + std::to_string(i))}), &queue);
    calls[i].reader->Finish(&calls[i].response, &calls[i].status, &calls[i]);
  }
  int ok = 0, exhausted = 0;
  for (int i = 0; i < kCalls; ++i) {
    void* tag;
    bool success;
    ASSERT_TRUE(queue.Next(&tag, &success));
    const grpc::Status& status = static_cast<InFlight*>(tag)->status;
    if (status.ok()) {
      ++ok;
    } else {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
      EXPECT_THAT(status.error_message(), HasSubstr("2 requests are in progress"));
      ++exhausted;
    }
  }
  EXPECT_GE(ok, 1);
  EXPECT_GE(exhausted, 1);
  // Refused calls count as answered: nothing leaks.
  v1::RecordEventsResponse response;
  ASSERT_OK(server.RecordEvents(Batch({MakeEvent("u", "last")}), &response));
  EXPECT_EQ(server.Metric("swiftlet_requests_total{code=\"RESOURCE_EXHAUSTED\",method=\"RecordEvents\"}"),
            exhausted);
  EXPECT_EQ(server.Metric("swiftlet_events_recorded_total"), ok + 1);
}

TEST(Reads, OfUsersOnDiskDoNotWaitForWrites) {
  TempDir dir;
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {.version = 1}).ok());
  ServerProcess server(
      {.dir = dir.path(), .config = "num_worker_threads: 1 storage { num_commit_threads: 1 }"});
  ASSERT_TRUE(server.running());
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server.RecordEvents(Batch({MakeEvent("reader", "item-1")}), &recorded));
  // Far more writes than one thread does in a moment.
  constexpr int kCalls = 80;
  std::vector<v1::Event> events;
  for (int i = 0; i < 1000; ++i)
    events.push_back(MakeEvent("u" + std::to_string(i), "item-" + std::to_string(i)));
  const v1::RecordEventsRequest batch = Batch(events);
  auto stub = v1::EventService::NewStub(server.NewChannel());
  grpc::CompletionQueue queue;
  struct InFlight {
    grpc::ClientContext context;
    v1::RecordEventsResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::RecordEventsResponse>> reader;
  };
  std::vector<InFlight> calls(kCalls);
  for (InFlight& call : calls) {
    call.reader = stub->AsyncRecordEvents(&call.context, batch, &queue);
    call.reader->Finish(&call.response, &call.status, &call);
  }
  // gRPC sends only while somebody waits for the queue: without this thread, five seconds later.
  std::atomic<int> num_done{0};
  std::thread waiter([&] {
    for (int i = 0; i < kCalls; ++i) {
      void* tag;
      bool success;
      ASSERT_TRUE(queue.Next(&tag, &success));
      const grpc::Status& status = static_cast<InFlight*>(tag)->status;
      EXPECT_TRUE(status.ok()) << status.error_message();
      ++num_done;
    }
  });
  const absl::Cleanup join = [&] { waiter.join(); };
  while (server.Metric("swiftlet_pending_writes") < kCalls / 4 && num_done < kCalls) {
    std::this_thread::yield();
  }
  v1::RecommendResponse response;
  ASSERT_OK(server.Recommend(UserRequest("nobody yet", 5), &response));
  v1::GetUserRequest get;
  get.set_user_id("reader");
  v1::GetUserResponse user;
  ASSERT_OK(server.GetUser(get, &user));
  EXPECT_EQ(user.events_size(), 1);
  EXPECT_GT(server.Metric("swiftlet_pending_writes"), 0) << "the reads came after every write";
  EXPECT_GE(server.Metric("swiftlet_user_cache_misses_total"), 1);
}

}  // namespace
}  // namespace swiftlet::testing
