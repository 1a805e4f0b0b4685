#include "server/export_user_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <utility>
#include <vector>

#include "engine/base/status_macros.h"
#include "server/grpc_status.h"
#include "server/snapshot_manager.h"
#include "server/user_events.h"

namespace swiftlet {
namespace {

// A part takes some 10 ms, and a message stays well below the 4 MiB that clients take by default.
constexpr uint64_t kScannedAtOnce = 20'000;
constexpr size_t kEventsOfAPart = 1000;

}  // namespace

ExportUserStream::ExportUserStream(ServiceCore* core, std::shared_ptr<AuditRecord> record,
                                   std::function<void(ExportUserStream*)> on_done)
    : core_(core), record_(std::move(record)), on_done_(std::move(on_done)) {
  core_->gate.in_flight.fetch_add(1, std::memory_order_relaxed);
  core_->gate.num_arrived.fetch_add(1, std::memory_order_relaxed);
}

void ExportUserStream::Start(const absl::Status& admitted, const std::string& user_id) {
  self_ = shared_from_this();
  user_id_ = user_id;
  if (record_ != nullptr && !user_id.empty()) record_->what.emplace_back("user_id", user_id);
  MutexLock lock(mu_);
  if (!admitted.ok()) return End(admitted);
  Schedule();
}

void ExportUserStream::Stop(const absl::Status& error) {
  MutexLock lock(mu_);
  if (error_.ok()) error_ = error;
  if (!busy_) End(error_);
}

void ExportUserStream::Schedule() {
  busy_ = true;
  core_->exporter->Schedule([self = shared_from_this()] { self->Work(); });
}

void ExportUserStream::Work() {
  absl::StatusOr<v1::ExportUserResponse> part = v1::ExportUserResponse();
  do {
    {
      MutexLock lock(mu_);
      if (!error_.ok()) return End(error_);
    }
    part = MakePart();
    // Where the log has nothing of the user there is nothing to send, and much to search.
  } while (part.ok() && !is_last_ && part->logged_events().empty() && part->history().empty() &&
           part->long_term_vectors().empty());
  MutexLock lock(mu_);
  if (!part.ok()) return End(part.status());
  if (!error_.ok()) return End(error_);
  out_.Clear();  // of the part before, which gRPC holds a reference to
  bool own_buffer;
  grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::MessageLite>(*part, &out_, &own_buffer);
  StartWrite(&out_);
}

void ExportUserStream::OnWriteDone(bool ok) {
  MutexLock lock(mu_);
  if (!ok && error_.ok()) error_ = absl::CancelledError("the caller is gone");
  if (!error_.ok() || is_last_) return End(error_);
  Schedule();
}

absl::StatusOr<v1::ExportUserResponse> ExportUserStream::MakePart() {
  v1::ExportUserResponse part;
  part.set_user_id(user_id_);
  if (!began_) {
    began_ = true;
    SWIFTLET_RETURN_IF_ERROR(AddHistory(&part));
    SWIFTLET_RETURN_IF_ERROR(AddVectors(&part));
    SWIFTLET_ASSIGN_OR_RETURN(const int64_t erased_ms, core_->database->ReadErasedMs(user_id_));
    summary_.set_erased_ms(erased_ms);
    summary_.set_num_history_events(part.history_size());
    return part;
  }
  SWIFTLET_ASSIGN_OR_RETURN(
      const UserLogPart log,
      core_->database->ReadUserLog(user_id_, *next_arrival_, kScannedAtOnce, kEventsOfAPart));
  for (const UserLogPart::Entry& entry : log.entries) {
    v1::LoggedEvent* logged = part.add_logged_events();
    logged->set_arrival_ms(entry.arrival_ms);
    v1::Event* event = logged->mutable_event();
    event->set_user_id(entry.event.user_id);
    event->set_item_id(entry.event.item_id);
    event->set_event_id(entry.event.event_id);
    event->set_timestamp_ms(entry.event.timestamp_ms);
    event->set_value(entry.event.value);
    if (const EventType* type = core_->event_types.FindById(entry.event.type); type != nullptr) {
      event->set_type(type->name);
    }
  }
  summary_.set_num_logged_events(summary_.num_logged_events() + part.logged_events_size());
  summary_.set_num_erased_events(summary_.num_erased_events() + static_cast<int64_t>(log.num_erased));
  next_arrival_ = log.next;
  if (!next_arrival_.has_value()) {
    is_last_ = true;
    *part.mutable_summary() = summary_;
  }
  return part;
}

absl::Status ExportUserStream::AddHistory(v1::ExportUserResponse* part) {
  std::vector<HistoryEvent> history;
  SWIFTLET_RETURN_IF_ERROR(core_->database->ReadHistory(user_id_, &history));
  return AddUserEvents(*core_, history, part->mutable_history());
}

absl::Status ExportUserStream::AddVectors(v1::ExportUserResponse* part) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<int64_t> stored, core_->database->IngestedVersions());
  for (const int64_t name : stored) {
    std::vector<float> vector;
    const absl::Status status = core_->database->ReadLongTerm(name, user_id_, &vector);
    if (absl::IsNotFound(status)) continue;  // dropped meanwhile
    SWIFTLET_RETURN_IF_ERROR(status);
    if (vector.empty()) continue;
    v1::UserVector* exported = part->add_long_term_vectors();
    exported->set_snapshot_version(SnapshotVersionOf(name));
    exported->mutable_values()->Add(vector.begin(), vector.end());
  }
  return absl::OkStatus();
}

void ExportUserStream::End(const absl::Status& status) {
  if (finished_) return;
  finished_ = true;
  busy_ = true;
  grpc::Status answer = ToGrpcStatus(status);
  const absl::Duration took = absl::FromChrono(Clock::now() - start_);
  core_->gate.metrics->CountRequest(Method::kExportUser, static_cast<absl::StatusCode>(answer.error_code()),
                                    took);
  if (record_ != nullptr) core_->gate.audit->Write(*record_, status, took);
  Finish(std::move(answer));
}

void ExportUserStream::OnDone() {
  core_->gate.in_flight.fetch_sub(1, std::memory_order_relaxed);
  on_done_(this);
  const std::shared_ptr<ExportUserStream> last = std::move(self_);
}

}  // namespace swiftlet
