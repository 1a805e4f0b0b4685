#include "server/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

absl::Status Error(const std::string& path, const std::string& reason) {
  return absl::UnavailableError(absl::StrCat("cannot listen on ", path, ": ", reason));
}

// 0: somebody listens; otherwise the error of connect().
int Connect(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return ENAMETOOLONG;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  // Non-blocking: a listener whose backlog is full says EAGAIN.
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int error =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

absl::StatusOr<SocketPath> LookAtSocketPath(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (access(parent.empty() ? "." : parent.c_str(), W_OK | X_OK) != 0)
    return Error(path, std::strerror(errno));
  struct stat found = {};
  if (lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return SocketPath::kFree;
    return Error(path, std::strerror(errno));
  }
  if (!S_ISSOCK(found.st_mode)) return Error(path, "there is something else of this name, not a socket");
  const int error = Connect(path);
  if (error == ENOENT) return SocketPath::kFree;
  if (error == ECONNREFUSED) return SocketPath::kLeftBehind;
  if (error == 0 || error == EAGAIN) return SocketPath::kInUse;
  return Error(path, std::strerror(error));
}

absl::Status ClaimSocketPath(const std::string& path) {
  SWIFTLET_ASSIGN_OR_RETURN(const SocketPath found, LookAtSocketPath(path));
  if (found == SocketPath::kInUse) return Error(path, "another process listens on it");
  if (found == SocketPath::kLeftBehind && unlink(path.c_str()) != 0 && errno != ENOENT) {
    return Error(path, std::strerror(errno));
  }
  return absl::OkStatus();
}

absl::Status SetSocketMode(const std::string& path, uint32_t mode) {
  if (chmod(path.c_str(), mode) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot set the mode of ", path, ": ", std::strerror(errno)));
}

}  // namespace swiftlet
