// Errors over HTTP, by the conventions of google.rpc (google/rpc/code.proto says which status each code
// gets):
//
//   {"error": {"code": 404, "status": "NOT_FOUND", "message": "item_id: \"x\" has no vector"}}
#ifndef SWIFTLET_SERVER_HTTP_ERROR_BODY_H_
#define SWIFTLET_SERVER_HTTP_ERROR_BODY_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/http/http_message.h"

namespace swiftlet {

// The HTTP status of a code: 200, 400, 401, 403, 404, 409, 429, 499, 500, 501, 503 or 504.
int HttpStatusOf(absl::StatusCode code);

// As a JSON object, without a line end. Any bytes may be in `message`.
std::string ErrorBody(int http_status, absl::StatusCode code, std::string_view message);

// The answer to a call that ended with this error.
HttpResponse ErrorResponse(const absl::Status& error);
// With another HTTP status than that of the code.
HttpResponse ErrorResponse(int http_status, absl::StatusCode code, std::string_view message);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_ERROR_BODY_H_
