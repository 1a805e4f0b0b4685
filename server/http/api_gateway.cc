#include "server/http/api_gateway.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "server/http/embedded.h"
#include "server/http/error_body.h"
#include "server/http/openapi.h"
#include "server/http/passed_call.h"
#include "server/method.h"
#include "server/metrics.h"
#include "server/security/listen_rule.h"
#include "server/trace_context.h"
#include "server/version.h"

namespace swiftlet {
namespace {

constexpr char kStatusPath[] = "/v1/AdminService/GetStatus";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

struct PageFile {
  const char *path, *file, *content_type;
};
constexpr PageFile kPages[] = {
    {"/console", "console.html", "text/html; charset=utf-8"},
    {"/console.js", "console.js", "text/javascript; charset=utf-8"},
    {"/console.css", "console.css", "text/css; charset=utf-8"},
    {"/docs", "docs.html", "text/html; charset=utf-8"},
    {"/docs.js", "docs.js", "text/javascript; charset=utf-8"},
};

// Nothing from elsewhere, nothing inline, in nobody's frame.
constexpr char kContentPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

HttpResponse MakeResponse(std::string content_type, std::string body, const char* caching) {
  HttpResponse response;
  response.content_type = std::move(content_type);
  response.headers = {{"Cache-Control", caching}, {"X-Content-Type-Options", "nosniff"}};
  response.body = std::move(body);
  return response;
}

HttpResponse WrongMethod(const char* allowed, std::string_view method) {
  HttpResponse response =
      ErrorResponse(405, absl::StatusCode::kUnimplemented,
                    absl::StrCat("the method is ", allowed, " here, not ", Quoted(method)));
  response.headers.emplace_back("Allow", allowed);
  return response;
}

// "application/json", with parameters or not: not what a form of another site's page can send.
bool IsJson(std::string_view content_type) {
  std::string_view type = content_type.substr(0, content_type.find(';'));
  type = type.substr(0, type.find_last_not_of(" \t") + 1);
  return absl::EqualsIgnoreCase(View(type), "application/json");
}

// What metadata may hold.
bool IsPrintable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

absl::StatusOr<absl::Duration> CallTimeout(const HttpRequest& request, absl::Duration fallback) {
  constexpr absl::Duration kMost = absl::Hours(24);
  const std::string_view ms = request.Header("x-timeout-ms"), grpc = request.Header("grpc-timeout");
  int64_t number = 0;
  const auto is_number = [&](std::string_view text) {
    return !text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == text.npos &&
           absl::SimpleAtoi(View(text), &number) && number > 0;
  };
  if (!ms.empty()) {
    if (!is_number(ms)) {
      return absl::InvalidArgumentError(
          absl::StrCat("X-Timeout-Ms: ", Quoted(ms), " is not a positive number of milliseconds"));
    }
    return std::min(kMost, absl::Milliseconds(number));
  }
  if (grpc.empty()) return std::min(kMost, fallback);
  constexpr std::string_view kUnits = "HMSmun";
  const absl::Duration units[] = {absl::Hours(1),        absl::Minutes(1),      absl::Seconds(1),
                                  absl::Milliseconds(1), absl::Microseconds(1), absl::Nanoseconds(1)};
  const size_t unit = kUnits.find(grpc.back());
  if (unit == kUnits.npos || grpc.size() > 9 || !is_number(grpc.substr(0, grpc.size() - 1))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "grpc-timeout: ", Quoted(grpc), " is not a number of up to 8 digits and one of H, M, S, m, u, n"));
  }
  return std::min(kMost, number * units[unit]);
}

absl::StatusOr<std::unique_ptr<ApiGateway>> ApiGateway::Create(ApiGatewayOptions options) {
  SWIFTLET_ASSIGN_OR_RETURN(std::unique_ptr<const ApiMethods> api,
                            ApiMethods::Create(Embedded("api.descriptors")));
  return std::unique_ptr<ApiGateway>(new ApiGateway(std::move(options), std::move(api)));
}

ApiGateway::ApiGateway(ApiGatewayOptions options, std::unique_ptr<const ApiMethods> api)
    : options_(std::move(options)),
      api_(std::move(api)),
      openapi_(options_.documented ? OpenApiDocument(*api_, kServerVersion, asks_for_tokens())
                                   : std::string()),
      stub_(options_.channel) {}

HttpResponse ApiGateway::BadRequest(int status, std::string_view why) {
  return ErrorResponse(status,
                       status >= 500 ? absl::StatusCode::kInternal : absl::StatusCode::kInvalidArgument, why);
}

std::optional<HttpResponse> ApiGateway::CheckOrigin(const HttpRequest& head) const {
  const bool from_browser = std::any_of(head.headers.begin(), head.headers.end(),
                                        [](const auto& h) { return h.first == "origin"; });
  const std::string_view origin = head.Header("origin"), host = head.Header("host");
  if (from_browser && (host.empty() || (origin != absl::StrCat("http://", View(host)) &&
                                        origin != absl::StrCat("https://", View(host))))) {
    return ErrorResponse(403, absl::StatusCode::kPermissionDenied,
                         absl::StrCat("a page of ", Quoted(origin), " may not call this server"));
  }
  // A page whose own name was made to mean this machine has the right origin, by a wrong name.
  const bool with_port = host.find(':', host.rfind(']') == host.npos ? 0 : host.rfind(']')) != host.npos;
  const std::string address = with_port ? std::string(host) : absl::StrCat(View(host), ":80");
  if (asks_for_tokens() || host.empty() || IsLocalAddress(address)) return std::nullopt;
  // Browsers do not say where a page is from that reads /metrics of its own server.
  if (options_.local && (from_browser || head.path() == "/metrics")) {
    return ErrorResponse(421, absl::StatusCode::kPermissionDenied,
                         absl::StrCat("this server is not ", Quoted(host), ": it only serves this machine"));
  }
  // Elsewhere, too, as behind the published port of a container, unless a certificate says whose the name is.
  if (!options_.local && from_browser && !options_.tls && !IsIpAddress(address)) {
    return ErrorResponse(421, absl::StatusCode::kPermissionDenied,
                         absl::StrCat("pages of ", Quoted(host),
                                      " may not call a server without tokens and TLS"
                                      ": open them by its IP address"));
  }
  return std::nullopt;
}

std::optional<HttpResponse> ApiGateway::Page(std::string_view path) const {
  if (path == "/") {
    HttpResponse response = MakeResponse("text/plain; charset=utf-8", "/console\n", "no-cache");
    response.status = 302;
    response.headers.emplace_back("Location", "/console");
    return response;
  }
  if (path == "/healthz") {
    const bool healthy = options_.healthy();
    HttpResponse response =
        MakeResponse("application/json",
                     healthy ? "{\"status\":\"SERVING\"}\n" : "{\"status\":\"NOT_SERVING\"}\n", "no-store");
    if (!healthy) response.status = 503;
    return response;
  }
  if (path == "/openapi.json" && options_.documented) {
    return MakeResponse("application/json", openapi_, "no-cache");
  }
  for (const PageFile& page : kPages) {
    if (path != page.path || (absl::StartsWith(page.path, "/docs") && !options_.documented)) continue;
    HttpResponse response = MakeResponse(page.content_type, std::string(Embedded(page.file)), "no-cache");
    response.headers.emplace_back("Content-Security-Policy", kContentPolicy);
    response.headers.emplace_back("Referrer-Policy", "no-referrer");
    return response;
  }
  return std::nullopt;
}

std::optional<HttpResponse> ApiGateway::CheckHead(const HttpRequest& head) {
  if (std::optional<HttpResponse> refused = CheckOrigin(head); refused.has_value()) return refused;
  const std::string_view path = head.path();
  const bool reads = head.method == "GET" || head.method == "HEAD";
  if (const ApiMethod* method = api_->Find(path); method != nullptr) {
    if (!method->offered()) {
      return ErrorResponse(
          501, absl::StatusCode::kUnimplemented,
          absl::StrCat(method->descriptor->name(), " takes a stream of requests: over gRPC only"));
    }
    if (head.method != "POST") return WrongMethod("POST", head.method);
    if (!IsJson(head.Header("content-type"))) {
      return ErrorResponse(415, absl::StatusCode::kInvalidArgument,
                           "the request is JSON: send the header Content-Type: application/json");
    }
    if (const std::string_view coding = head.Header("content-encoding");
        !coding.empty() && !absl::EqualsIgnoreCase(View(coding), "identity")) {
      return ErrorResponse(415, absl::StatusCode::kInvalidArgument,
                           absl::StrCat("Content-Encoding: ", Quoted(coding), " is not taken"));
    }
    return std::nullopt;
  }
  if (path == "/metrics") return reads ? std::nullopt : std::optional(WrongMethod("GET, HEAD", head.method));
  std::optional<HttpResponse> page = Page(path);
  if (page.has_value() && !reads) return WrongMethod("GET, HEAD", head.method);
  if (page.has_value()) return page;
  return ErrorResponse(404, absl::StatusCode::kNotFound,
                       absl::StrCat(Quoted(path), " is nothing here: calls are at /v1/SERVICE/METHOD",
                                    options_.documented ? ", and /docs lists them" : ""));
}

bool ApiGateway::WantsBody(const HttpRequest& head) {
  if (!asks_for_tokens()) return true;
  const ApiMethod* const method = api_->Find(head.path());
  const std::optional<Method> known =
      method == nullptr ? std::nullopt : MethodByName(method->descriptor->name());
  return !known.has_value() ||
         options_.access->Check(*known, head.Header("authorization")).denial == AccessDenial::kNone;
}

void ApiGateway::Handle(HttpRequest request, std::shared_ptr<HttpReply> reply) {
  const bool metrics = request.path() == "/metrics";
  const ApiMethod* const method = api_->Find(metrics ? kStatusPath : request.path());
  auto context = std::make_unique<grpc::ClientContext>();
  const absl::StatusOr<absl::Duration> timeout = CallTimeout(request, options_.call_timeout);
  if (!timeout.ok()) return reply->Send(ErrorResponse(timeout.status()));
  context->set_deadline(absl::ToChronoTime(absl::Now() + *timeout));
  for (const auto& [name, value] : request.headers) {
    if (name != "authorization" && name != kRequestIdHeader && name != kTraceParentHeader &&
        name != kServerTimingRequestHeader) {
      continue;
    }
    if (!IsPrintable(value)) {
      return reply->Send(
          ErrorResponse(absl::InvalidArgumentError(absl::StrCat(name, ": holds more than printable ASCII"))));
    }
    context->AddMetadata(name, value);
  }
  options_.origin->Tell(request.peer, request.certificate, context.get());
  // Without its body the call is refused, counted and audited as any other: but for a token that came into
  // force since.
  absl::StatusOr<std::string> wire =
      !request.body_read ? absl::UnavailableError("the tokens have just changed: send it again")
                         : (metrics ? std::string() : api_->ToWire(*method, request.body));
  request.body = std::string();
  PassedCall call = {.api = *api_,
                     .method = *method,
                     .stub = stub_,
                     .context = std::move(context),
                     .wire = wire.ok() ? *std::move(wire) : std::string(kNoMessage),
                     .bad_request = wire.ok() ? absl::OkStatus() : wire.status(),
                     .reply = std::move(reply)};
  if (method->descriptor->server_streaming()) return PassStream(std::move(call));
  PassUnary(std::move(call), [this, metrics](std::string json) {
    if (metrics) return MakeResponse(ServerMetrics::kTextType, options_.metrics(), "no-store");
    return MakeResponse("application/json", std::move(json) + "\n", "no-store");
  });
}

}  // namespace swiftlet
