// One LoadEvents stream: see proto/swiftlet/v1/event.proto.
#ifndef SWIFTLET_SERVER_EVENT_LOAD_STREAM_H_
#define SWIFTLET_SERVER_EVENT_LOAD_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "engine/base/mutex.h"
#include "server/service_core.h"

namespace swiftlet {

// Turns a checked request into records, and takes its strings.
std::vector<EventRecord> TakeEvents(google::protobuf::RepeatedPtrField<v1::Event>* events,
                                    const EventTypeTable& types, int64_t now_ms);

// Batches are parsed and checked where they arrive, and committed on a thread of the pool of writers, all
// that wait at once. At most kMaxWaiting wait: then nothing is read until some are committed. Thread-safe.
// Keeps itself alive from Start to the end of the call.
class EventLoadStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                              public std::enable_shared_from_this<EventLoadStream> {
 public:
  static constexpr size_t kMaxWaiting = 4;

  // on_done: called once, when gRPC is done with the call. `core` must outlive the call.
  EventLoadStream(ServiceCore* core, std::function<void(EventLoadStream*)> on_done);

  // Once, after construction. An error ends the stream with it.
  void Start(const absl::Status& admitted);
  // Ends the stream with this error once what it has read is committed.
  void Stop(const absl::Status& error) ABSL_LOCKS_EXCLUDED(mu_);

  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnCancel() override { Stop(absl::CancelledError("the caller cancelled")); }
  void OnDone() override;

 private:
  using Clock = std::chrono::steady_clock;

  absl::Status TakeBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CommitWaiting() ABSL_LOCKS_EXCLUDED(mu_);
  // Begins what can be done now: reading, committing, telling progress, or ending.
  void Continue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  ServiceCore* const core_;
  const std::function<void(EventLoadStream*)> on_done_;
  const Clock::time_point start_ = Clock::now();
  std::shared_ptr<EventLoadStream> self_;  // from Start to OnDone

  Mutex mu_;
  grpc::ByteBuffer in_, out_;  // of the read and the write in progress
  std::deque<std::vector<EventRecord>> waiting_ ABSL_GUARDED_BY(mu_);
  int64_t num_read_ ABSL_GUARDED_BY(mu_) = 0;  // batches
  v1::LoadEventsProgress progress_ ABSL_GUARDED_BY(mu_);
  int64_t num_told_ ABSL_GUARDED_BY(mu_) = 0;  // batches, in the last progress that was sent
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool read_all_ ABSL_GUARDED_BY(mu_) = false;  // the caller has closed its side
  bool committing_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;  // nothing can be sent any more
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_EVENT_LOAD_STREAM_H_
