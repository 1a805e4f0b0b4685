#include "server/unary_call.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <array>
#include <iterator>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/grpc_status.h"
#include "server/logging.h"
#include "server/response_builder.h"
#include "server/trace_context.h"

namespace swiftlet {
namespace {

Refusal ToRefusal(AccessDenial denial) {
  switch (denial) {
    case AccessDenial::kNone:
    case AccessDenial::kNoToken:
      break;
    case AccessDenial::kUnknownToken:
      return Refusal::kUnknownToken;
    case AccessDenial::kExpiredToken:
      return Refusal::kExpiredToken;
    case AccessDenial::kRole:
      return Refusal::kRole;
    case AccessDenial::kRateLimit:
      return Refusal::kRateLimit;
  }
  return Refusal::kNoToken;
}

std::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

// The value of a header; "" when it is not there, or there twice: which one counts?
std::string_view Header(const grpc::CallbackServerContext& context, const char* name) {
  const auto [begin, end] = context.client_metadata().equal_range(name);
  if (begin == end || std::next(begin) != end) return {};
  return View(begin->second);
}

}  // namespace

absl::Status Authorize(CallGate& gate, Method method, const grpc::CallbackServerContext& context,
                       AuditRecord* record) {
  AccessControl& access = *gate.access;
  const std::string peer = access.looks_at_peers() ? gate.origin.PeerOf(context) : std::string();
  const AccessDecision decision =
      access.Decide(method, access.asks_for_tokens() ? Header(context, "authorization") : std::string_view(),
                    peer, Call::Clock::now().time_since_epoch().count());
  if (record != nullptr && decision.client != nullptr) record->client = *decision.client;
  if (decision.denial == AccessDenial::kNone) return absl::OkStatus();
  const Refusal reason = ToRefusal(decision.denial);
  gate.metrics->CountRefusal(method, reason);
  gate.log.WriteRefusal(reason, method, decision.client != nullptr ? *decision.client : std::string_view(),
                        [&] { return gate.origin.PeerOf(context); });
  return decision.ToStatus(method);
}

std::shared_ptr<AuditRecord> NewAuditRecord(const CallGate& gate, Method method,
                                            grpc::CallbackServerContext& context) {
  if (gate.audit == nullptr || !gate.audit->Keeps(method)) return nullptr;
  auto record = std::make_shared<AuditRecord>();
  record->method = method;
  record->peer = gate.origin.PeerOf(context);
  const std::optional<TraceParent> parent = ParseTraceParent(Header(context, kTraceParentHeader));
  record->trace_id = parent.has_value() ? std::string(parent->trace_id) : NewTraceId();
  if (const std::string_view given = Header(context, kRequestIdHeader); IsRequestId(given)) {
    record->request_id = given;
  } else {
    const std::array<char, 16> id = NewRequestId();
    record->request_id.assign(id.data(), id.size());
  }
  context.AddTrailingMetadata(kRequestIdHeader, record->request_id);
  record->certificate = gate.origin.CertificateOf(context);
  return record;
}

Call::Call(CallGate* gate, Method method, grpc::CallbackServerContext* context, grpc::ByteBuffer* out)
    : gate_(gate),
      context_(context),
      reactor_(context->DefaultReactor()),
      out_(out),
      start_(Clock::now()),
      method_(method) {
  queued_ = gate->arrivals.Started(context, start_);
  gate_->in_flight.fetch_add(1, std::memory_order_relaxed);
  gate_->in_flight_of[static_cast<size_t>(method)].fetch_add(1, std::memory_order_relaxed);
  gate_->num_arrived.fetch_add(1, std::memory_order_relaxed);
  if (AuditOf(method) != Audit::kNone) audit_ = NewAuditRecord(*gate, method, *context);
  ReadMetadata();
}

// Most calls have hardly any metadata.
void Call::ReadMetadata() {
  for (const auto& [name, value] : context_->client_metadata()) {
    if (name == kTraceParentHeader || name == kRequestIdHeader || name == kServerTimingRequestHeader) {
      notes_.asked = true;
    }
  }
  if (!notes_.asked) return;
  if (const auto parent = ParseTraceParent(Header(*context_, kTraceParentHeader)); parent.has_value()) {
    notes_.trace_id = parent->trace_id;
  }
  if (const std::string_view id = Header(*context_, kRequestIdHeader); IsRequestId(id)) {
    notes_.given_request_id = id;
  }
  notes_.wants_timing = Header(*context_, kServerTimingRequestHeader) == "1";
}

std::string_view Call::request_id() const {
  if (!notes_.request_id.empty()) return notes_.request_id;
  if (!notes_.given_request_id.empty()) return notes_.given_request_id;
  if (audit_ != nullptr) return audit_->request_id;
  if (!notes_.has_own_id) notes_.own_id = NewRequestId();
  notes_.has_own_id = true;
  return {notes_.own_id.data(), notes_.own_id.size()};
}

void Call::Passed(Stage stage, Clock::duration took) const {
  const absl::Duration duration = absl::FromChrono(took);
  metrics().ObserveStage(stage, duration);
  notes_.stages[static_cast<size_t>(stage)] = static_cast<float>(absl::ToDoubleSeconds(duration));
}

absl::Status Call::Refused(Refusal reason, absl::Status status) const {
  gate_->metrics->CountRefusal(method_, reason);
  return status;
}

absl::Status Call::Admit() const {
  if (gate_->draining.load(std::memory_order_relaxed)) {
    return Refused(Refusal::kShuttingDown, absl::UnavailableError("the server is shutting down"));
  }
  gate_->metrics->ObserveQueue(absl::FromChrono(queued_.waited));
  if (!gate_->queue.Admit(queued_.num_behind, queued_.waited, start_) && !IsAdministration(method_)) {
    return Refused(Refusal::kQueueLimit,
                   absl::ResourceExhaustedError("too many calls wait for a thread, retry later"));
  }
  if (const int64_t most = gate_->max_in_flight.load(std::memory_order_relaxed);
      gate_->in_flight.load(std::memory_order_relaxed) > most) {
    return Refused(Refusal::kConcurrency,
                   absl::ResourceExhaustedError(absl::StrCat("limits.max_concurrent_requests: ", most,
                                                             " requests are in progress, retry later")));
  }
  const size_t m = static_cast<size_t>(method_);
  if (const int64_t most = gate_->max_in_flight_of[m].load(std::memory_order_relaxed);
      most > 0 && gate_->in_flight_of[m].load(std::memory_order_relaxed) > most) {
    return Refused(Refusal::kMethodLimit,
                   absl::ResourceExhaustedError(absl::StrCat("limits.methods: ", most, " calls of ",
                                                             std::string(kMethodNames[m]),
                                                             " are in progress, retry later")));
  }
  return gate_->access == nullptr ? absl::OkStatus() : Authorize(*gate_, method_, *context_, audit_.get());
}

void Call::Note(std::string_view field, std::string_view value) const {
  if (audit_ != nullptr) audit_->what.emplace_back(field, value);
}

absl::Status Call::CheckWanted() const {
  if (context_->deadline() <= std::chrono::system_clock::now()) {
    return absl::DeadlineExceededError("the deadline passed before the work was done");
  }
  return context_->IsCancelled() ? absl::CancelledError("the caller cancelled") : absl::OkStatus();
}

absl::Status Call::CheckAlive() const {
  absl::Status status = CheckWanted();
  if (status.ok()) return status;
  return Refused(absl::IsCancelled(status) ? Refusal::kCancelled : Refusal::kDeadlinePassed,
                 std::move(status));
}

absl::Status Call::CheckDeadline(absl::Duration wait) const {
  if (wait == absl::ZeroDuration()) return absl::OkStatus();
  const absl::Duration left = absl::FromChrono(context_->deadline()) - absl::Now();
  if (left >= wait) return absl::OkStatus();
  return Refused(Refusal::kDeadlineShort,
                 absl::ResourceExhaustedError(absl::StrCat(
                     "the deadline is in ", absl::FormatDuration(left), " and the call would wait ",
                     absl::FormatDuration(wait), " for a thread, retry later")));
}

absl::Duration CallPool::ExpectedWait() const {
  const auto num_waiting = static_cast<int64_t>(pool_->QueueLength());
  if (num_waiting == 0) return absl::ZeroDuration();
  return absl::Nanoseconds(mean_ns_.load(std::memory_order_relaxed) * num_waiting /
                           static_cast<int64_t>(pool_->num_threads()));
}

void CallPool::Ran(Call::Clock::duration time) {
  constexpr int64_t kMemory = 16;
  const int64_t ns = std::chrono::nanoseconds(time).count();
  const int64_t mean = mean_ns_.load(std::memory_order_relaxed);
  mean_ns_.store(mean == 0 ? ns : mean + (ns - mean) / kMemory, std::memory_order_relaxed);
}

void CallGate::SetAdmission(const AdmissionOptions& options) {
  max_in_flight.store(options.max_in_flight, std::memory_order_relaxed);
  for (size_t m = 0; m < kNumMethods; ++m) {
    max_in_flight_of[m].store(options.max_in_flight_of[m], std::memory_order_relaxed);
  }
  queue.SetOptions(options.queue);
}

void CallGate::Hold() {
  MutexLock lock(mu);
  holding = draining.load();
}

void CallGate::Release() {
  std::vector<HeldCall> released;
  {
    MutexLock lock(mu);
    holding = false;
    released.swap(held);
  }
  for (const HeldCall& h : released) h.call.Finish(h.error);
}

void Call::Refuse(const absl::Status& error) const {
  if (gate_->draining.load(std::memory_order_relaxed)) {
    MutexLock lock(gate_->mu);
    if (gate_->holding && static_cast<int64_t>(gate_->held.size()) < gate_->max_in_flight.load()) {
      gate_->held.push_back({*this, error});
      Notes& notes = gate_->held.back().call.notes_;
      notes.request_id = notes.user = {};  // of a request that is gone by then
      return;
    }
  }
  Finish(error);
}

void Call::Finish(const absl::Status& error) const { FinishWith(ToGrpcStatus(error)); }

void Call::Finish(const google::protobuf::MessageLite& response) const {
  bool own_buffer;
  FinishWith(grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::MessageLite>(response, out_,
                                                                                            &own_buffer));
}

void Call::Finish(std::string_view response) const {
  const grpc::Slice slice(response.data(), response.size());
  grpc::ByteBuffer bytes(&slice, 1);
  out_->Swap(&bytes);
  FinishWith(grpc::Status::OK);
}

void Call::FinishWith(grpc::Status status) const {
  const absl::Duration took = absl::FromChrono(Clock::now() - start_);
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  gate_->metrics->CountRequest(method_, code, took);
  if (audit_ != nullptr) gate_->audit->Write(*audit_, absl::Status(code, status.error_message()), took);
  if (notes_.asked || !status.ok() || gate_->log.Keeps(method_, code, took)) Tell(status, took);
  gate_->in_flight.fetch_sub(1, std::memory_order_relaxed);
  gate_->in_flight_of[static_cast<size_t>(method_)].fetch_sub(1, std::memory_order_relaxed);
  reactor_->Finish(std::move(status));
}

void Call::Tell(const grpc::Status& status, absl::Duration took) const {
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  const std::string_view id = request_id();
  if (audit_ == nullptr && (notes_.asked || !status.ok()) && IsRequestId(id)) {  // an audited call has it
    context_->AddTrailingMetadata(kRequestIdHeader, std::string(id));
  }
  const bool logged = gate_->log.Keeps(method_, code, took);
  if (!logged && !notes_.wants_timing) return;
  std::string trace_id(notes_.trace_id);
  if (trace_id.empty()) trace_id = audit_ != nullptr ? audit_->trace_id : NewTraceId();
  const CallSummary summary = {.method = method_,
                               .result = absl::Status(code, status.error_message()),
                               .took = took,
                               .queued = absl::FromChrono(queued_.waited),
                               .stages = notes_.stages,
                               .request_id = id,
                               .trace_id = trace_id,
                               .user = notes_.user};
  if (notes_.wants_timing) context_->AddTrailingMetadata(kServerTimingHeader, ServerTiming(summary));
  if (logged) gate_->log.Write(summary);
}

absl::Status ParseRequest(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* request) {
  TakeParseComplaint();
  // The reader wants a buffer it could change, but only reads it.
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&bytes));
  if (reader.status().ok() && request->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  // Such as: String field 'swiftlet.v1.RecommendRequest.user_id' contains invalid UTF-8 data when parsing ...
  const std::string complaint = TakeParseComplaint();
  const size_t begin = complaint.find('\'');
  const size_t end = begin == std::string::npos ? begin : complaint.find('\'', begin + 1);
  if (end != std::string::npos && complaint.find("UTF-8") != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(complaint.substr(begin + 1, end - begin - 1), ": is not valid UTF-8"));
  }
  return absl::InvalidArgumentError(absl::StrCat("the request's ", bytes.Length(), " bytes are not a ",
                                                 request->GetTypeName(), " message"));
}

}  // namespace swiftlet
