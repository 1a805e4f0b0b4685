// Files that are part of the program: server/http/assets, and the API's descriptors. Made by the build.
#ifndef SWIFTLET_SERVER_HTTP_EMBEDDED_H_
#define SWIFTLET_SERVER_HTTP_EMBEDDED_H_

#include <string_view>
#include <utility>

namespace swiftlet {

// The bytes of a file, by its name without a directory; empty when there is none. They stay.
std::string_view Embedded(std::string_view name);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_EMBEDDED_H_
