#include "server/http/http_server.h"

#include <grpcpp/support/channel_arguments.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/security/listen_rule.h"

namespace swiftlet {

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const ServerOptions& options, grpc::Server* grpc_server, const CallOrigin* origin,
    const ServerSecurity* security, ServerMetrics* metrics, std::function<bool()> healthy) {
  std::unique_ptr<HttpServer> server(new HttpServer());
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // answers are as large as they are
  SWIFTLET_ASSIGN_OR_RETURN(server->gateway_,
                            ApiGateway::Create({.channel = grpc_server->InProcessChannel(arguments),
                                                .origin = origin,
                                                .call_timeout = options.http.call_timeout,
                                                .documented = options.security.reflection,
                                                .access = security->access(),
                                                .tls = !options.security.tls_certificate.empty(),
                                                .local = IsLocalAddress(options.http.listen_address),
                                                .healthy = std::move(healthy),
                                                .metrics = [metrics] { return metrics->Text(); }}));
  HttpListenerOptions listener;
  listener.address = options.http.listen_address;
  listener.num_threads = options.http.num_threads;
  listener.max_connections = options.http.max_connections;
  listener.max_body_bytes = options.max_message_bytes;
  listener.handshake_timeout = options.handshake_timeout;
  listener.request_timeout = options.http.request_timeout;
  listener.idle_timeout = options.http.idle_timeout;
  listener.certificates = security->certificates();
  listener.on_response = [metrics](int status, absl::Duration latency) {
    metrics->CountHttp(status, latency);
  };
  listener.on_timeout = [metrics] { metrics->CountHttpTimeout(); };
  absl::StatusOr<std::unique_ptr<HttpListener>> started =
      HttpListener::Start(std::move(listener), server->gateway_.get());
  if (!started.ok()) {
    return absl::UnavailableError(
        absl::StrCat("http.listen_address: ", std::string(started.status().message())));
  }
  server->listener_ = *std::move(started);
  return server;
}

}  // namespace swiftlet
