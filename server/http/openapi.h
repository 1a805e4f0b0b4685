// The API over HTTP as an OpenAPI 3.0 document (spec.openapis.org/oas/v3.0.3), from its descriptors: every
// method with its comment, every message with the comments of its fields.
#ifndef SWIFTLET_SERVER_HTTP_OPENAPI_H_
#define SWIFTLET_SERVER_HTTP_OPENAPI_H_

#include <string>
#include <string_view>

#include "server/http/api_methods.h"

namespace swiftlet {

// JSON. version: of the server. tokens: calls need one.
std::string OpenApiDocument(const ApiMethods& api, std::string_view version, bool tokens);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_OPENAPI_H_
