// One unary call, from its bytes to its answer. Services take raw bytes, so that a malformed message gets
// INVALID_ARGUMENT that names the field (the typed handlers of gRPC 1.51 answer UNIMPLEMENTED), and so that a
// request that is answered inline is parsed into memory that its thread uses again.
//
//   grpc::ServerUnaryReactor* Recommend(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
//                                       grpc::ByteBuffer* out) override {
//     return ServeInline<v1::RecommendRequest>(core_->gate, Method::kRecommend, context, in, out,
//                                              [this](Call call, const v1::RecommendRequest& request) { ...
//                                              });
//   }
#ifndef SWIFTLET_SERVER_UNARY_CALL_H_
#define SWIFTLET_SERVER_UNARY_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "engine/base/thread_pool.h"
#include "google/protobuf/message_lite.h"
#include "server/arrivals.h"
#include "server/call_arena.h"
#include "server/call_log.h"
#include "server/call_origin.h"
#include "server/config.h"
#include "server/metrics.h"
#include "server/queue_limit.h"
#include "server/request_scope.h"
#include "server/security/access_control.h"
#include "server/security/audit_log.h"

namespace swiftlet {

struct CallGate;

// Whether the call may be made, asked of gate.access; a refusal is counted, and some are logged. record:
// receives who calls; may be null. For calls that are no Call (streams).
absl::Status Authorize(CallGate& gate, Method method, const grpc::CallbackServerContext& context,
                       AuditRecord* record);
// Of a call that the audit log keeps; null for others. Tells the caller its request id: that of the metadata
// "x-request-id", else a new one, as trailing metadata of that name. Its trace is that of the metadata
// "traceparent", else a new one.
std::shared_ptr<AuditRecord> NewAuditRecord(const CallGate& gate, Method method,
                                            grpc::CallbackServerContext& context);

// A handle, cheap to copy; the copies are one call. Exactly one Finish on every path; nothing of the call,
// the request included, may be touched afterwards.
//
// A call has a request id: that of the request (SetRequestId), else that of the metadata "x-request-id", else
// a new one; and a trace: that of the metadata "traceparent", else a new one. Lines of the log about it name
// both. A caller who sent any metadata of trace_context.h, and one whose call fails, gets the request id as
// trailing metadata "x-request-id"; one who sent "x-server-timing: 1" gets "server-timing".
class Call {
 public:
  using Clock = std::chrono::steady_clock;

  Call(CallGate* gate, Method method, grpc::CallbackServerContext* context, grpc::ByteBuffer* out);

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }
  // RESOURCE_EXHAUSTED when too many calls wait or are in progress, of this method or of all; UNAVAILABLE
  // when the server shuts down; UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED when the caller may
  // not make it (AccessControl). Once a call.
  absl::Status Admit() const;
  // For the audit log: a field of the request. Nothing for calls that it does not keep.
  void Note(std::string_view field, std::string_view value) const;
  // DEADLINE_EXCEEDED or CANCELLED when nobody waits for the answer any more: before there was any work,
  // which is counted, and while it goes on.
  absl::Status CheckAlive() const;
  absl::Status CheckWanted() const;
  // RESOURCE_EXHAUSTED when the deadline would pass before a call that waits this long is started.
  absl::Status CheckDeadline(absl::Duration wait) const;

  // What a handler knows; a copy has what was known when it was made. Both must live until Finish.
  void SetRequestId(std::string_view given) const { notes_.request_id = given; }
  void SetUser(std::string_view user_id) const { notes_.user = user_id; }
  std::string_view request_id() const;
  // A stage took this long: for the metrics, the caller who asks, and the log of slow calls.
  void Passed(Stage stage, Clock::duration took) const;
  // Runs work() as a stage.
  template <typename Work>
  auto Run(Stage stage, const Work& work) const {
    const Clock::time_point start = Clock::now();
    auto result = work();
    Passed(stage, Clock::now() - start);
    return result;
  }

  void Finish(const absl::Status& error) const;
  void Finish(const google::protobuf::MessageLite& response) const;
  // The response in its wire form, which is copied.
  void Finish(std::string_view response) const;
  // Finish for a call that was not admitted or makes no sense; the gate may put it off (CallGate::Hold).
  void Refuse(const absl::Status& error) const;

  ServerMetrics& metrics() const;

 private:
  // Of one copy.
  struct Notes {
    std::string_view request_id, user;  // by the handler
    // By the caller's metadata, into which they point. trace_id: empty when it has none, or no valid one.
    std::string_view given_request_id, trace_id;
    bool asked = false;         // any metadata of trace_context.h
    bool wants_timing = false;  // "server-timing"
    bool has_own_id = false;    // own_id is one, as there was none when somebody asked
    std::array<char, 16> own_id;
    StageTimes stages = {};
  };

  // `status` says whether out_ has the response.
  void FinishWith(grpc::Status status) const;
  void ReadMetadata();
  // Trailing metadata and lines of the log.
  void Tell(const grpc::Status& status, absl::Duration took) const;
  absl::Status Refused(Refusal reason, absl::Status status) const;

  CallGate* gate_;
  grpc::CallbackServerContext* context_;
  grpc::ServerUnaryReactor* reactor_;
  grpc::ByteBuffer* out_;
  Clock::time_point start_;
  Method method_;
  Arrivals::Wait queued_;
  std::shared_ptr<AuditRecord> audit_;  // null: the call is not audited
  mutable Notes notes_;
};

// Calls that run on a thread pool. Thread-safe.
class CallPool {
 public:
  // `pool` must outlive this.
  explicit CallPool(ThreadPool* pool) : pool_(pool) {}

  // What a call that came now would wait, from how long the others took: 0 while none waits.
  absl::Duration ExpectedWait() const;
  // Runs run(how long it waited) on a thread of the pool, or finishes the call: at once when its deadline
  // would pass while it waits, or then, when nobody waits for the answer any more.
  template <typename Run>
  void Schedule(const Call& call, Run run) {
    if (absl::Status status = call.CheckDeadline(ExpectedWait()); !status.ok()) return call.Refuse(status);
    pool_->Schedule([this, call, run = std::move(run), scheduled = Call::Clock::now()] {
      const RequestScope scope;
      if (absl::Status alive = call.CheckAlive(); !alive.ok()) return call.Finish(alive);
      const Call::Clock::time_point start = Call::Clock::now();
      run(start - scheduled);
      Ran(Call::Clock::now() - start);
    });
  }

  // For tasks that others have scheduled on the pool: one took this long.
  void Ran(Call::Clock::duration time);

 private:
  ThreadPool* const pool_;
  std::atomic<int64_t> mean_ns_{0};  // of the latest calls
};

// What all calls share. Thread-safe.
struct CallGate {
  CallGate(const AdmissionOptions& options, ServerMetrics* metrics, ThreadPool* workers, ThreadPool* readers)
      : queue(options.queue), metrics(metrics), workers(workers), readers(readers) {
    SetAdmission(options);
  }

  // For calls from now on.
  void SetAdmission(const AdmissionOptions& options);
  void SetSlowRequests(absl::Duration slow, bool with_users) { log.SetSlowRequests(slow, with_users); }

  // Until Release, calls that are refused are kept unanswered, so that callers who would call again at once
  // wait instead. Only while draining.
  void Hold() ABSL_LOCKS_EXCLUDED(mu);
  // Answers the calls that are held, and holds no more.
  void Release() ABSL_LOCKS_EXCLUDED(mu);

  // AdmissionOptions; of one method 0: no limit of its own.
  std::atomic<int64_t> max_in_flight{0};
  std::array<std::atomic<int64_t>, kNumMethods> max_in_flight_of = {};
  AccessControl* access = nullptr;  // null: everybody may call; set before calls arrive, outlives them
  AuditLog* audit = nullptr;        // null: none
  const CallOrigin origin;          // of calls over HTTP
  CallLog log;
  QueueLimit queue;
  ServerMetrics* const metrics;  // outlives this
  CallPool workers;              // for what may block
  CallPool readers;              // for reads that may block, so that they do not wait for writes
  Arrivals arrivals;
  std::atomic<int64_t> in_flight{0};
  std::array<std::atomic<int64_t>, kNumMethods> in_flight_of = {};
  std::atomic<uint64_t> num_arrived{0};  // calls so far, refused ones too
  std::atomic<bool> draining{false};     // set once: no new call is admitted

  struct HeldCall {
    Call call;
    absl::Status error;
  };
  Mutex mu;
  bool holding ABSL_GUARDED_BY(mu) = false;
  std::vector<HeldCall> held ABSL_GUARDED_BY(mu);  // at most max_in_flight
};

inline ServerMetrics& Call::metrics() const { return *gate_->metrics; }

// INVALID_ARGUMENT, naming the field where it is known, for bytes that are not this message.
absl::Status ParseRequest(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* request);

// Runs handler(call, request) on this thread, for handlers that do not block. `request` is in a CallArena,
// which ends with the call of the handler: what has to live longer is copied.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* ServeInline(CallGate& gate, Method method, grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* in, grpc::ByteBuffer* out,
                                      const Handler& handler) {
  const RequestScope scope;
  CallArena arena;
  auto* request = arena.Create<Request>();
  const Call call(&gate, method, context, out);
  grpc::ServerUnaryReactor* reactor = call.reactor();
  absl::Status status = call.Admit();
  if (status.ok()) status = call.CheckAlive();
  if (status.ok()) status = ParseRequest(*in, request);
  if (status.ok()) {
    handler(call, std::as_const(*request));
  } else {
    call.Refuse(status);
  }
  return reactor;
}

// Runs handler(call, request) on a thread of `pool`, for handlers that block.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* ServeOnPool(CallPool& pool, CallGate& gate, Method method,
                                      grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                      grpc::ByteBuffer* out, Handler handler) {
  const Call call(&gate, method, context, out);
  grpc::ServerUnaryReactor* reactor = call.reactor();
  absl::Status status = call.Admit();
  if (status.ok()) status = call.CheckAlive();
  if (!status.ok()) {
    call.Refuse(status);
    return reactor;
  }
  // Parsed there, too: large requests would hold up the calls that this thread reads.
  pool.Schedule(call, [call, in, handler = std::move(handler)](Call::Clock::duration waited) {
    call.Passed(Stage::kPoolWait, waited);
    Request request;
    if (absl::Status valid = ParseRequest(*in, &request); !valid.ok()) return call.Refuse(valid);
    handler(call, request);
  });
  return reactor;
}

// On a worker: writes, and what else may take long.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* ServeOnWorker(CallGate& gate, Method method, grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* in, grpc::ByteBuffer* out, Handler handler) {
  return ServeOnPool<Request>(gate.workers, gate, method, context, in, out, std::move(handler));
}

// On a reader: short reads of the store.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* ServeOnReader(CallGate& gate, Method method, grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* in, grpc::ByteBuffer* out, Handler handler) {
  return ServeOnPool<Request>(gate.readers, gate, method, context, in, out, std::move(handler));
}

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_UNARY_CALL_H_
