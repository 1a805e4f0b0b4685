// Listening on an address, and why that fails, which gRPC does not say.
#ifndef SWIFTLET_SERVER_LISTEN_CHECK_H_
#define SWIFTLET_SERVER_LISTEN_CHECK_H_

#include <string>

#include "storage/file_handle.h"

namespace swiftlet {

struct ListenCheck {
  bool ok = false;
  bool in_use = false;  // by another socket
  std::string reason;   // in the system's words; empty where ok
};

// A socket that listens on the first address of "host:port" that can be had; of IPv6, for IPv4 too. It does
// not block.
ListenCheck Listen(const std::string& address, FileHandle* listener);
// Listens for a moment.
ListenCheck CheckListening(const std::string& address);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_LISTEN_CHECK_H_
