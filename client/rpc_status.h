// The one place where gRPC's errors become ours.
#ifndef SWIFTLET_CLIENT_RPC_STATUS_H_
#define SWIFTLET_CLIENT_RPC_STATUS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace swiftlet {

// Same code; the message becomes "<message> [<method> at <address>]". OK stays OK.
absl::Status FromGrpcStatus(const grpc::Status& status, std::string_view method, std::string_view address);

// The server's own message: that of `status` without the bracket that FromGrpcStatus appended.
std::string ServerMessage(const absl::Status& status);

// "INVALID_ARGUMENT" and so on.
std::string CodeName(absl::StatusCode code);

}  // namespace swiftlet

#endif  // SWIFTLET_CLIENT_RPC_STATUS_H_
