#include "server/grpc_status.h"

#include <string>

namespace swiftlet {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  constexpr size_t kMaxMessageBytes = 1000;
  std::string message(status.message().substr(0, kMaxMessageBytes));
  if (status.message().size() > kMaxMessageBytes) message += "...";
  return {static_cast<grpc::StatusCode>(status.raw_code()), std::move(message)};
}

}  // namespace swiftlet
