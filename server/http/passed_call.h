// One call of the API that came over HTTP, on its way through gRPC and back. Private to the gateway.
#ifndef SWIFTLET_SERVER_HTTP_PASSED_CALL_H_
#define SWIFTLET_SERVER_HTTP_PASSED_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/http/api_methods.h"
#include "server/http/http_message.h"

namespace swiftlet {

// In place of a request that could not be read: no message either, so that the call is admitted, counted and
// refused as any other.
inline constexpr char kNoMessage[] = "\xff";

// What goes with a call. `api`, `method` and `stub` outlive it.
struct PassedCall {
  const ApiMethods& api;
  const ApiMethod& method;
  grpc::GenericStub& stub;
  std::unique_ptr<grpc::ClientContext> context;
  std::string wire;  // the request
  // What is wrong with the request, if anything, for a caller who may make the call. `wire` is then
  // kNoMessage.
  absl::Status bad_request;
  std::shared_ptr<HttpReply> reply;
};

// Answers with the one message that comes back, or with what becomes of it.
void PassUnary(PassedCall call, std::function<HttpResponse(std::string json)> to_response);
// Answers with the messages that come back, one a line, as fast as the client takes them.
void PassStream(PassedCall call);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_PASSED_CALL_H_
