// The API over HTTP, in front of the gRPC server of this process: listener, gateway, and the channel between.
#ifndef SWIFTLET_SERVER_HTTP_HTTP_SERVER_H_
#define SWIFTLET_SERVER_HTTP_HTTP_SERVER_H_

#include <grpcpp/server.h>

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/call_origin.h"
#include "server/config.h"
#include "server/http/api_gateway.h"
#include "server/http/http_listener.h"
#include "server/metrics.h"
#include "server/security/server_security.h"

namespace swiftlet {

// Thread-safe.
class HttpServer {
 public:
  // Listens on options.http.listen_address. What the pointers name outlives this. UNAVAILABLE when it cannot.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const ServerOptions& options, grpc::Server* grpc_server, const CallOrigin* origin,
      const ServerSecurity* security, ServerMetrics* metrics, std::function<bool()> healthy);

  const HttpListener& listener() const { return *listener_; }
  // Takes no more requests but for those that are on their way.
  void StopAccepting() { listener_->StopAccepting(); }
  // Waits so long for answers, then cuts connections off. Before the gRPC server shuts down, which would cut
  // off the calls of its process.
  void Shutdown(absl::Duration timeout) { listener_->Shutdown(timeout); }

 private:
  HttpServer() = default;

  std::unique_ptr<ApiGateway> gateway_;
  std::unique_ptr<HttpListener> listener_;  // last: it calls the gateway
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_HTTP_SERVER_H_
