#include "server/event_load_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/grpc_status.h"

namespace swiftlet {

std::vector<EventRecord> TakeEvents(google::protobuf::RepeatedPtrField<v1::Event>* events,
                                    const EventTypeTable& types, int64_t now_ms) {
  std::vector<EventRecord> records;
  records.reserve(static_cast<size_t>(events->size()));
  for (v1::Event& event : *events) {
    records.push_back({.user_id = std::move(*event.mutable_user_id()),
                       .item_id = std::move(*event.mutable_item_id()),
                       .event_id = std::move(*event.mutable_event_id()),
                       .timestamp_ms = event.timestamp_ms() == 0 ? now_ms : event.timestamp_ms(),
                       .value = event.value(),
                       .type = types.FindByName(event.type())->id});
  }
  return records;
}

EventLoadStream::EventLoadStream(ServiceCore* core, std::function<void(EventLoadStream*)> on_done)
    : core_(core), on_done_(std::move(on_done)) {
  core_->gate.in_flight.fetch_add(1, std::memory_order_relaxed);
  core_->gate.num_arrived.fetch_add(1, std::memory_order_relaxed);
}

void EventLoadStream::Start(const absl::Status& admitted) {
  self_ = shared_from_this();
  MutexLock lock(mu_);
  error_ = admitted;
  Continue();
}

void EventLoadStream::Stop(const absl::Status& error) {
  MutexLock lock(mu_);
  if (error_.ok()) error_ = error;
  broken_ = broken_ || absl::IsCancelled(error);
  Continue();
}

absl::Status EventLoadStream::TakeBatch() {
  v1::LoadEventsRequest request;
  SWIFTLET_RETURN_IF_ERROR(ParseRequest(in_, &request));
  v1::RecordEventsRequest batch;  // the same rules hold
  batch.mutable_events()->Swap(request.mutable_events());
  const int64_t now_ms = core_->now_ms();
  SWIFTLET_RETURN_IF_ERROR(core_->validator.Check(batch, now_ms));
  waiting_.push_back(TakeEvents(batch.mutable_events(), core_->event_types, now_ms));
  return absl::OkStatus();
}

void EventLoadStream::OnReadDone(bool ok) {
  MutexLock lock(mu_);
  reading_ = false;
  if (!ok) {
    read_all_ = true;
  } else if (error_.ok()) {
    if (absl::Status status = TakeBatch(); !status.ok()) {
      const std::string message(status.message());
      error_ = absl::Status(status.code(), absl::StrCat("batches[", num_read_, "]",
                                                        message.starts_with("events") ? "." : ": ", message));
    }
    ++num_read_;
  }
  in_.Clear();
  Continue();
}

void EventLoadStream::OnWriteDone(bool ok) {
  MutexLock lock(mu_);
  writing_ = false;
  broken_ = broken_ || !ok;
  Continue();
}

void EventLoadStream::CommitWaiting() {
  std::vector<EventRecord> events;
  int64_t num_batches = 0;
  {
    MutexLock lock(mu_);
    num_batches = static_cast<int64_t>(waiting_.size());
    for (std::vector<EventRecord>& batch : waiting_) {
      events.insert(events.end(), std::make_move_iterator(batch.begin()),
                    std::make_move_iterator(batch.end()));
    }
    waiting_.clear();
    Continue();  // reads while this commits
  }
  const absl::StatusOr<RecordResult> result = core_->users->RecordEvents(events, core_->now_ms());
  if (result.ok()) core_->gate.metrics->CountEvents(result->num_recorded, result->num_duplicates);
  MutexLock lock(mu_);
  committing_ = false;
  if (result.ok()) {
    progress_.set_num_batches(progress_.num_batches() + num_batches);
    progress_.set_num_recorded(progress_.num_recorded() + result->num_recorded);
    progress_.set_num_duplicates(progress_.num_duplicates() + result->num_duplicates);
  } else {
    core_->writes->CountRefusal(result.status());
    error_ = result.status();  // of earlier batches than what is wrong with those that wait
    waiting_.clear();
  }
  Continue();
}

void EventLoadStream::Continue() {
  if (finished_) return;
  if (broken_) waiting_.clear();
  if (error_.ok() && !reading_ && !read_all_ && waiting_.size() < kMaxWaiting) {
    reading_ = true;
    StartRead(&in_);
  }
  if (!committing_ && !waiting_.empty()) {
    committing_ = true;
    core_->writers->Schedule([self = shared_from_this()] { self->CommitWaiting(); });
  }
  if (!writing_ && !broken_ && progress_.num_batches() > num_told_) {
    writing_ = true;
    num_told_ = progress_.num_batches();
    bool own_buffer;
    grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::MessageLite>(progress_, &out_,
                                                                                   &own_buffer);
    StartWrite(&out_);
  }
  if (committing_ || writing_ || (error_.ok() && !read_all_)) return;
  finished_ = true;
  grpc::Status answer = ToGrpcStatus(error_);
  core_->gate.metrics->CountRequest(Method::kLoadEvents, static_cast<absl::StatusCode>(answer.error_code()),
                                    absl::FromChrono(Clock::now() - start_));
  Finish(std::move(answer));
}

void EventLoadStream::OnDone() {
  core_->gate.in_flight.fetch_sub(1, std::memory_order_relaxed);
  on_done_(this);
  const std::shared_ptr<EventLoadStream> last = std::move(self_);
}

}  // namespace swiftlet
