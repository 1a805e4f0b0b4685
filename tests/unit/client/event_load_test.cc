#include "client/event_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "engine/base/mutex.h"
#include "tests/unit/client/fake_server.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Stream = FakeServer::Event::Stream;

constexpr int kEvents = 3;

v1::LoadEventsRequest Batch(int number) {
  v1::LoadEventsRequest batch;
  for (int e = 0; e < kEvents; ++e) {
    v1::Event& event = *batch.add_events();
    event.set_user_id(absl::StrCat("u", number));
    event.set_item_id(absl::StrCat("i", e));
    event.set_type("view");
    event.set_event_id(absl::StrCat(number, "-", e));
  }
  return batch;
}

// Asks nothing of the load and writes down what it hears.
class Ear : public EventLoadObserver {
 public:
  bool OnWait() override { return go_on == nullptr || go_on(); }
  void OnRetry(const absl::Status& error) override { retries.emplace_back(error.message()); }
  void OnFallback() override { ++num_fallbacks; }

  std::function<bool()> go_on;
  std::vector<std::string> retries;
  int num_fallbacks = 0;
};

class EventLoadTest : public ::testing::Test {
 protected:
  // Stores each event id once; a batch with an item called "bad" is refused as a server does.
  absl::StatusOr<int> Store(const google::protobuf::RepeatedPtrField<v1::Event>& events) {
    for (int i = 0; i < events.size(); ++i) {
      if (events[i].item_id() == "bad")
        return absl::InvalidArgumentError(absl::StrCat("events[", i, "].item_id: bad"));
    }
    MutexLock lock(mu_);
    int num_new = 0;
    for (const v1::Event& event : events) num_new += ids_.insert(event.event_id()).second ? 1 : 0;
    return num_new;
  }
  // Stores up to `limit` batches of a stream and tells of each but the last `untold`.
  grpc::Status Serve(Stream& stream, int limit = 1 << 30, int untold = 0) {
    v1::LoadEventsRequest request;
    v1::LoadEventsProgress progress;
    int number = 0;
    for (; number < limit && stream.Read(&request); ++number) {
      const absl::StatusOr<int> num_new = Store(request.events());
      if (!num_new.ok()) {
        return {grpc::StatusCode::INVALID_ARGUMENT,
                absl::StrCat("batches[", number, "].", num_new.status().message())};
      }
      progress.set_num_batches(number + 1);
      progress.set_num_recorded(progress.num_recorded() + *num_new);
      progress.set_num_duplicates(progress.num_duplicates() + request.events_size() - *num_new);
      if (number < limit - untold) stream.Write(progress);
    }
    return grpc::Status::OK;
  }
  std::unique_ptr<EventLoad> NewLoad(const EventLoadOptions& options = {}) {
    client_ = Client::Connect({.address = server_.address()}).value();
    return client_->LoadEvents(options).value();
  }
  size_t num_ids() {
    MutexLock lock(mu_);
    return ids_.size();
  }

  std::unique_ptr<Client> client_;
  Mutex mu_;
  std::set<std::string> ids_ ABSL_GUARDED_BY(mu_);
  std::atomic<int> num_streams_ = 0;
  FakeServer server_;  // ends first: its calls use the above
};

TEST_F(EventLoadTest, EverythingIsStoredOnceOverOneStream) {
  server_.event.load_events = [this](auto&, Stream& stream) {
    ++num_streams_;
    return Serve(stream);
  };
  const std::unique_ptr<EventLoad> load = NewLoad();
  for (int b = 0; b < 100; ++b) ASSERT_TRUE(load->Add(Batch(b)).ok());
  ASSERT_TRUE(load->Finish().ok());
  EXPECT_EQ(load->progress().num_batches, 100);
  EXPECT_EQ(load->progress().num_recorded, 100 * kEvents);
  EXPECT_EQ(load->progress().num_duplicates, 0);
  EXPECT_EQ(num_ids(), 100u * kEvents);
  EXPECT_EQ(num_streams_, 1);
  // A load can go on.
  ASSERT_TRUE(load->Add(Batch(7)).ok());
  ASSERT_TRUE(load->Finish().ok());
  ASSERT_TRUE(load->Finish().ok());
  EXPECT_EQ(load->progress().num_batches, 101);
  EXPECT_EQ(load->progress().num_duplicates, kEvents);
}

TEST_F(EventLoadTest, EventsWithoutAnIdGetOneThatStaysOverABreak) {
  server_.event.load_events = [this, stream_number = 0](auto&, Stream& stream) mutable {
    if (stream_number++ > 0) return Serve(stream);
    Serve(stream, /*limit=*/1, /*untold=*/1);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
  };
  const std::unique_ptr<EventLoad> load = NewLoad();
  v1::LoadEventsRequest batch = Batch(0);
  for (v1::Event& event : *batch.mutable_events()) event.clear_event_id();
  ASSERT_TRUE(load->Add(batch).ok());
  ASSERT_TRUE(load->Finish().ok());
  EXPECT_EQ(num_ids(), static_cast<size_t>(kEvents)) << "each has its own";
  EXPECT_EQ(load->progress().num_duplicates, kEvents) << "stored before the break";
}

TEST_F(EventLoadTest, ABrokenStreamGoesOnAfterWhatIsCommitted) {
  std::vector<std::string> first_ids;
  server_.event.load_events = [&, stream_number = 0](auto&, Stream& stream) mutable {
    switch (stream_number++) {
      case 0:  // five are stored, four told
        Serve(stream, /*limit=*/5, /*untold=*/1);
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down");
      case 1:
      case 2:
        return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the disk is full");
      default: {
        v1::LoadEventsRequest request;
        if (stream.Read(&request)) first_ids.push_back(request.events(0).event_id());
        EXPECT_TRUE(Store(request.events()).ok());
        v1::LoadEventsProgress progress;
        progress.set_num_batches(1);
        progress.set_num_duplicates(kEvents);
        stream.Write(progress);
        int64_t number = 1;
        while (stream.Read(&request)) {
          progress.set_num_recorded(progress.num_recorded() + *Store(request.events()));
          progress.set_num_batches(++number);
          stream.Write(progress);
        }
        return grpc::Status::OK;
      }
    }
  };
  const std::unique_ptr<EventLoad> load = NewLoad();
  Ear ear;
  for (int b = 0; b < 40; ++b) ASSERT_TRUE(load->Add(Batch(b), &ear).ok()) << b;
  ASSERT_TRUE(load->Finish(&ear).ok());
  EXPECT_THAT(first_ids, ElementsAre("4-0"));
  EXPECT_EQ(load->progress().num_batches, 40);
  EXPECT_EQ(load->progress().num_recorded, 39 * kEvents);
  EXPECT_EQ(load->progress().num_duplicates, kEvents);
  EXPECT_EQ(num_ids(), 40u * kEvents) << "nothing is lost";
  EXPECT_THAT(ear.retries, ElementsAre(StartsWith("the server is shutting down [LoadEvents at ")))
      << "once for the break";
}

TEST_F(EventLoadTest, AServerThatIsNotThereIsGivenUpSoonAndSilently) {
  std::string address;
  {
    const FakeServer gone;
    address = gone.address();
  }
  client_ = Client::Connect({.address = address}).value();
  const std::unique_ptr<EventLoad> load = client_->LoadEvents().value();
  Ear ear;
  absl::Status status = load->Add(Batch(0), &ear);
  if (status.ok()) status = load->Finish(&ear);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("LoadEvents at " + address));
  EXPECT_TRUE(ear.retries.empty());
  EXPECT_EQ(load->progress().num_batches, 0);
}

TEST_F(EventLoadTest, RetriesEndWithTheTimeout) {
  server_.event.load_events = [](auto&, Stream&) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "16 streams of LoadEvents are open");
  };
  const std::unique_ptr<EventLoad> load = NewLoad({.timeout = absl::Milliseconds(300)});
  Ear ear;
  absl::Status status = load->Add(Batch(0), &ear);
  if (status.ok()) status = load->Finish(&ear);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(ear.retries.size(), 1u);
}

TEST_F(EventLoadTest, AServerThatCommitsNothingRunsIntoTheTimeout) {
  // The handler's, too: it may wake up when this test is over.
  const auto given_up = std::make_shared<std::latch>(1);
  server_.event.load_events = [given_up](auto&, Stream&) {
    given_up->wait();
    return grpc::Status::OK;
  };
  const std::unique_ptr<EventLoad> load = NewLoad({.timeout = absl::Milliseconds(200)});
  ASSERT_TRUE(load->Add(Batch(0)).ok());
  const absl::Status status = load->Finish();
  given_up->count_down();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("nothing was committed for 200ms"));
}

TEST_F(EventLoadTest, WithoutLoadEventsItGoesByCalls) {
  server_.event.RecordEventsMethod.handler = [this](auto&, const v1::RecordEventsRequest& request,
                                                    v1::RecordEventsResponse& response) {
    const absl::StatusOr<int> num_new = Store(request.events());
    if (!num_new.ok())
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, std::string(num_new.status().message()));
    response.set_num_recorded(*num_new);
    response.set_num_duplicates(request.events_size() - *num_new);
    return grpc::Status::OK;
  };
  const std::unique_ptr<EventLoad> load = NewLoad({.max_batches = 4});
  Ear ear;
  for (int b = 0; b < 20; ++b) ASSERT_TRUE(load->Add(Batch(b), &ear).ok()) << b;
  ASSERT_TRUE(load->Finish(&ear).ok());
  EXPECT_EQ(ear.num_fallbacks, 1);
  EXPECT_EQ(num_ids(), 20u * kEvents);
  EXPECT_EQ(load->progress().num_recorded, 20 * kEvents);
  EXPECT_EQ(server_.event.RecordEventsMethod.requests().size(), 20u);
  v1::LoadEventsRequest bad = Batch(20);
  bad.mutable_events(1)->set_item_id("bad");
  absl::Status status = load->Add(bad, &ear);
  if (status.ok()) status = load->Finish(&ear);
  EXPECT_THAT(std::string(status.message()), StartsWith("batches[20].events[1].item_id: bad"));
  EXPECT_TRUE(load->RemoveEvent(1));
  ASSERT_TRUE(load->Finish(&ear).ok());
  EXPECT_EQ(load->progress().num_recorded, 21 * kEvents - 1);
}

TEST_F(EventLoadTest, ABadEventIsNamedFromTheLoadsBeginningAndCanBeTakenOut) {
  server_.event.load_events = [this](auto&, Stream& stream) { return Serve(stream); };
  const std::unique_ptr<EventLoad> load = NewLoad();
  std::vector<std::string> errors;
  for (int b = 0; b < 30; ++b) {
    v1::LoadEventsRequest batch = Batch(b);
    if (b == 7) {
      batch.mutable_events(2)->set_item_id("bad");
      batch.mutable_events(0)->set_item_id("bad");
    }
    if (b == 12) batch.mutable_events()->DeleteSubrange(1, 2);
    if (b == 12) batch.mutable_events(0)->set_item_id("bad");  // nothing is left of this one
    absl::Status status = load->Add(std::move(batch));
    for (; !status.ok() || b == 29; status = b == 29 ? load->Finish() : load->WaitForRoom()) {
      if (status.ok() && load->progress().num_batches == 30) break;
      if (status.ok()) continue;
      ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
      const std::string message(status.message());
      errors.push_back(message.substr(0, message.find('.', message.find('.') + 1)));
      const size_t index = static_cast<size_t>(message[message.find("events[") + 7] - '0');
      EXPECT_FALSE(load->RemoveEvent(kEvents));
      ASSERT_TRUE(load->RemoveEvent(index)) << message;
    }
  }
  EXPECT_THAT(errors, ElementsAre("batches[7].events[0]", "batches[7].events[1]", "batches[12].events[0]"));
  EXPECT_EQ(load->progress().num_batches, 30);
  EXPECT_EQ(load->progress().num_recorded, 28 * kEvents + 1);
}

TEST_F(EventLoadTest, ASlowServerHoldsTheLoadAtItsBound) {
  constexpr int kBound = 4, kBatches = 40;
  std::latch waited(1);
  std::vector<int64_t> ahead;  // read and not told, at the server
  server_.event.load_events = [&](auto&, Stream& stream) {
    v1::LoadEventsRequest request;
    v1::LoadEventsProgress progress;
    int64_t num_read = 0;
    while (num_read < kBatches && stream.Read(&request)) {
      ++num_read;
      ahead.push_back(num_read - progress.num_batches());
      if (num_read - progress.num_batches() < kBound && num_read < kBatches) continue;
      waited.wait();
      progress.set_num_batches(num_read);
      stream.Write(progress);
    }
    return grpc::Status::OK;
  };
  const std::unique_ptr<EventLoad> load = NewLoad({.max_batches = kBound});
  int64_t added = 0;
  Ear ear;
  ear.go_on = [&] {
    EXPECT_LE(added - load->progress().num_batches, kBound);
    if (!waited.try_wait()) {
      EXPECT_EQ(added, kBound) << "waits with the bound reached, not before";
      waited.count_down();
    }
    return true;
  };
  for (int b = 0; b < kBatches; ++b) {
    ++added;
    ASSERT_TRUE(load->Add(Batch(b), &ear).ok());
  }
  ASSERT_TRUE(load->Finish(&ear).ok());
  EXPECT_TRUE(waited.try_wait());
  EXPECT_EQ(load->progress().num_batches, kBatches);
  EXPECT_THAT(ahead, ::testing::Each(::testing::Le(kBound)));
}

TEST_F(EventLoadTest, StopCountsWhatWasSentAndAnObserverEndsAWait) {
  std::latch cancelled(1);
  server_.event.load_events = [&](auto&, Stream& stream) {
    cancelled.wait();
    return Serve(stream);
  };
  const std::unique_ptr<EventLoad> load = NewLoad();
  Ear ear;
  ear.go_on = [] { return false; };
  for (int b = 0; b < 3; ++b) ASSERT_TRUE(load->Add(Batch(b), &ear).ok());
  EXPECT_TRUE(absl::IsCancelled(load->Finish(&ear)));
  cancelled.count_down();
  load->Stop(absl::Seconds(60));
  // What it was about to send when it was stopped is not sent.
  EXPECT_EQ(num_ids(), static_cast<size_t>(load->progress().num_batches * kEvents));
  EXPECT_GE(load->progress().num_batches, 1);
  // And can be sent later.
  ASSERT_TRUE(load->Finish().ok());
  EXPECT_EQ(load->progress().num_batches, 3);
}

TEST_F(EventLoadTest, ALoadThatIsDroppedHangsUp) {
  const auto arrived = std::make_shared<std::latch>(1), done = std::make_shared<std::latch>(1);
  server_.event.load_events = [arrived, done](grpc::ServerContext& context, Stream& stream) {
    v1::LoadEventsRequest request;
    EXPECT_TRUE(stream.Read(&request));
    arrived->count_down();
    EXPECT_FALSE(stream.Read(&request));
    EXPECT_TRUE(context.IsCancelled());
    done->count_down();
    return grpc::Status::OK;
  };
  std::unique_ptr<EventLoad> load = NewLoad();
  ASSERT_TRUE(load->Add(Batch(0)).ok());
  arrived->wait();
  load.reset();
  done->wait();
}

TEST_F(EventLoadTest, AServerCannotCountMoreThanWasSentOrEndEarly) {
  server_.event.load_events = [this](auto&, Stream& stream) {
    v1::LoadEventsRequest request;
    EXPECT_TRUE(stream.Read(&request));
    v1::LoadEventsProgress progress;
    progress.set_num_batches(1'000'000);
    if (++num_streams_ == 1) stream.Write(progress);
    return grpc::Status::OK;
  };
  const std::unique_ptr<EventLoad> load = NewLoad();
  ASSERT_TRUE(load->Add(Batch(0)).ok());
  ASSERT_TRUE(load->Finish().ok());
  EXPECT_EQ(load->progress().num_batches, 1);
  absl::Status status = load->Add(Batch(1));
  if (status.ok()) status = load->Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("ended the stream early"));
}

TEST_F(EventLoadTest, OptionsOutOfRangeAreRefused) {
  client_ = Client::Connect({.address = server_.address()}).value();
  EXPECT_TRUE(absl::IsInvalidArgument(client_->LoadEvents({.max_batches = 0}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client_->LoadEvents({.timeout = absl::ZeroDuration()}).status()));
}

TEST_F(EventLoadTest, GoesOnAfterAFinishThatWasCancelled) {
  std::latch closed(1), go_on(1);
  server_.event.load_events = [&](auto&, Stream& stream) {
    v1::LoadEventsRequest request;
    v1::LoadEventsProgress progress;
    while (stream.Read(&request)) {
      progress.set_num_batches(progress.num_batches() + 1);
      progress.set_num_recorded(progress.num_recorded() + request.events_size());
    }
    if (closed.try_wait()) {  // the second stream
      stream.Write(progress);
      return grpc::Status::OK;
    }
    closed.count_down();
    go_on.wait();
    stream.Write(progress);
    return grpc::Status::OK;
  };
  const std::unique_ptr<EventLoad> load = NewLoad();
  ASSERT_TRUE(load->Add(Batch(1)).ok());
  Ear ear;
  ear.go_on = [&] { return !closed.try_wait(); };
  EXPECT_TRUE(absl::IsCancelled(load->Finish(&ear)));
  ASSERT_TRUE(load->Add(Batch(2)).ok());  // the sending side is closed: it takes another stream
  go_on.count_down();
  const absl::Status status = load->Finish();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(load->progress().num_batches, 2);
  EXPECT_EQ(load->progress().num_recorded, 2 * kEvents);
}

}  // namespace
}  // namespace swiftlet
