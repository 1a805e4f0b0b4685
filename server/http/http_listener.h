// HTTP/1.1 on one address, with or without TLS, by Boost.Beast: a few threads for any number of connections.
//
//   SWIFTLET_ASSIGN_OR_RETURN(auto listener, HttpListener::Start(options, &handler));
//   ...
//   listener->StopAccepting();                   // calls in progress are answered
//   listener->Shutdown(absl::Seconds(1));
#ifndef SWIFTLET_SERVER_HTTP_HTTP_LISTENER_H_
#define SWIFTLET_SERVER_HTTP_HTTP_LISTENER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/http/http_message.h"
#include "server/security/tls_credentials.h"

namespace swiftlet {

struct HttpListenerOptions {
  std::string address;  // "host:port", port 0: any free one
  int num_threads = 2;
  int64_t max_connections = 1024;
  bool counts = true;  // its connections, for the limit of the process (security/accept_limit.h)
  int64_t max_body_bytes = int64_t{4} << 20;
  absl::Duration handshake_timeout = absl::Seconds(20);
  absl::Duration request_timeout = absl::Seconds(20);   // to read a request, and to write an answer or a part
  absl::Duration idle_timeout = absl::Seconds(60);      // between requests
  std::shared_ptr<const TlsCertificates> certificates;  // null: without TLS
  // Observers; called on the listener's threads.
  std::function<void(int status, absl::Duration latency)> on_response = [](int, absl::Duration) {};
  std::function<void()> on_timeout = [] {};
};

// Thread-safe.
class HttpListener {
 public:
  // Of a request: its line and headers.
  static constexpr uint32_t kMaxHeaderBytes = 16 << 10;

  // UNAVAILABLE, with the reason, when it cannot listen. `handler` must outlive this.
  static absl::StatusOr<std::unique_ptr<HttpListener>> Start(HttpListenerOptions options,
                                                             HttpHandler* handler);
  // Shutdown(0) if that has not been done.
  ~HttpListener();

  int port() const;
  int64_t num_connections() const;
  // Connections that were closed because there were max_connections: the one that has waited longest for a
  // request, for a second or more, and where there is none, the new one.
  uint64_t num_refused() const;

  // Closes connections that wait for a request, and each of the others after the answer that it waits for.
  void StopAccepting();
  // Waits so long for connections to end, a second for those that have not sent a whole request, then
  // cuts off what is left. Nothing of this calls anybody afterwards; replies that are still held do nothing.
  void Shutdown(absl::Duration timeout);

 private:
  struct Impl;
  explicit HttpListener(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_HTTP_LISTENER_H_
