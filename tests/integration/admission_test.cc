// More calls than the server can answer: what is refused, why, and how that is counted.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

template <typename Response>
struct InFlight {
  grpc::ClientContext context;
  Response response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
};

struct Answers {
  int ok = 0, refused = 0;
  std::string reason;  // of the last refusal
};

// Waits for `n` answers; all that are not OK must be RESOURCE_EXHAUSTED.
template <typename Response>
Answers Collect(grpc::CompletionQueue& queue, int n) {
  Answers answers;
  for (int i = 0; i < n; ++i) {
    void* tag;
    bool success;
    EXPECT_TRUE(queue.Next(&tag, &success));
    const grpc::Status& status = static_cast<InFlight<Response>*>(tag)->status;
    if (status.ok()) {
      ++answers.ok;
      continue;
    }
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    answers.reason = status.error_message();
    ++answers.refused;
  }
  return answers;
}

double Refused(const ServerProcess& server, const std::string& method, const std::string& reason) {
  return server.Metric("swiftlet_refused_total{method=\"" + method + "\",reason=\"" + reason + "\"}");
}

TEST(Admission, CallsThatWaitForAThreadAreRefusedBeyondTheLimit) {
  TempDir dir;
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {.version = 1}).ok());
  ServerProcess server({.dir = dir.path(),
                        .config = "limits { min_queued_calls: 1 max_queued_calls: 2 queue_target_us: 100 }"});
  ASSERT_TRUE(server.running());
  EXPECT_EQ(server.Metric("swiftlet_call_queue_limit"), 2);
  auto stub = v1::RecommendationService::NewStub(server.channel());
  grpc::CompletionQueue queue;
  // What arrives while the process is stopped lies in its socket, and is read at once.
  constexpr int kCalls = 200;
  Answers all;
  for (int round = 0; round < 50 && all.refused == 0; ++round) {
    server.Signal(SIGSTOP);
    std::vector<InFlight<v1::RecommendResponse>> calls(kCalls);
    for (auto& call : calls) {
      call.reader = stub->AsyncRecommend(&call.context, UserRequest("u", 3), &queue);
      call.reader->Finish(&call.response, &call.status, &call);
    }
    // gRPC writes while somebody waits for the queue. A machine that is too slow for this goes another round.
    void* tag;
    bool success;
    EXPECT_EQ(
        queue.AsyncNext(&tag, &success, std::chrono::system_clock::now() + std::chrono::milliseconds(100)),
        grpc::CompletionQueue::TIMEOUT);
    server.Signal(SIGCONT);
    const Answers answers = Collect<v1::RecommendResponse>(queue, kCalls);
    all.ok += answers.ok;
    all.refused += answers.refused;
    all.reason = answers.reason;
  }
  EXPECT_GE(all.ok, 1);
  EXPECT_GE(all.refused, 1);
  EXPECT_EQ(all.reason, "too many calls wait for a thread, retry later");
  EXPECT_EQ(Refused(server, "Recommend", "queue_limit"), all.refused);
  EXPECT_EQ(server.Metric("swiftlet_requests_total{code=\"RESOURCE_EXHAUSTED\",method=\"Recommend\"}"),
            all.refused);
  EXPECT_GE(server.Metric("swiftlet_call_queue_limit"), 1);
  EXPECT_LE(server.Metric("swiftlet_call_queue_limit"), 2);
  EXPECT_EQ(server.Metric("swiftlet_queue_seconds_count"), all.ok + all.refused);
  // Nobody waits any more: all is let in again.
  v1::RecommendResponse response;
  ASSERT_OK(server.Recommend(UserRequest("u", 3), &response));
  EXPECT_EQ(server.Terminate(), 0) << server.Log();
}

TEST(Admission, AMethodMayHaveALimitOfItsOwn) {
  TempDir dir;
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {.version = 1}).ok());
  ServerProcess server({.dir = dir.path(),
                        .config = "limits { methods { method: \"RecordEvents\" max_concurrent: 2 } } storage "
                                  "{ num_commit_threads: 1 }"});
  ASSERT_TRUE(server.running());
  // Each waits for an fsync.
  constexpr int kCalls = 200;
  auto stub = v1::EventService::NewStub(server.channel());
  grpc::CompletionQueue queue;
  std::vector<InFlight<v1::RecordEventsResponse>> calls(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    calls[i].reader = stub->AsyncRecordEvents(&calls[i].context,
                                              Batch({MakeEvent("u", "item-" + std::to_string(i))}), &queue);
    calls[i].reader->Finish(&calls[i].response, &calls[i].status, &calls[i]);
  }
  std::atomic<bool> done{false};
  int others = 0;
  std::thread other([&] {  // another method does not mind
    do {
      v1::RecommendResponse response;
      ASSERT_OK(server.Recommend(UserRequest("somebody", 3), &response));
      ++others;
    } while (!done);
  });
  const Answers answers = Collect<v1::RecordEventsResponse>(queue, kCalls);
  done = true;
  other.join();
  EXPECT_GE(answers.ok, 1);
  EXPECT_GE(answers.refused, 1);
  EXPECT_THAT(answers.reason, HasSubstr("limits.methods: 2 calls of RecordEvents are in progress"));
  EXPECT_GE(others, 1);
  EXPECT_EQ(Refused(server, "RecordEvents", "method_limit"), answers.refused);
  EXPECT_EQ(server.Metric("swiftlet_events_recorded_total"), answers.ok);
}

TEST(Admission, ADeadlineThatWouldPassInTheQueueIsRefusedAtOnce) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "num_worker_threads: 1"});
  ASSERT_TRUE(server.running());
  // One thread, and calls that keep it busy for milliseconds each.
  v1::UpsertItemsRequest upsert;
  for (int i = 0; i < 1000; ++i) upsert.add_items()->set_item_id("item-" + std::to_string(i));
  v1::UpsertItemsResponse upserted;
  ASSERT_OK(server.UpsertItems(upsert, &upserted));
  constexpr int kCalls = 100;
  auto stub = v1::CatalogService::NewStub(server.NewChannel());
  auto getter = v1::CatalogService::NewStub(server.channel());
  v1::GetItemsRequest get;
  get.add_item_ids("item-1");
  bool refused = false;
  int64_t seen = 0;
  for (int round = 0; round < 10 && !refused; ++round) {
    grpc::CompletionQueue queue;
    std::vector<InFlight<v1::UpsertItemsResponse>> calls(kCalls);
    for (auto& call : calls) {
      call.reader = stub->AsyncUpsertItems(&call.context, upsert, &queue);
      call.reader->Finish(&call.response, &call.status, &call);
    }
    std::atomic<int> num_done{0};
    std::thread waiter([&] {
      for (int i = 0; i < kCalls; ++i) {
        void* tag;
        bool success;
        ASSERT_TRUE(queue.Next(&tag, &success));
        ++num_done;
      }
    });
    while (num_done < kCalls && !refused) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
      v1::GetItemsResponse got;
      const grpc::Status status = getter->GetItems(&context, get, &got);
      if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) continue;
      EXPECT_THAT(status.error_message(), StartsWith("the deadline is in "));
      EXPECT_THAT(status.error_message(), HasSubstr("and the call would wait "));
      refused = true;
      ++seen;
    }
    waiter.join();
    for (const auto& call : calls) EXPECT_TRUE(call.status.ok()) << call.status.error_message();
  }
  EXPECT_TRUE(refused);
  EXPECT_GE(Refused(server, "GetItems", "deadline_too_short"), seen);
  // A caller with patience is let in.
  v1::GetItemsResponse got;
  ASSERT_OK(server.GetItems(get, &got));
  EXPECT_EQ(got.items_size(), 1);
}

TEST(Admission, AWriteWhoseDeadlinePassesWhileItWaitsIsNotCommitted) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "storage { num_commit_threads: 1 }"});
  ASSERT_TRUE(server.running());
  // Far more writes than one thread commits before the late ones' deadline.
  constexpr int kCalls = 80, kEvents = 1000, kLate = 10;
  std::vector<v1::Event> events;
  for (int i = 0; i < kEvents; ++i) {
    events.push_back(MakeEvent("u" + std::to_string(i), "item-" + std::to_string(i)));
  }
  const v1::RecordEventsRequest batch = Batch(events);
  auto stub = v1::EventService::NewStub(server.NewChannel());
  auto late_stub = v1::EventService::NewStub(server.NewChannel());
  int num_late = 0, acknowledged = 0, rounds = 0;
  double dropped = 0;
  // A machine on which the late ones come after the others goes another round.
  for (; rounds < 5 && dropped == 0; ++rounds) {
    grpc::CompletionQueue queue;
    std::vector<InFlight<v1::RecordEventsResponse>> calls(kCalls);
    for (auto& call : calls) {
      call.reader = stub->AsyncRecordEvents(&call.context, batch, &queue);
      call.reader->Finish(&call.response, &call.status, &call);
    }
    std::atomic<int> num_done{0};
    std::thread waiter([&] {
      for (int i = 0; i < kCalls; ++i) {
        void* tag;
        bool success;
        ASSERT_TRUE(queue.Next(&tag, &success));
        ++num_done;
      }
    });
    while (server.Metric("swiftlet_pending_writes") < kCalls / 4 && num_done < kCalls) {
      std::this_thread::yield();
    }
    for (int i = 0; i < kLate; ++i) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
      v1::RecordEventsResponse response;
      const grpc::Status status = late_stub->RecordEvents(
          &context, Batch({MakeEvent("late-" + std::to_string(num_late++), "item-1")}), &response);
      // Refused at once as soon as the server knows how long a commit takes.
      EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
                  (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
                   status.error_message().find("the deadline is in") == 0))
          << status.error_message();
      acknowledged += status.ok() ? 1 : 0;
    }
    waiter.join();
    for (const auto& call : calls) EXPECT_TRUE(call.status.ok()) << call.status.error_message();
    // Commits are in order, so that all of those before this one have had their turn.
    v1::RecordEventsResponse response;
    ASSERT_OK(server.RecordEvents(Batch({MakeEvent("last", "item-1")}), &response));
    dropped = Refused(server, "RecordEvents", "deadline_passed") +
              Refused(server, "RecordEvents", "deadline_too_short");
  }
  EXPECT_GE(dropped, 1);
  EXPECT_EQ(server.Metric("swiftlet_pending_writes"), 0);
  int stored = 0;
  for (int i = 0; i < num_late; ++i) {
    v1::GetUserRequest request;
    request.set_user_id("late-" + std::to_string(i));
    v1::GetUserResponse user;
    if (server.GetUser(request, &user).ok()) stored += user.events_size();
  }
  EXPECT_GE(stored, acknowledged);
  EXPECT_LE(stored + dropped, num_late) << "what was dropped was stored, too";
  EXPECT_EQ(server.Metric("swiftlet_events_recorded_total"), rounds * (kCalls * kEvents + 1) + stored);
}

TEST(Admission, MethodsThatDoNotExistHarmNothing) {
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  for (int i = 0; i < 20; ++i) {
    std::string response;
    EXPECT_CODE(server.CallRaw("/swiftlet.v1.RecommendationService/Guess", "", &response),
                grpc::StatusCode::UNIMPLEMENTED, "");
    EXPECT_EQ(server.Health(""), 2);
    EXPECT_FALSE(server.GetStatus().has_serving());
  }
  EXPECT_EQ(server.Terminate(), 0) << server.Log();
}

}  // namespace
}  // namespace swiftlet::testing
