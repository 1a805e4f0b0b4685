// What is between the connections of HTTP and who answers: requests, answers, and the two interfaces.
#ifndef SWIFTLET_SERVER_HTTP_HTTP_MESSAGE_H_
#define SWIFTLET_SERVER_HTTP_HTTP_MESSAGE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace swiftlet {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;   // as sent: "POST"
  std::string target;   // path, and query if any, as sent
  HttpHeaders headers;  // names in lower case, in the order in which they were sent
  std::string body;
  bool body_read = true;    // else it was not wanted, and `body` is empty
  std::string peer;         // as gRPC names it: "ipv4:10.0.0.7:4711"
  std::string certificate;  // the common name of the client's; empty without one

  std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
  // The value of a header; empty when it is not there, or there more than once: which one counts?
  std::string_view Header(std::string_view name) const {
    std::string_view value;
    int found = 0;
    for (const auto& [header, text] : headers) {
      if (header != name) continue;
      value = text;
      ++found;
    }
    return found == 1 ? value : std::string_view();
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers;  // besides Content-Type, Content-Length, Date and Connection; values without line ends
  std::string body;
};

// The way back to one request's connection: Send, or Begin with any number of Write and End. Thread-safe; the
// calls keep their order. Dropped without an answer, the caller gets status 500.
class HttpReply {
 public:
  virtual ~HttpReply() = default;
  virtual void Send(HttpResponse response) = 0;
  // The head of an answer whose body comes in parts; head.body is its first part.
  virtual void Begin(HttpResponse head) = 0;
  // sent: called once, on a thread for HTTP, with whether the part has left; false: the connection is gone.
  virtual void Write(std::string part, std::function<void(bool)> sent) = 0;
  // complete: the parts were all of it; false: the connection is closed so that the caller sees that they
  // were not.
  virtual void End(bool complete) = 0;
  // gone: called on a thread for HTTP, at most once, when the client has closed its side of the connection,
  // or the listener has cut it off, while there is no answer: within a second. Before the answer, and without
  // the reply in it.
  virtual void WhenGone(std::function<void()> gone) = 0;
  // Runs it on a thread for HTTP.
  virtual void Run(std::function<void()> work) = 0;
};

// Thread-safe. Called on threads for HTTP, so it must not block.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // A look at a request whose body has not been read: an answer, which makes an end of it, or nothing.
  virtual std::optional<HttpResponse> CheckHead(const HttpRequest& head) = 0;
  // Whether Handle needs the body of such a request. Else the connection ends with the answer if there is
  // one.
  virtual bool WantsBody(const HttpRequest& head) = 0;
  // Answers now or later.
  virtual void Handle(HttpRequest request, std::shared_ptr<HttpReply> reply) = 0;
  // The answer to what is no proper request: too large, or not HTTP.
  virtual HttpResponse BadRequest(int status, std::string_view why) = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_HTTP_MESSAGE_H_
