// EventService: see proto/swiftlet/v1/event.proto.
#ifndef SWIFTLET_SERVER_EVENT_SERVICE_H_
#define SWIFTLET_SERVER_EVENT_SERVICE_H_

#include <memory>

#include "absl/container/flat_hash_map.h"
#include "engine/base/mutex.h"
#include "server/event_load_stream.h"
#include "server/service_core.h"
#include "swiftlet/v1/event.grpc.pb.h"

namespace swiftlet {

// Thread-safe. Calls block on disk, so they run on writers.
class EventService final
    : public v1::EventService::WithRawCallbackMethod_RecordEvents<
          v1::EventService::WithRawCallbackMethod_LoadEvents<v1::EventService::Service>> {
 public:
  static constexpr size_t kMaxStreams = 16;

  // `core` must outlive this.
  explicit EventService(ServiceCore* core) : core_(core), commits_(core->writers) {}
  // After the server: waits for the last stream to have taken itself out.
  ~EventService() override { MutexLock lock(mu_); }

  grpc::ServerUnaryReactor* RecordEvents(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* LoadEvents(
      grpc::CallbackServerContext* context) override ABSL_LOCKS_EXCLUDED(mu_);

  // Ends the streams that are open with UNAVAILABLE, once what they have read is committed. For a server that
  // drains: no stream begins after that.
  void StopStreams() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  ServiceCore* const core_;
  CallPool commits_;  // for what a call would wait
  Mutex mu_;
  absl::flat_hash_map<EventLoadStream*, std::shared_ptr<EventLoadStream>> streams_ ABSL_GUARDED_BY(mu_);
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_EVENT_SERVICE_H_
