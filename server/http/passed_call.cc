#include "server/http/passed_call.h"

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <optional>
#include <utility>
#include <vector>

#include "server/http/error_body.h"
#include "server/trace_context.h"

namespace swiftlet {
namespace {

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// How the call ended.
absl::Status ToStatus(const grpc::Status& status, const PassedCall& call) {
  if (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT && !call.bad_request.ok()) {
    return call.bad_request;
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// What calls tell their callers besides the answer.
void AddMetadata(const grpc::ClientContext& context, HttpResponse* response) {
  const auto& trailing = context.GetServerTrailingMetadata();
  for (const auto& [name, header] :
       {std::pair(kRequestIdHeader, "X-Request-Id"), {kServerTimingHeader, "Server-Timing"}}) {
    if (const auto found = trailing.find(name); found != trailing.end()) {
      response->headers.emplace_back(header, std::string(found->second.data(), found->second.size()));
    }
  }
}

// Keeps itself alive until gRPC is done with it and everything is answered.
class Stream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                     public std::enable_shared_from_this<Stream> {
 public:
  explicit Stream(PassedCall call) : call_(std::move(call)), out_(ToBuffer(call_.wire)) {}

  void Start() {
    self_ = shared_from_this();
    call_.stub.PrepareBidiStreamingCall(call_.context.get(), call_.method.grpc_path, {}, this);
    StartWriteLast(&out_, grpc::WriteOptions());
    StartRead(&in_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone is next
    AddHold();        // the next read begins elsewhere
    call_.reply->Run([self = shared_from_this()] { self->SendPart(); });
  }
  void OnDone(const grpc::Status& status) override {
    call_.reply->Run([self = self_, status = ToStatus(status, call_)] { self->SendEnd(status); });
  }

 private:
  // On threads for HTTP, one after the other.
  void SendPart() {
    absl::StatusOr<std::string> json = call_.api.ToJson(call_.method, ToString(in_));
    if (!json.ok()) {
      error_ = json.status();
      call_.context->TryCancel();
      return RemoveHold();
    }
    Begin();
    call_.reply->Write(*std::move(json) + "\n", [self = shared_from_this()](bool sent) {
      sent ? self->StartRead(&self->in_) : self->call_.context->TryCancel();
      self->RemoveHold();
    });
  }
  void SendEnd(const absl::Status& status) {
    const std::shared_ptr<Stream> last = std::move(self_);
    if (error_.ok()) error_ = status;
    if (!error_.ok() && !began_) {
      HttpResponse response = ErrorResponse(error_);
      AddMetadata(*call_.context, &response);
      return call_.reply->Send(std::move(response));
    }
    Begin();
    if (!error_.ok()) {
      call_.reply->Write(
          ErrorBody(HttpStatusOf(error_.code()), error_.code(), std::string(error_.message())) + "\n",
          nullptr);
    }
    call_.reply->End(/*complete=*/error_.ok());
  }
  void Begin() {
    if (std::exchange(began_, true)) return;
    HttpResponse head;
    head.content_type = "application/x-ndjson";
    head.headers = {{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}};
    call_.reply->Begin(std::move(head));
  }

  PassedCall call_;
  grpc::ByteBuffer out_, in_;
  std::shared_ptr<Stream> self_;
  bool began_ = false;
  absl::Status error_;
};

}  // namespace

void PassUnary(PassedCall call, std::function<HttpResponse(std::string json)> to_response) {
  struct State {
    PassedCall call;
    std::function<HttpResponse(std::string)> to_response;
    grpc::ByteBuffer in = {}, out = {};
  };
  auto state = std::make_shared<State>(State{.call = std::move(call), .to_response = std::move(to_response)});
  state->out = ToBuffer(state->call.wire);
  // Not the state itself, which holds the reply.
  state->call.reply->WhenGone([weak = std::weak_ptr<State>(state)] {
    if (const std::shared_ptr<State> waiting = weak.lock()) waiting->call.context->TryCancel();
  });
  // gRPC's threads have calls to read: JSON is written elsewhere.
  state->call.stub.UnaryCall(
      state->call.context.get(), state->call.method.grpc_path, {}, &state->out, &state->in,
      [state](const grpc::Status& status) {
        state->call.reply->Run([state, status] {
          PassedCall& done = state->call;
          HttpResponse response;
          if (!status.ok()) {
            response = ErrorResponse(ToStatus(status, done));
          } else if (absl::StatusOr<std::string> json = done.api.ToJson(done.method, ToString(state->in));
                     json.ok()) {
            response = state->to_response(*std::move(json));
          } else {
            response = ErrorResponse(json.status());
          }
          AddMetadata(*done.context, &response);
          done.reply->Send(std::move(response));
        });
      });
}

void PassStream(PassedCall call) { std::make_shared<Stream>(std::move(call))->Start(); }

}  // namespace swiftlet
