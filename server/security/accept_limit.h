// Keeps a server alive to which too many connect.
//
// gRPC 1.51 stops to listen, for good, when accept4 fails with EMFILE: whoever opens more connections than
// the process may have descriptors would take the server down until it is restarted. And each connection
// takes memory. So what comes beyond a number of connections, or would take one of the last descriptors, is
// closed at once; the others go on.
//
// Programs that link this library have an accept4 of their own in the place of the C library's, because gRPC
// leaves nobody else a say in it. Without LimitConnections it does what the C library's does.
#ifndef SWIFTLET_SERVER_SECURITY_ACCEPT_LIMIT_H_
#define SWIFTLET_SERVER_SECURITY_ACCEPT_LIMIT_H_

#include <cstdint>

namespace swiftlet {

// Raises the process's soft limit of descriptors as far as it may, but no further than `max_connections` and
// a reserve for files need. Returns how many connections there may be at once, those by Unix domain sockets
// included: fewer than max_connections where the hard limit is low. Once, before anybody listens.
int64_t LimitConnections(int64_t max_connections);
// Connections that were closed for it.
uint64_t NumConnectionsRefused();

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_ACCEPT_LIMIT_H_
