// One unary call, from its bytes to its answer. Services take raw bytes, so that a malformed message gets
// INVALID_ARGUMENT that names the field (the typed handlers of gRPC 1.51 answer UNIMPLEMENTED), and so that a
// request that is answered inline is parsed into memory that its thread uses again.
//
//   grpc::ServerUnaryReactor* Recommend(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
//                                       grpc::ByteBuffer* out) override {
//     return ServeInline<v1::RecommendRequest>(core_->gate, Method::kRecommend, context, in, out,
//                                              [this](Call call, v1::RecommendRequest& request) { ... });
//   }
#ifndef SWIFTLET_SERVER_UNARY_CALL_H_
#define SWIFTLET_SERVER_UNARY_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/base/thread_pool.h"
#include "google/protobuf/message_lite.h"
#include "server/metrics.h"

namespace swiftlet {

// What all calls share. Thread-safe.
struct CallGate {
  CallGate(int64_t max_in_flight, ServerMetrics* metrics, ThreadPool* workers)
      : max_in_flight(max_in_flight), metrics(metrics), workers(workers) {}
  const int64_t max_in_flight;
  ServerMetrics* const metrics;  // outlives this
  ThreadPool* const workers;     // outlives this; for what may block
  std::atomic<int64_t> in_flight{0};
  std::atomic<bool> draining{false};  // set once: no new call is admitted
};

// A handle, cheap to copy; the copies are one call. Exactly one Finish on every path; nothing of the call,
// the request included, may be touched afterwards.
class Call {
 public:
  using Clock = std::chrono::steady_clock;

  Call(CallGate* gate, Method method, grpc::CallbackServerContext* context, grpc::ByteBuffer* out);

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }
  // RESOURCE_EXHAUSTED when too many calls are in progress, UNAVAILABLE when the server shuts down.
  absl::Status Admit() const;
  // DEADLINE_EXCEEDED or CANCELLED when nobody waits for the answer any more.
  absl::Status CheckAlive() const;

  void Finish(const absl::Status& error) const;
  void Finish(const google::protobuf::MessageLite& response) const;

  ServerMetrics& metrics() const { return *gate_->metrics; }

 private:
  void Finish(const absl::Status& status, const google::protobuf::MessageLite* response) const;

  CallGate* gate_;
  grpc::CallbackServerContext* context_;
  grpc::ServerUnaryReactor* reactor_;
  grpc::ByteBuffer* out_;
  Clock::time_point start_;
  Method method_;
};

// INVALID_ARGUMENT, naming the field where it is known, for bytes that are not this message.
absl::Status ParseRequest(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* request);

// Runs handler(call, request) on this thread, for handlers that do not block. `request` is this thread's own
// message: the handler may take its contents (Swap), and must not keep a pointer to it.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* ServeInline(CallGate& gate, Method method, grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* in, grpc::ByteBuffer* out,
                                      const Handler& handler) {
  thread_local Request request;
  const Call call(&gate, method, context, out);
  grpc::ServerUnaryReactor* reactor = call.reactor();
  absl::Status status = call.Admit();
  if (status.ok()) status = call.CheckAlive();
  if (status.ok()) status = ParseRequest(*in, &request);
  if (status.ok()) {
    handler(call, request);
  } else {
    call.Finish(status);
  }
  return reactor;
}

// Runs handler(call, request) on a worker thread, for handlers that block.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* ServeOnWorker(CallGate& gate, Method method, grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* in, grpc::ByteBuffer* out, Handler handler) {
  const Call call(&gate, method, context, out);
  grpc::ServerUnaryReactor* reactor = call.reactor();
  auto request = std::make_shared<Request>();
  absl::Status status = call.Admit();
  if (status.ok()) status = call.CheckAlive();
  if (status.ok()) status = ParseRequest(*in, request.get());
  if (!status.ok()) {
    call.Finish(status);
    return reactor;
  }
  gate.workers->Schedule([call, request = std::move(request), handler = std::move(handler)] {
    // The caller may have given up while the call was queued.
    if (absl::Status alive = call.CheckAlive(); !alive.ok()) return call.Finish(alive);
    handler(call, *request);
  });
  return reactor;
}

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_UNARY_CALL_H_
