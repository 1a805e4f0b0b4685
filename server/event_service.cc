#include "server/event_service.h"

#include <utility>
#include <vector>

namespace swiftlet {

grpc::ServerUnaryReactor* EventService::RecordEvents(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnWorker<v1::RecordEventsRequest>(
      core_->gate, Method::kRecordEvents, context, in, out,
      [this](const Call& call, v1::RecordEventsRequest& request) {
        const int64_t now_ms = core_->now_ms();
        if (absl::Status status = core_->validator.Check(request, now_ms); !status.ok()) {
          return call.Finish(status);
        }
        std::vector<EventRecord> events;
        events.reserve(request.events_size());
        for (v1::Event& event : *request.mutable_events()) {
          events.push_back({.user_id = std::move(*event.mutable_user_id()),
                            .item_id = std::move(*event.mutable_item_id()),
                            .event_id = std::move(*event.mutable_event_id()),
                            .timestamp_ms = event.timestamp_ms() == 0 ? now_ms : event.timestamp_ms(),
                            .value = event.value(),
                            .type = core_->event_types.FindByName(event.type())->id});
        }
        const absl::StatusOr<RecordResult> result = core_->users->RecordEvents(events, now_ms);
        if (!result.ok()) return call.Finish(result.status());
        call.metrics().CountEvents(result->num_recorded, result->num_duplicates);
        v1::RecordEventsResponse response;
        response.set_num_recorded(static_cast<int32_t>(result->num_recorded));
        response.set_num_duplicates(static_cast<int32_t>(result->num_duplicates));
        call.Finish(response);
      });
}

}  // namespace swiftlet
