#include "server/security/accept_limit.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"

namespace swiftlet {
namespace {

// Descriptors for the database, snapshots and logs.
constexpr int64_t kReserve = 1024;
// The last ones, which no connection gets whatever took the others.
constexpr int64_t kLast = 64;
// How often it is counted which connections are still open, while there are too many: some 3 ms for 10,000.
constexpr absl::Duration kCountInterval = absl::Milliseconds(100);

using Accept4 = int (*)(int, sockaddr*, socklen_t*, int);

// The C library's, or that of a sanitizer before it.
Accept4 RealAccept4() {
  static const auto real = reinterpret_cast<Accept4>(dlsym(RTLD_NEXT, "accept4"));
  if (real == nullptr) std::abort();
  return real;
}

// Which descriptors are connections. Who closes one does not say so; it is noticed when the number comes to
// the limit. Thread-safe.
class Connections {
 public:
  Connections(int64_t max_connections, int64_t num_descriptors)
      : max_connections_(max_connections),
        is_connection_(static_cast<size_t>(num_descriptors - std::min(kLast, num_descriptors / 8))) {
    OpenSpare();
  }

  int Accept(int listener, sockaddr* address, socklen_t* size, int flags) ABSL_LOCKS_EXCLUDED(mu_) {
    const socklen_t room = size == nullptr ? 0 : *size;
    for (;;) {
      if (size != nullptr) *size = room;
      const int fd = RealAccept4()(listener, address, size, flags);
      if (fd >= 0) {
        if (Add(fd)) return fd;
        close(fd);
      } else if (errno != EMFILE && errno != ENFILE) {
        return fd;
      } else if (!AcceptAndClose(listener, flags)) {
        errno = EAGAIN;
        return -1;
      }
      num_refused_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  uint64_t num_refused() const { return num_refused_.load(std::memory_order_relaxed); }

 private:
  bool Add(int fd) ABSL_LOCKS_EXCLUDED(mu_) {
    const auto number = static_cast<size_t>(fd);
    MutexLock lock(mu_);
    if (number >= is_connection_.size()) return false;  // the lowest free one: all before it are in use
    if (is_connection_[number]) return true;            // another connection had it
    if (num_connections_ >= max_connections_ && absl::Now() - counted_ >= kCountInterval) Count();
    if (num_connections_ >= max_connections_) return false;
    is_connection_[number] = true;
    ++num_connections_;
    return true;
  }

  void Count() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    num_connections_ = 0;
    for (size_t fd = 0; fd < is_connection_.size(); ++fd) {
      if (!is_connection_[fd]) continue;
      int type = 0;
      socklen_t size = sizeof(type);
      is_connection_[fd] = getsockopt(static_cast<int>(fd), SOL_SOCKET, SO_TYPE, &type, &size) == 0;
      if (is_connection_[fd]) ++num_connections_;
    }
    counted_ = absl::Now();
  }

  // Without a descriptor left, by one that is kept for it. False: there was no connection.
  bool AcceptAndClose(int listener, int flags) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    if (spare_ >= 0) close(spare_);
    const int fd = RealAccept4()(listener, nullptr, nullptr, flags);
    if (fd >= 0) close(fd);
    OpenSpare();
    return fd >= 0;
  }
  void OpenSpare() { spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC); }

  const int64_t max_connections_;
  std::atomic<uint64_t> num_refused_{0};
  Mutex mu_;
  std::vector<bool> is_connection_ ABSL_GUARDED_BY(mu_);
  int64_t num_connections_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time counted_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  int spare_ = -1;
};

std::atomic<Connections*> connections{nullptr};  // never freed: accept4 may be called until the very end

}  // namespace

int64_t LimitConnections(int64_t max_connections) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return max_connections;
  const auto wanted = static_cast<rlim_t>(max_connections + kReserve);
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = std::min(wanted, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  const auto descriptors = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, wanted));
  max_connections = std::min(max_connections, descriptors - std::min(kReserve, descriptors / 2));
  connections.store(new Connections(max_connections, descriptors));
  return max_connections;
}

uint64_t NumConnectionsRefused() {
  const Connections* const all = connections.load();
  return all == nullptr ? 0 : all->num_refused();
}

}  // namespace swiftlet

extern "C" int accept4(int listener, sockaddr* address, socklen_t* size, int flags) {
  swiftlet::Connections* const all = swiftlet::connections.load(std::memory_order_acquire);
  return all == nullptr ? swiftlet::RealAccept4()(listener, address, size, flags)
                        : all->Accept(listener, address, size, flags);
}
