// GET /metrics for Prometheus, on a port of its own: no token and no TLS, but the limits of any HttpListener,
// so that connections which say nothing, or little by little, keep nobody from being watched. Its thread is
// its own: gauges that wait for a disk hold up scrapes alone.
#ifndef SWIFTLET_SERVER_HTTP_METRICS_PAGE_H_
#define SWIFTLET_SERVER_HTTP_METRICS_PAGE_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/http/http_listener.h"
#include "server/metrics.h"

namespace swiftlet {

// Thread-safe.
class MetricsPage final : public HttpHandler {
 public:
  // Listens on "host:port" (port 0: any). `metrics` outlives this. UNAVAILABLE, with the reason, when it
  // cannot.
  static absl::StatusOr<std::unique_ptr<MetricsPage>> Start(const std::string& address,
                                                            const ServerMetrics* metrics);

  int port() const { return listener_->port(); }

  std::optional<HttpResponse> CheckHead(const HttpRequest& head) override;
  bool WantsBody(const HttpRequest& /*head*/) override { return false; }
  void Handle(HttpRequest request, std::shared_ptr<HttpReply> reply) override;
  HttpResponse BadRequest(int status, std::string_view why) override;

 private:
  explicit MetricsPage(const ServerMetrics* metrics) : metrics_(metrics) {}

  const ServerMetrics* const metrics_;
  std::unique_ptr<HttpListener> listener_;  // last: it calls the rest
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_METRICS_PAGE_H_
