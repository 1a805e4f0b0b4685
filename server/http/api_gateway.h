// Answers HTTP: calls of the API, by passing them on to the gRPC server of this process, and a few pages.
//
//   POST /v1/SERVICE/METHOD       a call: a JSON object (Content-Type: application/json), and one back; of a
//                                 method with several answers (ExportUser) one object a line. Metadata:
//                                 Authorization, X-Timeout-Ms or grpc-timeout, and those of trace_context.h:
//                                 X-Request-Id, Traceparent, X-Server-Timing
//   GET  /healthz                 200 when recommendations are served, else 503
//   GET  /metrics                 for Prometheus, for who may call GetStatus
//   GET  /console                 a page to watch and operate the server; it calls the API
//   GET  /docs, /openapi.json     what the API looks like
//
// Who may call, and how much, is decided where gRPC's calls are: it is the same call. Of callers who may not,
// it is known before: neither their bodies are read nor their JSON.
#ifndef SWIFTLET_SERVER_HTTP_API_GATEWAY_H_
#define SWIFTLET_SERVER_HTTP_API_GATEWAY_H_

#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/call_origin.h"
#include "server/http/api_methods.h"
#include "server/http/http_message.h"
#include "server/security/access_control.h"

namespace swiftlet {

struct ApiGatewayOptions {
  std::shared_ptr<grpc::Channel> channel;  // to the services
  const CallOrigin* origin = nullptr;      // outlives the gateway
  absl::Duration call_timeout = absl::Seconds(60);
  bool documented = true;           // /docs and /openapi.json
  AccessControl* access = nullptr;  // outlives the gateway; null: everybody may call
  bool tls = false;
  bool local = false;  // only this machine reaches the address
  std::function<bool()> healthy = [] { return true; };
  std::function<std::string()> metrics = [] { return std::string(); };
};

// Thread-safe.
class ApiGateway final : public HttpHandler {
 public:
  static absl::StatusOr<std::unique_ptr<ApiGateway>> Create(ApiGatewayOptions options);

  std::optional<HttpResponse> CheckHead(const HttpRequest& head) override;
  bool WantsBody(const HttpRequest& head) override;
  void Handle(HttpRequest request, std::shared_ptr<HttpReply> reply) override;
  HttpResponse BadRequest(int status, std::string_view why) override;

 private:
  ApiGateway(ApiGatewayOptions options, std::unique_ptr<const ApiMethods> api);
  // The answer to a page of another site that a browser shows, and that means to call this one.
  std::optional<HttpResponse> CheckOrigin(const HttpRequest& head) const;
  std::optional<HttpResponse> Page(std::string_view path) const;
  bool asks_for_tokens() const { return options_.access != nullptr && options_.access->asks_for_tokens(); }

  const ApiGatewayOptions options_;
  const std::unique_ptr<const ApiMethods> api_;
  const std::string openapi_;
  grpc::GenericStub stub_;
};

// "250" of X-Timeout-Ms, or "100m" of grpc-timeout (gRPC over HTTP2, section Requests); at most a day.
// INVALID_ARGUMENT for anything else, `fallback` when neither is there.
absl::StatusOr<absl::Duration> CallTimeout(const HttpRequest& request, absl::Duration fallback);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_API_GATEWAY_H_
