#include "server/http/metrics_page.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace swiftlet {
namespace {

// A scrape takes milliseconds, and comes from a few machines every few seconds. Few enough for the
// descriptors that are left where all others are taken: then most of all somebody should be able to look.
constexpr int64_t kMaxConnections = 32;
constexpr int64_t kMaxBodyBytes = 4096;                       // nobody sends one
constexpr absl::Duration kRequestTimeout = absl::Seconds(3);  // and to take an answer

HttpResponse Plain(int status, std::string_view text) {
  return {.status = status,
          .content_type = "text/plain; charset=utf-8",
          .headers = {},
          .body = absl::StrCat(absl::string_view(text.data(), text.size()), "\n")};
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsPage>> MetricsPage::Start(const std::string& address,
                                                                const ServerMetrics* metrics) {
  std::unique_ptr<MetricsPage> page(new MetricsPage(metrics));
  HttpListenerOptions options;
  options.address = address;
  options.num_threads = 1;
  options.max_connections = kMaxConnections;
  options.counts = false;
  options.max_body_bytes = kMaxBodyBytes;
  options.request_timeout = kRequestTimeout;
  absl::StatusOr<std::unique_ptr<HttpListener>> started = HttpListener::Start(std::move(options), page.get());
  if (!started.ok()) {
    return absl::UnavailableError(absl::StrCat("metrics_address: ", std::string(started.status().message())));
  }
  page->listener_ = *std::move(started);
  return page;
}

std::optional<HttpResponse> MetricsPage::CheckHead(const HttpRequest& head) {
  if (head.path() != "/metrics") return Plain(404, "there is only /metrics");
  if (head.method != "GET" && head.method != "HEAD") {
    HttpResponse wrong = Plain(405, "/metrics takes GET and HEAD");
    wrong.headers.emplace_back("Allow", "GET, HEAD");
    return wrong;
  }
  return std::nullopt;
}

void MetricsPage::Handle(HttpRequest /*request*/, std::shared_ptr<HttpReply> reply) {
  reply->Send({.status = 200,
               .content_type = ServerMetrics::kTextType,
               .headers = {{"Cache-Control", "no-store"}},
               .body = metrics_->Text()});
}

HttpResponse MetricsPage::BadRequest(int status, std::string_view why) { return Plain(status, why); }

}  // namespace swiftlet
