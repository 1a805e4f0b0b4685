#include "client/rpc_status.h"

#include "absl/strings/str_cat.h"

namespace swiftlet {

absl::Status FromGrpcStatus(const grpc::Status& status, std::string_view method, std::string_view address) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());  // the same numbers by definition
  const std::string& message = status.error_message();
  return absl::Status(code, absl::StrCat(message.empty() ? "no message" : message, " [", std::string(method),
                                         " at ", std::string(address), "]"));
}

std::string ServerMessage(const absl::Status& status) {
  const std::string message(status.message());
  if (message.empty() || message.back() != ']') return message;
  const size_t bracket = message.rfind(" [");
  if (bracket == std::string::npos || message.find(" at ", bracket) == std::string::npos) return message;
  return message.substr(0, bracket);
}

std::string CodeName(absl::StatusCode code) { return absl::StatusCodeToString(code); }

}  // namespace swiftlet
