// One connection of an HttpListener. Private to it.
#ifndef SWIFTLET_SERVER_HTTP_INTERNAL_SESSION_H_
#define SWIFTLET_SERVER_HTTP_INTERNAL_SESSION_H_

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/base/mutex.h"
#include "server/http/http_listener.h"

namespace swiftlet::http_internal {

// Thread-safe.
class Session {
 public:
  virtual ~Session() = default;
  virtual void Start() = 0;
  // Closes the connection if it waits for a request.
  virtual void CloseIfIdle() = 0;
  // Closes it.
  virtual void Abort() = 0;
  // Closes it if no whole request has come yet.
  virtual void GiveUp() = 0;

  // Since when a request has been waited for; 0: all of it is there. Any thread.
  std::atomic<int64_t> waits_since_ns{0};  // of the steady clock
};

// What all connections share; lives as long as they do. Thread-safe.
struct Sessions {
  Sessions(HttpListenerOptions options, HttpHandler* handler)
      : options(std::move(options)), handler(handler), io(this->options.num_threads) {}

  const HttpListenerOptions options;
  HttpHandler* const handler;
  boost::asio::io_context io;
  std::atomic<bool> stopped{false};   // io runs no more: nothing is posted
  std::atomic<bool> draining{false};  // an answer from now on is its connection's last
  std::atomic<int64_t> num_open{0};
  std::atomic<uint64_t> num_refused{0};

  // Those that are open. Not with `mu` held: who drops the last reference to one needs it.
  std::vector<std::shared_ptr<Session>> Open() ABSL_LOCKS_EXCLUDED(mu) {
    std::vector<std::shared_ptr<Session>> all;
    MutexLock lock(mu);
    for (const auto& [key, weak] : open) {
      if (std::shared_ptr<Session> session = weak.lock(); session != nullptr)
        all.push_back(std::move(session));
    }
    return all;
  }

  // Gives up the one that has waited longest for a request, or the rest of one, if that is longer than a
  // moment, so that connections which say nothing, or little by little, close nobody out.
  bool GiveUpOldest() ABSL_LOCKS_EXCLUDED(mu);

  Mutex mu;
  CondVar all_closed;
  std::unordered_map<Session*, std::weak_ptr<Session>> open ABSL_GUARDED_BY(mu);
};

// For a socket that is connected and does not block. tls: null: without. Registers itself in `sessions` until
// it ends, and keeps itself alive.
std::shared_ptr<Session> MakeSession(boost::asio::ip::tcp::socket socket,
                                     std::shared_ptr<boost::asio::ssl::context> tls,
                                     std::shared_ptr<Sessions> sessions);

}  // namespace swiftlet::http_internal

#endif  // SWIFTLET_SERVER_HTTP_INTERNAL_SESSION_H_
