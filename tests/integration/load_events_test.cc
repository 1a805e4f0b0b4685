// Bulk loading by a stream, and the back-pressure of single calls.
#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using Stream = grpc::ClientReaderWriter<v1::LoadEventsRequest, v1::LoadEventsProgress>;

constexpr int kEvents = 20;

void SetDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
}

// Of users u0 to u9; event ids are of the batch and the event.
v1::LoadEventsRequest LoadBatch(int batch) {
  v1::LoadEventsRequest request;
  for (int e = 0; e < kEvents; ++e) {
    *request.add_events() =
        MakeEvent(absl::StrCat("u", e % 10), absl::StrCat("item-", batch, "-", e), "click",
                  1'000'000 + batch * 1000 + e, absl::StrCat("id-", batch, "-", e));
  }
  return request;
}

struct Loaded {
  std::vector<v1::LoadEventsProgress> progress;
  grpc::Status status;
};

// Sends batches [0, num_batches) (or as many as are taken), reads progress beside, and closes.
Loaded Load(const std::shared_ptr<grpc::Channel>& channel, int num_batches,
            const std::function<v1::LoadEventsRequest(int)>& batch = LoadBatch,
            const std::function<void(const v1::LoadEventsProgress&)>& on_progress = nullptr) {
  const auto stub = v1::EventService::NewStub(channel);
  grpc::ClientContext context;
  SetDeadline(context);
  const std::unique_ptr<Stream> stream = stub->LoadEvents(&context);
  std::thread writer([&] {
    for (int b = 0; b < num_batches && stream->Write(batch(b)); ++b) {
    }
    stream->WritesDone();
  });
  Loaded loaded;
  v1::LoadEventsProgress progress;
  while (stream->Read(&progress)) {
    loaded.progress.push_back(progress);
    if (on_progress) on_progress(progress);
  }
  writer.join();
  loaded.status = stream->Finish();
  return loaded;
}

int HistorySize(ServerProcess& server, const std::string& user) {
  v1::GetUserRequest request;
  request.set_user_id(user);
  v1::GetUserResponse response;
  return server.GetUser(request, &response).ok() ? response.events_size() : 0;
}

TEST(LoadEventsTest, WhatProgressCountsIsStored) {
  constexpr int kBatches = 100;
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  const Loaded first =
      Load(server.NewChannel(), kBatches, LoadBatch, [&](const v1::LoadEventsProgress& progress) {
        // Two of each batch are u3's.
        EXPECT_GE(HistorySize(server, "u3"), std::min<int64_t>(200, 2 * progress.num_batches()));
      });
  ASSERT_OK(first.status);
  ASSERT_FALSE(first.progress.empty());
  int64_t before = 0;
  for (const v1::LoadEventsProgress& progress : first.progress) {
    EXPECT_GT(progress.num_batches(), before);
    EXPECT_EQ(progress.num_recorded(), progress.num_batches() * kEvents);
    EXPECT_EQ(progress.num_duplicates(), 0);
    before = progress.num_batches();
  }
  EXPECT_EQ(before, kBatches);
  EXPECT_EQ(server.Metric("swiftlet_events_recorded_total"), kBatches * kEvents);
  EXPECT_EQ(server.Metric("swiftlet_requests_total{code=\"OK\",method=\"LoadEvents\"}"), 1);
  // Once more: all of it is there already.
  const Loaded again = Load(server.NewChannel(), kBatches);
  ASSERT_OK(again.status);
  EXPECT_EQ(again.progress.back().num_recorded(), 0);
  EXPECT_EQ(again.progress.back().num_duplicates(), kBatches * kEvents);
  EXPECT_EQ(HistorySize(server, "u3"), 200);
  const Loaded nothing = Load(server.NewChannel(), 0);
  ASSERT_OK(nothing.status);
  EXPECT_TRUE(nothing.progress.empty());
  EXPECT_EQ(server.Terminate(), 0);
}

TEST(LoadEventsTest, ABadEventIsNamedAndWhatCameBeforeIsStored) {
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  const Loaded loaded = Load(server.NewChannel(), 50, [](int b) {
    v1::LoadEventsRequest batch = LoadBatch(b);
    if (b == 7) batch.mutable_events(3)->set_item_id("");
    return batch;
  });
  EXPECT_CODE(loaded.status, grpc::StatusCode::INVALID_ARGUMENT, "batches[7].events[3].item_id");
  ASSERT_FALSE(loaded.progress.empty());
  EXPECT_EQ(loaded.progress.back().num_batches(), 7);
  EXPECT_EQ(loaded.progress.back().num_recorded(), 7 * kEvents);
  EXPECT_EQ(server.Metric("swiftlet_events_recorded_total"), 7 * kEvents);
  const Loaded empty = Load(server.NewChannel(), 2, [](int) { return v1::LoadEventsRequest(); });
  EXPECT_CODE(empty.status, grpc::StatusCode::INVALID_ARGUMENT, "batches[0].events: ");
  EXPECT_TRUE(empty.progress.empty());
}

TEST(LoadEventsTest, AMessageThatCannotBeParsedIsNamed) {
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  const grpc::internal::RpcMethod method("/swiftlet.v1.EventService/LoadEvents",
                                         grpc::internal::RpcMethod::BIDI_STREAMING);
  grpc::ClientContext context;
  SetDeadline(context);
  const auto channel = server.NewChannel();
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel.get(), method, &context));
  for (const std::string& bytes : {LoadBatch(0).SerializeAsString(), std::string("\xff\xff\xff garbage")}) {
    const grpc::Slice slice(bytes);
    EXPECT_TRUE(stream->Write(grpc::ByteBuffer(&slice, 1)));
  }
  stream->WritesDone();
  grpc::ByteBuffer progress;
  int num_progress = 0;
  while (stream->Read(&progress)) ++num_progress;
  EXPECT_EQ(num_progress, 1);
  EXPECT_CODE(stream->Finish(), grpc::StatusCode::INVALID_ARGUMENT, "batches[1]: ");
  EXPECT_EQ(server.Metric("swiftlet_events_recorded_total"), kEvents);
}

TEST(LoadEventsTest, WhatWasAcknowledgedOutlivesAKill) {
  constexpr int kBatches = 100'000;  // more than are sent before the kill
  TempDir dir;
  int64_t acknowledged = 0;
  {
    ServerProcess server({.dir = dir.path()});
    ASSERT_TRUE(server.running());
    const Loaded loaded =
        Load(server.NewChannel(), kBatches, LoadBatch, [&](const v1::LoadEventsProgress& progress) {
          acknowledged = progress.num_batches();
          if (acknowledged > 20) server.Signal(SIGKILL);
        });
    EXPECT_CODE(loaded.status, grpc::StatusCode::UNAVAILABLE, "");
    EXPECT_GT(acknowledged, 20);
    server.Wait();
  }
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  const auto count = static_cast<int>(acknowledged);
  const Loaded again = Load(server.NewChannel(), count);
  ASSERT_OK(again.status);
  EXPECT_EQ(again.progress.back().num_duplicates(), int64_t{count} * kEvents)
      << "an acknowledged event is lost";
  EXPECT_EQ(again.progress.back().num_recorded(), 0);
}

TEST(LoadEventsTest, AnIdleStreamDoesNotHoldUpTheEnd) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "drain_timeout_ms: 60000"});
  ASSERT_TRUE(server.running());
  const auto stub = v1::EventService::NewStub(server.NewChannel());
  grpc::ClientContext context;
  SetDeadline(context);
  const std::unique_ptr<Stream> stream = stub->LoadEvents(&context);
  ASSERT_TRUE(stream->Write(LoadBatch(0)));
  v1::LoadEventsProgress progress;
  ASSERT_TRUE(stream->Read(&progress));
  EXPECT_EQ(progress.num_batches(), 1);
  server.Signal(SIGTERM);
  EXPECT_FALSE(stream->Read(&progress));
  EXPECT_CODE(stream->Finish(), grpc::StatusCode::UNAVAILABLE, "the server is shutting down");
  EXPECT_EQ(server.Wait(), 0);
}

TEST(LoadEventsTest, TooManyStreamsAreRefusedAndCancelledOnesMakeRoom) {
  constexpr int kStreams = 16;
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  const auto stub = v1::EventService::NewStub(server.NewChannel());
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<Stream>> streams;
  v1::LoadEventsProgress progress;
  for (int s = 0; s < kStreams; ++s) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    SetDeadline(*contexts.back());
    streams.push_back(stub->LoadEvents(contexts.back().get()));
    ASSERT_TRUE(streams.back()->Write(LoadBatch(s)));
    ASSERT_TRUE(streams.back()->Read(&progress));
  }
  const Loaded refused = Load(server.NewChannel(), 1);
  EXPECT_CODE(refused.status, grpc::StatusCode::RESOURCE_EXHAUSTED, "16 streams of LoadEvents are open");
  contexts[5]->TryCancel();
  EXPECT_FALSE(streams[5]->Read(&progress));
  EXPECT_CODE(streams[5]->Finish(), grpc::StatusCode::CANCELLED, "");
  // The server hears of it soon.
  grpc::Status status(grpc::StatusCode::RESOURCE_EXHAUSTED, "");
  for (int i = 0; i < 500 && status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED; ++i) {
    status = Load(server.NewChannel(), 1).status;
  }
  ASSERT_OK(status);
  for (int s = 0; s < kStreams; ++s) {
    if (s == 5) continue;
    streams[s]->WritesDone();
    EXPECT_FALSE(streams[s]->Read(&progress));
    ASSERT_OK(streams[s]->Finish());
  }
  EXPECT_EQ(server.Terminate(), 0);
}

// An event for an item that no snapshot knows is kept, and counts as soon as one does, also for a user in the
// cache.
TEST(LoadEventsTest, EventsForUnknownItemsBecomeKnownWithALaterSnapshot) {
  TempDir dir;
  const ModelDirectory models(dir.path() + "/models");
  ASSERT_TRUE(PublishRandomSnapshot(models, {.num_items = 50, .version = 1}).ok());
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  ASSERT_TRUE(server.WaitForVersion(1));
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server.RecordEvents(Batch({MakeEvent("u", "item-80", "like")}), &recorded));
  EXPECT_EQ(recorded.num_recorded(), 1);
  const Loaded loaded = Load(server.NewChannel(), 1, [](int) {
    v1::LoadEventsRequest batch;
    *batch.add_events() = MakeEvent("u", "item-81", "like");
    return batch;
  });
  ASSERT_OK(loaded.status);
  v1::RecommendResponse response;
  ASSERT_OK(server.Recommend(UserRequest("u", 5), &response));
  EXPECT_EQ(response.num_history_events_used(), 0);
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_POPULAR);
  EXPECT_EQ(HistorySize(server, "u"), 2);
  ASSERT_TRUE(PublishRandomSnapshot(models, {.num_items = 100, .seed = 2, .version = 2}).ok());
  ASSERT_TRUE(server.WaitForVersion(2));
  ASSERT_OK(server.Recommend(UserRequest("u", 5), &response));
  EXPECT_EQ(response.snapshot_version(), 2);
  EXPECT_EQ(response.num_history_events_used(), 2);
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_HISTORY);
}

TEST(BackPressureTest, CallsBeyondThePendingWritesAreRefusedAndCounted) {
  TempDir dir;
  ServerProcess server(
      {.dir = dir.path(), .config = "storage { max_pending_writes: 1 num_commit_threads: 1 }"});
  ASSERT_TRUE(server.running());
  constexpr int kThreads = 8, kCalls = 50;
  std::atomic<int> stored{0}, refused{0};
  const auto channel = server.NewChannel();
  // Until a call has met another one: on a slow machine that takes more than one round.
  for (int round = 0; round < 20 && refused == 0; ++round) {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        const auto stub = v1::EventService::NewStub(channel);
        for (int c = 0; c < kCalls; ++c) {
          grpc::ClientContext context;
          SetDeadline(context);
          v1::RecordEventsResponse response;
          const grpc::Status status = stub->RecordEvents(
              &context, Batch({MakeEvent("u", absl::StrCat("i", round, "-", t, "-", c), "click")}),
              &response);
          if (status.ok()) {
            ++stored;
          } else {
            EXPECT_CODE(status, grpc::StatusCode::RESOURCE_EXHAUSTED, "storage.max_pending_writes: 1");
            ++refused;
          }
        }
      });
    }
    for (std::thread& t : threads) t.join();
  }
  EXPECT_GT(stored, 0);
  EXPECT_GT(refused, 0);
  EXPECT_EQ(server.Metric("swiftlet_write_refusals_total{reason=\"queue_full\"}"), refused);
  EXPECT_EQ(server.Metric("swiftlet_events_recorded_total"), stored) << "a refused call stores nothing";
  EXPECT_EQ(server.Metric("swiftlet_pending_writes"), 0);
}

}  // namespace
}  // namespace swiftlet::testing
