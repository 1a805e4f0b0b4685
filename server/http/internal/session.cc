#include "server/http/internal/session.h"

#include <poll.h>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>
#include <deque>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace swiftlet::http_internal {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

// How long, and how much, is read of what a client goes on sending after its connection's last answer: closed
// at once, the system would throw the answer away with what is unread.
constexpr std::chrono::seconds kLinger(2);
constexpr size_t kLingerBytes = size_t{32} << 20;

// How often it is looked whether a client still waits for an answer.
constexpr std::chrono::milliseconds kLookForClient(250);

// So long a client may take to send a request even where others wait for a connection.
constexpr std::chrono::seconds kMoment(1);

int64_t SteadyNs() { return Clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

std::string PeerName(const asio::ip::tcp::socket& socket) {
  error_code error;
  const asio::ip::tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return "unknown";
  const asio::ip::address address = peer.address();
  if (address.is_v4()) return absl::StrCat("ipv4:", address.to_string(), ":", peer.port());
  const asio::ip::address_v6 v6 = address.to_v6();
  if (v6.is_v4_mapped()) {
    return absl::StrCat("ipv4:", asio::ip::make_address_v4(asio::ip::v4_mapped, v6).to_string(), ":",
                        peer.port());
  }
  return absl::StrCat("ipv6:[", address.to_string(), "]:", peer.port());
}

template <typename Stream>
constexpr bool kHasTls = !std::is_same_v<Stream, beast::tcp_stream>;

std::string CommonName(SSL* ssl) {
  X509* const certificate = SSL_get1_peer_certificate(ssl);
  if (certificate == nullptr) return "";
  char name[256];
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                             static_cast<int>(sizeof(name)));
  X509_free(certificate);
  return size <= 0 ? "" : std::string(name, static_cast<size_t>(size));
}

// Everything runs on the strand of the stream, but for what says otherwise.
template <typename Stream>
class StreamSession final : public Session, public std::enable_shared_from_this<StreamSession<Stream>> {
 public:
  template <typename... Args>
  StreamSession(std::shared_ptr<Sessions> sessions, std::shared_ptr<asio::ssl::context> tls, Args&&... args)
      : sessions_(std::move(sessions)),
        tls_(std::move(tls)),
        stream_(std::forward<Args>(args)...),
        watch_(stream_.get_executor()) {
    sessions_->num_open.fetch_add(1);
  }
  ~StreamSession() override {
    MutexLock lock(sessions_->mu);
    sessions_->open.erase(this);
    sessions_->num_open.fetch_sub(1);
    sessions_->all_closed.NotifyAll();
  }

  void Register() {
    MutexLock lock(sessions_->mu);
    sessions_->open.emplace(this, this->weak_from_this());
  }

  // Any thread.
  void Start() override {
    Post([](StreamSession& self) { self.Handshake(); });
  }
  void CloseIfIdle() override {
    Post([](StreamSession& self) {
      if (self.idle_) self.Close();
    });
  }
  void Abort() override {
    Post([](StreamSession& self) { self.Close(); });
  }
  void GiveUp() override {
    Post([](StreamSession& self) {
      if (self.waits_for_request_) self.Close();
    });
  }
  template <typename Work>
  void Post(Work work) {
    if (sessions_->stopped.load()) return;
    asio::post(stream_.get_executor(),
               [self = this->shared_from_this(), work = std::move(work)]() mutable { work(*self); });
  }

  // Bytes to send, after those from before. done: may be empty.
  void Enqueue(std::string bytes, std::function<void(bool)> done, bool last) {
    if (last) StopWatching();
    if (closed_) {
      if (done) done(false);
      return;
    }
    out_.push_back({std::move(bytes), std::move(done), last});
    if (out_.size() == 1) WriteFront();
  }

  // The head of an answer. body_bytes: nothing when it comes in parts.
  std::string Head(const HttpResponse& response, std::optional<size_t> body_bytes) {
    const bool chunked = !body_bytes.has_value() && version_ >= 11;
    if (!body_bytes.has_value() && !chunked) keep_alive_ = false;
    if (sessions_->draining.load()) keep_alive_ = false;
    const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
    std::string head = absl::StrCat(
        "HTTP/1.1 ", response.status, " ",
        response.status == 499 ? absl::string_view("Client Closed Request")
                               : absl::string_view(reason.data(), reason.size()),
        "\r\nDate: ", absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()),
        "\r\nContent-Type: ", response.content_type, "\r\n");
    for (const auto& [name, value] : response.headers) absl::StrAppend(&head, name, ": ", value, "\r\n");
    if (body_bytes.has_value()) absl::StrAppend(&head, "Content-Length: ", *body_bytes, "\r\n");
    if (chunked) absl::StrAppend(&head, "Transfer-Encoding: chunked\r\n");
    absl::StrAppend(&head, "Connection: ", keep_alive_ ? "keep-alive" : "close", "\r\n\r\n");
    sessions_->options.on_response(response.status, absl::FromChrono(Clock::now() - began_));
    return head;
  }

  void Send(HttpResponse response) {
    if (waits_for_request_) SetWaitsForRequest(false);  // no more of it is wanted
    std::string bytes = Head(response, response.body.size());
    if (!head_only_) bytes += response.body;
    Enqueue(std::move(bytes), nullptr, /*last=*/true);
  }

  void Begin(const HttpResponse& head) {
    Enqueue(Head(head, std::nullopt) + (head.body.empty() ? "" : Chunk(head.body)), nullptr, /*last=*/false);
  }
  void Write(std::string part, std::function<void(bool)> sent) {
    if (part.empty()) {  // an empty chunk would end the body
      if (sent) sent(!closed_);
      return;
    }
    Enqueue(Chunk(part), std::move(sent), /*last=*/false);
  }
  void End(bool complete) {
    if (!complete) {
      keep_alive_ = false;
      return Enqueue("", nullptr, /*last=*/true);
    }
    Enqueue(version_ >= 11 ? "0\r\n\r\n" : "", nullptr, /*last=*/true);
  }

  void WhenGone(std::function<void()> gone) {
    if (closed_) return gone();
    gone_ = std::move(gone);
    Watch();
  }

 private:
  class Reply;
  struct Output {
    std::string bytes;
    std::function<void(bool)> done;
    bool last;
  };

  std::string Chunk(const std::string& part) const {
    return version_ >= 11 ? absl::StrCat(absl::Hex(part.size()), "\r\n", part, "\r\n") : part;
  }

  beast::tcp_stream& lowest() { return beast::get_lowest_layer(stream_); }
  void ExpireAfter(absl::Duration duration) { lowest().expires_after(absl::ToChronoNanoseconds(duration)); }
  // For the next step: only if nothing failed and nobody closed the connection.
  template <typename Next>
  auto Then(Next next) {
    return [self = this->shared_from_this(), next](error_code error, auto... results) {
      if (error == beast::error::timeout) self->sessions_->options.on_timeout();
      if (!self->closed_) next(*self, error, results...);
    };
  }

  void SetWaitsForRequest(bool waits) {
    waits_for_request_ = waits;
    waits_since_ns.store(waits ? SteadyNs() : 0, std::memory_order_relaxed);
  }

  void Handshake() {
    SetWaitsForRequest(true);
    peer_ = PeerName(lowest().socket());
    if constexpr (kHasTls<Stream>) {
      ExpireAfter(sessions_->options.handshake_timeout);
      stream_.async_handshake(asio::ssl::stream_base::server, Then([](StreamSession& self, error_code error) {
                                if (error) return self.Close();
                                self.certificate_ = CommonName(self.stream_.native_handle());
                                self.WaitForRequest();
                              }));
    } else {
      WaitForRequest();
    }
  }

  void WaitForRequest() {
    if (!waits_for_request_) SetWaitsForRequest(true);
    parser_.emplace();
    parser_->body_limit(static_cast<uint64_t>(sessions_->options.max_body_bytes));
    parser_->header_limit(HttpListener::kMaxHeaderBytes);
    if (buffer_.size() > 0) return ReadHead();  // sent ahead
    if (sessions_->draining.load()) return Close();
    idle_ = true;
    lowest().expires_after(absl::ToChronoNanoseconds(sessions_->options.idle_timeout));
    stream_.async_read_some(buffer_.prepare(4096),
                            [self = this->shared_from_this()](error_code error, size_t bytes) {
                              self->idle_ = false;
                              if (self->closed_) return;
                              if (error) return self->Close();
                              self->buffer_.commit(bytes);
                              self->ReadHead();
                            });
  }

  void ReadHead() {
    began_ = Clock::now();
    ExpireAfter(sessions_->options.request_timeout);
    http::async_read_header(stream_, buffer_, *parser_,
                            Then([](StreamSession& self, error_code error, size_t) {
                              if (error) return self.Fail(error);
                              self.TakeHead();
                            }));
  }

  void TakeHead() {
    auto& message = parser_->get();
    version_ = message.version();
    keep_alive_ = message.keep_alive();
    request_ = HttpRequest();
    request_.method.assign(message.method_string().data(), message.method_string().size());
    request_.target.assign(message.target().data(), message.target().size());
    for (const auto& field : message) {
      request_.headers.emplace_back(
          absl::AsciiStrToLower(View({field.name_string().data(), field.name_string().size()})),
          std::string(field.value().data(), field.value().size()));
    }
    request_.peer = peer_;
    request_.certificate = certificate_;
    // Where a body ends must not be a matter of opinion: RFC 9112, section 6.3.
    if (const std::string_view coding = request_.Header("transfer-encoding");
        message.find(http::field::transfer_encoding) != message.end() &&
        (version_ < 11 || !absl::EqualsIgnoreCase(View(coding), "chunked"))) {
      unread_body_ = true, keep_alive_ = false;
      return Send(sessions_->handler->BadRequest(
          400, "Transfer-Encoding: only \"chunked\" is taken, not in version 1.0"));
    }
    head_only_ = request_.method == "HEAD";
    if (std::optional<HttpResponse> answer = sessions_->handler->CheckHead(request_); answer.has_value()) {
      if (!parser_->is_done()) unread_body_ = true, keep_alive_ = false;
      return Send(*std::move(answer));
    }
    if (!parser_->is_done() && !sessions_->handler->WantsBody(request_)) {
      unread_body_ = true, keep_alive_ = false;
      request_.body_read = false;
      return Handle();
    }
    if (parser_->is_done() || request_.Header("expect") != "100-continue") return ReadBody();
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(kContinue.data(), kContinue.size()),
                      Then([](StreamSession& self, error_code error, size_t) {
                        if (error) return self.Close();
                        self.ReadBody();
                      }));
  }

  void ReadBody() {
    http::async_read(stream_, buffer_, *parser_, Then([](StreamSession& self, error_code error, size_t) {
                       if (error) return self.Fail(error);
                       self.request_.body = std::move(self.parser_->get().body());
                       self.Handle();
                     }));
  }

  void Handle() {
    SetWaitsForRequest(false);
    lowest().expires_never();
    sessions_->handler->Handle(std::move(request_), std::make_shared<Reply>(this->shared_from_this()));
  }

  // What could not be read as a request.
  void Fail(error_code error) {
    if (error.category() != http::make_error_code(http::error::bad_method).category() ||
        error == http::error::end_of_stream || error == http::error::partial_message) {
      return Close();  // the client is gone, or too slow
    }
    unread_body_ = true;
    keep_alive_ = false;
    int status = 400;
    std::string why = "this is not HTTP/1.1: " + error.message();
    if (error == http::error::body_limit) {
      status = 413;
      why = absl::StrCat("the body is larger than ", sessions_->options.max_body_bytes,
                         " bytes (limits.max_message_bytes)");
    } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      status = 431;
      why = absl::StrCat("the headers are larger than ", HttpListener::kMaxHeaderBytes, " bytes");
    } else if (error == http::error::bad_version) {
      status = 505;
    }
    Send(sessions_->handler->BadRequest(status, why));
  }

  void WriteFront() {
    ExpireAfter(sessions_->options.request_timeout);
    asio::async_write(stream_, asio::buffer(out_.front().bytes),
                      [self = this->shared_from_this()](error_code error, size_t) {
                        if (error == beast::error::timeout) self->sessions_->options.on_timeout();
                        if (self->closed_) return;
                        if (error) return self->Close();
                        Output done = std::move(self->out_.front());
                        self->out_.pop_front();
                        self->lowest().expires_never();
                        if (done.done) done.done(true);
                        if (!self->out_.empty()) return self->WriteFront();
                        if (done.last) self->keep_alive_ ? self->WaitForRequest() : self->CloseGently();
                      });
  }

  // After the last answer.
  void CloseGently() {
    if constexpr (kHasTls<Stream>) {
      if (!unread_body_) {
        lowest().expires_after(kLinger);
        return stream_.async_shutdown([self = this->shared_from_this()](error_code) { self->Close(); });
      }
    }
    error_code ignored;
    lowest().socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    lowest().expires_after(kLinger);
    num_lingered_ = 0;
    Linger();
  }
  void Linger() {
    buffer_.clear();
    lowest().async_read_some(buffer_.prepare(size_t{16} << 10),
                             [self = this->shared_from_this()](error_code error, size_t bytes) {
                               self->num_lingered_ += bytes;
                               if (error || self->num_lingered_ > kLingerBytes) return self->Close();
                               self->Linger();
                             });
  }

  // A read would take what the client has sent ahead, and with TLS finds no end before all of that.
  void Watch() {
    watch_.expires_after(kLookForClient);
    watch_.async_wait([self = this->shared_from_this()](error_code error) {
      if (error || self->gone_ == nullptr) return;
      pollfd client = {.fd = self->lowest().socket().native_handle(), .events = POLLRDHUP, .revents = 0};
      if (poll(&client, 1, 0) <= 0) return self->Watch();
      std::exchange(self->gone_, nullptr)();
    });
  }
  void StopWatching() {
    gone_ = nullptr;
    watch_.cancel();
  }

  void Close() {
    if (closed_) return;
    closed_ = true;
    error_code ignored;
    const std::function<void()> gone = std::exchange(gone_, nullptr);
    StopWatching();
    lowest().socket().close(ignored);
    lowest().cancel();
    // The bytes of a write that is being cancelled stay until its handler has run.
    for (Output& output : out_) {
      if (const std::function<void(bool)> done = std::exchange(output.done, nullptr)) done(false);
    }
    if (gone != nullptr) gone();
  }

  const std::shared_ptr<Sessions> sessions_;
  const std::shared_ptr<asio::ssl::context> tls_;  // null: without
  Stream stream_;
  asio::steady_timer watch_;
  std::function<void()> gone_;  // null: nobody asks, or there is an answer
  beast::flat_buffer buffer_{size_t{64} << 10};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::deque<Output> out_;  // the first one is being written
  HttpRequest request_;
  std::string peer_, certificate_;
  Clock::time_point began_;
  size_t num_lingered_ = 0;
  unsigned version_ = 11;
  bool keep_alive_ = false;
  bool head_only_ = false;
  bool unread_body_ = false;
  bool idle_ = false;
  bool waits_for_request_ = false;
  bool closed_ = false;
};

template <typename Stream>
class StreamSession<Stream>::Reply final : public HttpReply {
 public:
  explicit Reply(std::shared_ptr<StreamSession> session) : session_(std::move(session)) {}
  ~Reply() override {
    if (answered_) return;
    session_->Post(
        [](StreamSession& self) { self.Send(self.sessions_->handler->BadRequest(500, "no answer")); });
  }
  void Send(HttpResponse response) override {
    answered_ = true;
    session_->Post(
        [response = std::move(response)](StreamSession& self) mutable { self.Send(std::move(response)); });
  }
  void Begin(HttpResponse head) override {
    answered_ = true;
    session_->Post([head = std::move(head)](StreamSession& self) { self.Begin(head); });
  }
  void Write(std::string part, std::function<void(bool)> sent) override {
    session_->Post([part = std::move(part), sent = std::move(sent)](StreamSession& self) mutable {
      self.Write(std::move(part), std::move(sent));
    });
  }
  void End(bool complete) override {
    session_->Post([complete](StreamSession& self) { self.End(complete); });
  }
  void WhenGone(std::function<void()> gone) override {
    session_->Post([gone = std::move(gone)](StreamSession& self) mutable { self.WhenGone(std::move(gone)); });
  }
  void Run(std::function<void()> work) override {
    session_->Post([work = std::move(work)](StreamSession&) { work(); });
  }

 private:
  const std::shared_ptr<StreamSession> session_;
  std::atomic<bool> answered_{false};
};

}  // namespace

bool Sessions::GiveUpOldest() {
  std::shared_ptr<Session> oldest;
  {
    MutexLock lock(mu);
    int64_t since = SteadyNs() - kMoment / std::chrono::nanoseconds(1);
    auto found = open.end();
    for (auto it = open.begin(); it != open.end(); ++it) {
      const int64_t ns = it->first->waits_since_ns.load(std::memory_order_relaxed);
      if (ns == 0 || ns > since) continue;
      since = ns;
      found = it;
    }
    if (found == open.end()) return false;
    // Chosen once.
    found->first->waits_since_ns.store(0, std::memory_order_relaxed);
    oldest = found->second.lock();
  }
  if (oldest != nullptr) oldest->GiveUp();
  return true;
}

std::shared_ptr<Session> MakeSession(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> tls,
                                     std::shared_ptr<Sessions> sessions) {
  if (tls == nullptr) {
    auto session =
        std::make_shared<StreamSession<beast::tcp_stream>>(std::move(sessions), nullptr, std::move(socket));
    session->Register();
    return session;
  }
  asio::ssl::context& context = *tls;
  auto session = std::make_shared<StreamSession<beast::ssl_stream<beast::tcp_stream>>>(
      std::move(sessions), std::move(tls), std::move(socket), context);
  session->Register();
  return session;
}

}  // namespace swiftlet::http_internal
