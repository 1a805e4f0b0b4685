#include "server/http/http_listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "server/http/internal/session.h"
#include "server/listen_check.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// Connections taken up before others get their turn on the thread.
constexpr int kAcceptAtOnce = 64;
// At the end, so long requests may take to arrive; answers have Shutdown's time.
constexpr absl::Duration kForRequests = absl::Seconds(1);
// Where accept4 fails though somebody waits: no memory, no descriptor.
constexpr std::chrono::milliseconds kRetryAccept(100);

// As accept4, whose name stands for the limit of the process here (security/accept_limit.h), but past it.
int AcceptUncounted(int listener) {
  const int fd = accept(listener, nullptr, nullptr);
  if (fd >= 0) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  return fd;
}

// Null, with a line in the log, when OpenSSL does not take what CheckTls did.
std::shared_ptr<asio::ssl::context> MakeTls(const TlsMaterial& material) {
  try {
    auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
    SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
    SSL_CTX_set_mode(context->native_handle(), SSL_MODE_RELEASE_BUFFERS);
    context->use_certificate_chain(asio::buffer(material.certificate_chain));
    context->use_private_key(asio::buffer(material.private_key), asio::ssl::context::pem);
    if (!material.client_ca.empty()) {
      context->add_certificate_authority(asio::buffer(material.client_ca));
      context->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
      // Sessions of clients with certificates need a name; and no session outlives a change of the
      // authorities.
      SSL_CTX_set_session_cache_mode(context->native_handle(), SSL_SESS_CACHE_OFF);
      SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_TICKET);
    }
    return context;
  } catch (const boost::system::system_error& e) {
    spdlog::error("http: TLS: {}", e.what());
    return nullptr;
  }
}

}  // namespace

struct HttpListener::Impl : std::enable_shared_from_this<HttpListener::Impl> {
  Impl(HttpListenerOptions options, HttpHandler* handler)
      : sessions(std::make_shared<http_internal::Sessions>(std::move(options), handler)),
        work(asio::make_work_guard(sessions->io)),
        strand(asio::make_strand(sessions->io)),
        acceptor(strand),
        retry(strand) {}

  // On the strand.
  void WaitForConnection() {
    acceptor.async_wait(tcp::acceptor::wait_read, [self = shared_from_this()](error_code error) {
      if (!error) self->AcceptSome();
    });
  }
  void AcceptSome() {
    for (int n = 0; n < kAcceptAtOnce; ++n) {
      const int fd = sessions->options.counts
                         ? accept4(acceptor.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)
                         : AcceptUncounted(acceptor.native_handle());
      if (fd >= 0) {
        TakeConnection(fd);
      } else if (errno == EAGAIN) {
        break;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        retry.expires_after(kRetryAccept);
        return retry.async_wait([self = shared_from_this()](error_code error) {
          if (!error) self->WaitForConnection();
        });
      }
    }
    WaitForConnection();
  }
  void TakeConnection(int fd) {
    // Where it is full, the one that has waited longest for a request goes. While those are being closed
    // there are a few more.
    const int64_t num_open = sessions->num_open.load();
    if (num_open >= sessions->options.max_connections) {
      sessions->num_refused.fetch_add(1);
      if (num_open >= sessions->options.max_connections + kAcceptAtOnce || !sessions->GiveUpOldest()) {
        close(fd);
        return;
      }
    }
    tcp::socket socket(asio::make_strand(sessions->io));
    error_code error;
    socket.assign(protocol, fd, error);
    if (error) {
      close(fd);
      return;
    }
    socket.set_option(tcp::no_delay(true), error);
    std::shared_ptr<asio::ssl::context> tls;
    if (sessions->options.certificates != nullptr) {
      tls = CurrentTls();
      if (tls == nullptr) return;
    }
    http_internal::MakeSession(std::move(socket), std::move(tls), sessions)->Start();
  }
  std::shared_ptr<asio::ssl::context> CurrentTls() {
    const TlsCertificates& certificates = *sessions->options.certificates;
    if (tls_context == nullptr || certificates.version() != tls_version) {
      TlsCertificates::Current current = certificates.Get();
      tls_version = current.version;
      if (std::shared_ptr<asio::ssl::context> made = MakeTls(current.material); made != nullptr) {
        tls_context = std::move(made);
      }
    }
    return tls_context;
  }

  void StopAccepting();
  void Shutdown(absl::Duration timeout);

  const std::shared_ptr<http_internal::Sessions> sessions;
  // Threads run until Shutdown, whatever there is to do.
  asio::executor_work_guard<asio::io_context::executor_type> work;
  asio::strand<asio::io_context::executor_type> strand;
  tcp::acceptor acceptor;
  asio::steady_timer retry;
  tcp protocol = tcp::v4();
  int port = 0;
  std::shared_ptr<asio::ssl::context> tls_context;  // on the strand
  uint64_t tls_version = 0;
  std::vector<std::thread> threads;
};

void HttpListener::Impl::StopAccepting() {
  if (sessions->draining.exchange(true)) return;
  asio::post(strand, [self = shared_from_this()] {
    error_code ignored;
    self->acceptor.close(ignored);
    self->retry.cancel();
  });
  for (const auto& session : sessions->Open()) session->CloseIfIdle();
}

void HttpListener::Impl::Shutdown(absl::Duration timeout) {
  if (threads.empty()) return;
  StopAccepting();
  const auto wait = [this](absl::Duration at_most) {
    const absl::Time end = absl::Now() + at_most;
    MutexLock lock(sessions->mu);
    while (!sessions->open.empty() && absl::Now() < end) {
      sessions->all_closed.WaitFor(sessions->mu, end - absl::Now());
    }
  };
  const absl::Duration for_requests = std::min(timeout, kForRequests);
  wait(for_requests);
  for (const auto& session : sessions->Open()) session->GiveUp();
  wait(timeout - for_requests);
  for (const auto& session : sessions->Open()) session->Abort();
  wait(absl::Seconds(1));
  sessions->stopped.store(true);
  work.reset();
  sessions->io.stop();
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  // What was posted and has not run holds sessions, and they hold the queue that it is in.
  sessions->io.restart();
  sessions->io.poll();
}

absl::StatusOr<std::unique_ptr<HttpListener>> HttpListener::Start(HttpListenerOptions options,
                                                                  HttpHandler* handler) {
  auto impl = std::make_shared<Impl>(std::move(options), handler);
  const HttpListenerOptions& o = impl->sessions->options;
  FileHandle listener;
  if (const ListenCheck check = Listen(o.address, &listener); !check.ok) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", o.address, ": ", check.reason));
  }
  sockaddr_storage bound = {};
  socklen_t size = sizeof(bound);
  getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&bound), &size);
  if (bound.ss_family == AF_INET6) impl->protocol = tcp::v6();
  error_code error;
  impl->acceptor.assign(impl->protocol, listener.fd(), error);
  if (!error) listener.Release();
  if (!error) impl->port = impl->acceptor.local_endpoint(error).port();
  if (error)
    return absl::UnavailableError(absl::StrCat("cannot listen on ", o.address, ": ", error.message()));
  impl->WaitForConnection();
  for (int n = 0; n < o.num_threads; ++n) {
    impl->threads.emplace_back([io = &impl->sessions->io] { io->run(); });
  }
  return std::unique_ptr<HttpListener>(new HttpListener(std::move(impl)));
}

HttpListener::HttpListener(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpListener::~HttpListener() { impl_->Shutdown(absl::ZeroDuration()); }

int HttpListener::port() const { return impl_->port; }
int64_t HttpListener::num_connections() const { return impl_->sessions->num_open.load(); }
uint64_t HttpListener::num_refused() const { return impl_->sessions->num_refused.load(); }
void HttpListener::StopAccepting() { impl_->StopAccepting(); }
void HttpListener::Shutdown(absl::Duration timeout) { impl_->Shutdown(timeout); }

}  // namespace swiftlet
