// Names of Unix domain sockets in the file system.
#ifndef SWIFTLET_SERVER_UNIX_SOCKET_H_
#define SWIFTLET_SERVER_UNIX_SOCKET_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

enum class SocketPath {
  kFree,        // nothing has this name
  kLeftBehind,  // a socket that nobody listens on any more
  kInUse,       // somebody listens
};
// What is at `path`; changes nothing. UNAVAILABLE, with the reason, when something else has this name, or
// when its directory is not there or cannot be written.
absl::StatusOr<SocketPath> LookAtSocketPath(const std::string& path);

// Makes `path` free to listen on: removes a socket that nobody listens on any more. UNAVAILABLE, with the
// reason, when somebody does, when something else has this name, or when its directory is not there or cannot
// be written.
absl::Status ClaimSocketPath(const std::string& path);

// chmod, for a socket that is listened on. UNAVAILABLE with the reason.
absl::Status SetSocketMode(const std::string& path, uint32_t mode);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_UNIX_SOCKET_H_
