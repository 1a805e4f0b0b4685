// What a connection of the HTTP listener is sent: by the real listener and gateway, over loopback, in front
// of a gRPC server without services (requests_fuzz has those). Input: the bytes of the connection.
#include <arpa/inet.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/call_origin.h"
#include "server/http/api_gateway.h"
#include "server/http/embedded.h"
#include "server/http/http_listener.h"
#include "tests/fuzz/fuzz_target.h"

namespace swiftlet::fuzz {
namespace {

constexpr int64_t kMaxBody = 2000;

std::string Post(std::string_view path, std::string_view body, std::string_view more = "") {
  return absl::StrCat("POST ", std::string(path),
                      " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n", std::string(more),
                      "Content-Length: ", body.size(), "\r\n\r\n", std::string(body));
}

// All that a server has of HTTP.
struct TestServer {
  TestServer() {
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&no_services);
    grpc_server = builder.BuildAndStart();
    FUZZ_CHECK(grpc_server != nullptr, "gRPC");
    absl::StatusOr<std::unique_ptr<ApiGateway>> made = ApiGateway::Create(
        {.channel = grpc_server->InProcessChannel({}), .origin = &origin, .local = true, .metrics = [] {
           return std::string("metrics");
         }});
    FUZZ_CHECK(made.ok(), made.status().ToString());
    gateway = *std::move(made);
    HttpListenerOptions options;
    options.address = "127.0.0.1:0";
    options.max_body_bytes = kMaxBody;
    options.on_response = [this](int, absl::Duration) { num_responses.fetch_add(1); };
    absl::StatusOr<std::unique_ptr<HttpListener>> started = HttpListener::Start(options, gateway.get());
    FUZZ_CHECK(started.ok(), started.status().ToString());
    listener = *std::move(started);
    absl::StatusOr<std::unique_ptr<const ApiMethods>> api_made =
        ApiMethods::Create(Embedded("api.descriptors"));
    FUZZ_CHECK(api_made.ok(), api_made.status().ToString());
    api = *std::move(api_made);
  }

  // What comes back until the server closes the connection.
  std::string Exchange(std::string_view bytes) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(listener->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    FUZZ_CHECK(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0, "connect");
    while (!bytes.empty()) {
      const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) break;  // answered and closed
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    shutdown(fd, SHUT_WR);
    std::string answer;
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;)
      answer.append(buffer, static_cast<size_t>(n));
    close(fd);
    return answer;
  }

  const CallOrigin origin;
  grpc::CallbackGenericService no_services;  // UNIMPLEMENTED
  std::unique_ptr<grpc::Server> grpc_server;
  std::unique_ptr<ApiGateway> gateway;
  std::unique_ptr<HttpListener> listener;
  std::unique_ptr<const ApiMethods> api;
  std::atomic<int> num_responses{0};
};

TestServer& Server() {
  static auto* const server = new TestServer;
  return *server;
}

// One answer after the other, each whole and as the API promises.
void CheckAnswers(std::string_view answers) {
  while (!answers.empty()) {
    FUZZ_CHECK(answers.substr(0, 9) == "HTTP/1.1 ", answers);
    const size_t end = answers.find("\r\n\r\n");
    FUZZ_CHECK(end != answers.npos, answers);
    const std::string_view head = answers.substr(0, end + 2);
    answers.remove_prefix(end + 4);
    int status = 0;
    FUZZ_CHECK(absl::SimpleAtoi(std::string(head.substr(9, 3)), &status), head);
    if (status == 100) continue;
    FUZZ_CHECK(status == 200 || status == 302 || (status >= 400 && status <= 505), head);
    constexpr std::string_view kLength = "\r\nContent-Length: ";
    const size_t at = head.find(kLength);
    FUZZ_CHECK(at != head.npos && head.find(kLength, at + 1) == head.npos, head);
    const std::string_view number = head.substr(at + kLength.size());
    size_t length = 0;
    FUZZ_CHECK(absl::SimpleAtoi(std::string(number.substr(0, number.find('\r'))), &length), head);
    // Of HEAD there is no body; the next answer tells.
    if (length > answers.size() || answers.substr(0, 9) == "HTTP/1.1 " || answers.empty()) {
      FUZZ_CHECK(answers.empty() || answers.substr(0, 9) == "HTTP/1.1 ", head);
      continue;
    }
    const std::string_view body = answers.substr(0, length);
    answers.remove_prefix(length);
    if (head.find("application/json") == head.npos) continue;
    const nlohmann::json parsed = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
    FUZZ_CHECK(parsed.is_object(), body);
    if (status < 400 || !parsed.contains("error")) continue;
    FUZZ_CHECK(parsed["error"]["code"] == status, body);
    const std::string message = parsed["error"]["message"].get<std::string>();
    const bool no_service = status == 501 && message.empty();  // gRPC's own answer
    FUZZ_CHECK(no_service || IsShortLine(message), body);
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string recommend = "/v1/RecommendationService/Recommend";
  const std::string chunks =
      "POST /v1/AdminService/GetStatus HTTP/1.1\r\nHost: x\r\ncontent-type: Application/JSON; "
      "charset=utf-8\r\n"
      "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;a=b\r\n}\r\n0\r\nTrailer: x\r\n\r\n";
  return {
      Post(recommend, "{\"userId\":\"u\",\"k\":10,\"filter\":{\"anyOfCategories\":[\"a\"]}}"),
      Post(recommend,
           "{\"history\":{\"events\":[{\"item_id\":\"i\",\"type\":\"click\",\"timestampMs\":\"1\"}]}}",
           "X-Timeout-Ms: 50\r\nAuthorization: Bearer x\r\nX-Request-Id: r\r\n"),
      Post("/v1/CatalogService/UpsertItems",
           "{\"items\":[{\"itemId\":\"\\u00fc\\ud83d\\ude00\",\"vector\":[1.5e3,-0.0,\"NaN\"],\"metadata\":"
           "{\"attributes\":{\"a\":\"b\"}}}]}",
           "grpc-timeout: 100m\r\nOrigin: http://x\r\n"),
      Post("/v1/UserService/ExportUser", "{\"userId\":\"u\"}", "Expect: 100-continue\r\n"),
      Post("/v1/EventService/LoadEvents", "{}"),
      Post(recommend, "{\"userId\": 7"),
      Post(recommend, "{\"nothing\": null}", "Content-Encoding: gzip\r\n"),
      Post(recommend, std::string(kMaxBody + 1, ' ')),
      chunks,
      "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\n\r\nHEAD /docs HTTP/1.1\r\n\r\n",
      "GET http://x/openapi.json?a=b#c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\n\r\n",
      "CONNECT x:80 HTTP/1.1\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      Post("/v1/AdminService/GetStatus", "{}", "X-Long: " + std::string(17000, 'x') + "\r\n"),
      Post("/v1/AdminService/GetStatus", "{}", "Transfer-Encoding: chunked\r\n"),
  };
}

}  // namespace swiftlet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;  // NOLINT(google-build-using-namespace): an extern "C" function
  fuzz::TestServer& server = fuzz::Server();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  fuzz::CheckAnswers(server.Exchange(input));
  // A body by itself, as every kind of message.
  const size_t body_at = input.find("\r\n\r\n");
  if (body_at == input.npos) return 0;
  const std::string_view body = input.substr(body_at + 4);
  for (const auto& [path, method] : server.api->methods()) {
    const absl::StatusOr<std::string> wire = server.api->ToWire(method, body);
    if (wire.ok()) continue;
    FUZZ_CHECK(absl::IsInvalidArgument(wire.status()), wire.status().ToString());
    FUZZ_CHECK(!wire.status().message().empty(), path);
  }
  return 0;
}
