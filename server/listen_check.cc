#include "server/listen_check.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace swiftlet {

ListenCheck Listen(const std::string& address, FileHandle* listener) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon == std::string::npos ? 0 : colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  if (const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found); error != 0) {
    return {.ok = false, .in_use = false, .reason = gai_strerror(error)};
  }
  int reason = 0;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    FileHandle fd(socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1, off = 0;
    setsockopt(fd.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (info->ai_family == AF_INET6) setsockopt(fd.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (fd.fd() >= 0 && bind(fd.fd(), info->ai_addr, info->ai_addrlen) == 0 &&
        listen(fd.fd(), SOMAXCONN) == 0) {
      *listener = std::move(fd);
      freeaddrinfo(found);
      return {.ok = true, .in_use = false, .reason = ""};
    }
    reason = errno;
  }
  freeaddrinfo(found);
  return {.ok = false, .in_use = reason == EADDRINUSE, .reason = std::strerror(reason)};
}

ListenCheck CheckListening(const std::string& address) {
  FileHandle listener;
  return Listen(address, &listener);
}

}  // namespace swiftlet
