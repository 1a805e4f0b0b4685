// EventService: see proto/swiftlet/v1/event.proto.
#ifndef SWIFTLET_SERVER_EVENT_SERVICE_H_
#define SWIFTLET_SERVER_EVENT_SERVICE_H_

#include "server/service_core.h"
#include "swiftlet/v1/event.grpc.pb.h"

namespace swiftlet {

// Thread-safe. Calls block on disk, so they run on workers.
class EventService final
    : public v1::EventService::WithRawCallbackMethod_RecordEvents<v1::EventService::Service> {
 public:
  // `core` must outlive this.
  explicit EventService(ServiceCore* core) : core_(core) {}

  grpc::ServerUnaryReactor* RecordEvents(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override;

 private:
  ServiceCore* const core_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_EVENT_SERVICE_H_
