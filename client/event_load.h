// Loads many events over EventService.LoadEvents.
//
//   std::unique_ptr<swiftlet::EventLoad> load = client->LoadEvents();
//   while (NextBatch(&batch)) SWIFTLET_RETURN_IF_ERROR(load->Add(std::move(batch)));
//   SWIFTLET_RETURN_IF_ERROR(load->Finish());
//   Show(load->progress().num_recorded);
#ifndef SWIFTLET_CLIENT_EVENT_LOAD_H_
#define SWIFTLET_CLIENT_EVENT_LOAD_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "swiftlet/v1/event.pb.h"

namespace grpc {
class ClientContext;
template <class Request, class Response>
class ClientBidiReactor;
}  // namespace grpc

namespace swiftlet {

// What a load tells its caller, on the caller's thread, while a call of EventLoad waits.
class EventLoadObserver {
 public:
  virtual ~EventLoadObserver() = default;
  // Called where progress was made, and every tenth of a second. false: the call returns CANCELLED.
  virtual bool OnWait() { return true; }
  // The stream broke with this error; it is tried again. Once for each break, not for each attempt.
  virtual void OnRetry(const absl::Status& /*error*/) {}
  // The server has no LoadEvents: the load goes on by RecordEvents, one call after the other. Once a load.
  virtual void OnFallback() {}
};

struct EventLoadOptions {
  // Batches that are taken and not known to be on the server's disk: this bounds the memory. At least 1.
  size_t max_batches = 16;
  // How long the server may commit nothing, attempts to reach it again included. Positive.
  absl::Duration timeout = absl::Seconds(30);
};

// One load, over as many streams as it takes. When a stream breaks (UNAVAILABLE, RESOURCE_EXHAUSTED), the
// load pauses, a little longer each time, and goes on with the first batch that is not known to be committed;
// an event counts once by its event_id, and every event that has none gets one when it is taken. A server
// that was never reached is given up after a few attempts, else a load goes on for the timeout.
//
// Thread-compatible: one thread at a time.
class EventLoad {
 public:
  // What is on the server's disk.
  struct Progress {
    int64_t num_batches = 0;   // the first so many that were added
    int64_t num_recorded = 0;  // their events that were stored
    // Their events that the server had acknowledged before: after a break these can be events of this load.
    int64_t num_duplicates = 0;
  };
  // Makes the call LoadEvents for a reactor, which then starts it.
  using OpenStream = std::function<void(
      grpc::ClientContext*, grpc::ClientBidiReactor<v1::LoadEventsRequest, v1::LoadEventsProgress>*)>;
  using RecordEvents = std::function<absl::Status(const v1::RecordEventsRequest&, v1::RecordEventsResponse*)>;

  // See Client::LoadEvents, which makes loads. address: for messages. record_events: for a server without
  // LoadEvents.
  EventLoad(std::string address, OpenStream open_stream, RecordEvents record_events,
            const EventLoadOptions& options);
  // Cancels what is under way.
  ~EventLoad();
  EventLoad(const EventLoad&) = delete;
  EventLoad& operator=(const EventLoad&) = delete;

  // Takes a batch of 1 to 1,000 events and returns when there is room for another one. An error is that of
  // any batch not committed so far; every batch stays taken, and the next call goes on with the first of
  // them, over a new stream.
  //   INVALID_ARGUMENT   "batches[7].events[3].item_id: ...", counted from the load's first batch; all before
  //                      that one are committed, none from it on. RemoveEvent helps
  //   CANCELLED          the observer said so
  //   DEADLINE_EXCEEDED  nothing was committed for the timeout
  absl::Status Add(v1::LoadEventsRequest batch, EventLoadObserver* observer = nullptr);
  // As Add, without another batch.
  absl::Status WaitForRoom(EventLoadObserver* observer = nullptr);
  // Returns when all that was added is committed, or with an error as Add does. The load can go on after it.
  absl::Status Finish(EventLoadObserver* observer = nullptr);
  // Sends nothing more, and waits up to `timeout` for what was sent, so that progress() counts it.
  void Stop(absl::Duration timeout);

  // Takes an event out of the first batch that is not committed. Only after a call that returned an error.
  // False when there is no such event. A batch without events any more is done, and counts as committed.
  bool RemoveEvent(size_t index);

  Progress progress() const;

 private:
  class Stream;
  struct State;

  // Until at most `max_pending` batches are not committed; `finish`: until the stream has ended, too.
  absl::Status Wait(size_t max_pending, bool finish, EventLoadObserver& observer);
  // Stores the first batch by a call.
  absl::Status RecordFirst();
  // What to do after a stream ended with `error`: OK, after a pause, to open another one, or the error.
  absl::Status Recover(const absl::Status& error, EventLoadObserver& observer);
  void Open();
  // Cancels the stream, and waits for its end.
  void Close();

  const std::string address_;
  const OpenStream open_stream_;
  const RecordEvents record_events_;
  const EventLoadOptions options_;
  const std::shared_ptr<State> state_;
  std::shared_ptr<Stream> stream_;  // null: none is open
  bool by_calls_ = false;           // the server has no LoadEvents
  int failures_ = 0;                // in a row, without progress
  absl::Time broken_since_;         // of the first of them
  int64_t batches_at_failure_ = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_CLIENT_EVENT_LOAD_H_
