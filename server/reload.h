// What of a changed configuration a running server takes up: the fields that config.proto marks
// "(Reloaded.)".
#ifndef SWIFTLET_SERVER_RELOAD_H_
#define SWIFTLET_SERVER_RELOAD_H_

#include <string>
#include <string_view>
#include <vector>

#include "swiftlet/v1/config.pb.h"

namespace swiftlet {

// Paths such as "limits.max_k", in the order of the messages; a repeated field is one.
std::vector<std::string> ChangedFields(const v1::ServerConfig& before, const v1::ServerConfig& after);

// Whether Server::Reload takes up the field of this path, or the message that it is in.
bool IsReloadable(std::string_view path);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_RELOAD_H_
