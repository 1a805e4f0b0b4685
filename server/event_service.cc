#include "server/event_service.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace swiftlet {

grpc::ServerUnaryReactor* EventService::RecordEvents(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  const Call call(&core_->gate, Method::kRecordEvents, context, out);
  grpc::ServerUnaryReactor* reactor = call.reactor();
  absl::Status status = call.Admit();
  if (status.ok()) status = call.CheckAlive();
  if (status.ok()) status = call.CheckDeadline(commits_.ExpectedWait());
  if (status.ok()) status = core_->writes->Enter(in->Length());
  if (!status.ok()) {
    call.Refuse(status);
    return reactor;
  }
  // Parsed and checked there, too: a thousand events would hold up the calls that this thread reads.
  core_->writers->Schedule([this, call, in, now_ms = core_->now_ms(), scheduled = Call::Clock::now()] {
    const RequestScope scope;
    const size_t bytes = in->Length();
    const Call::Clock::time_point start = Call::Clock::now();
    call.Passed(Stage::kPoolWait, start - scheduled);
    // The caller may have given up while the call was queued.
    if (absl::Status alive = call.CheckAlive(); !alive.ok()) {
      core_->writes->Leave(bytes);
      return call.Finish(alive);
    }
    v1::RecordEventsRequest request;
    absl::Status valid = ParseRequest(*in, &request);
    if (valid.ok()) valid = core_->validator.Check(request, now_ms);
    if (!valid.ok()) {
      core_->writes->Leave(bytes);
      return call.Refuse(valid);
    }
    const absl::StatusOr<RecordResult> result = call.Run(Stage::kStore, [&] {
      return core_->users->RecordEvents(TakeEvents(request.mutable_events(), core_->event_types, now_ms),
                                        now_ms);
    });
    core_->writes->Leave(bytes);
    commits_.Ran(Call::Clock::now() - start);
    if (!result.ok()) {
      core_->writes->CountRefusal(result.status());
      return call.Finish(result.status());
    }
    call.metrics().CountEvents(result->num_recorded, result->num_duplicates);
    v1::RecordEventsResponse response;
    response.set_num_recorded(static_cast<int32_t>(result->num_recorded));
    response.set_num_duplicates(static_cast<int32_t>(result->num_duplicates));
    call.Finish(response);
  });
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* EventService::LoadEvents(
    grpc::CallbackServerContext* context) {
  std::shared_ptr<EventLoadStream> stream;
  absl::Status admitted;
  if (core_->gate.access != nullptr) {
    admitted = Authorize(core_->gate, Method::kLoadEvents, *context, /*record=*/nullptr);
  }
  {
    MutexLock lock(mu_);
    if (!admitted.ok()) {
      // Refused.
    } else if (core_->gate.draining.load()) {
      core_->gate.metrics->CountRefusal(Method::kLoadEvents, Refusal::kShuttingDown);
      admitted = absl::UnavailableError("the server is shutting down");
    } else if (streams_.size() >= kMaxStreams) {
      core_->gate.metrics->CountRefusal(Method::kLoadEvents, Refusal::kMethodLimit);
      admitted = absl::ResourceExhaustedError(
          absl::StrCat(kMaxStreams, " streams of LoadEvents are open, retry later"));
    }
    stream = std::make_shared<EventLoadStream>(core_, [this](EventLoadStream* done) {
      MutexLock done_lock(mu_);
      streams_.erase(done);
    });
    if (admitted.ok()) streams_.emplace(stream.get(), stream);
  }
  stream->Start(admitted);
  return stream.get();
}

void EventService::StopStreams() {
  std::vector<std::shared_ptr<EventLoadStream>> open;
  {
    MutexLock lock(mu_);
    for (const auto& [key, stream] : streams_) open.push_back(stream);
  }
  for (const std::shared_ptr<EventLoadStream>& stream : open) {
    stream->Stop(absl::UnavailableError("the server is shutting down"));
  }
}

}  // namespace swiftlet
