// The one place where an absl::Status becomes what a caller sees.
#ifndef SWIFTLET_SERVER_GRPC_STATUS_H_
#define SWIFTLET_SERVER_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace swiftlet {

// The same code; the message, cut to 1,000 bytes (it travels in a header).
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_GRPC_STATUS_H_
