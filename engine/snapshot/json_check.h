// One strict pass over JSON text before it is read into a tree. Private to this folder.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_JSON_CHECK_H_
#define SWIFTLET_ENGINE_SNAPSHOT_JSON_CHECK_H_

#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"

namespace swiftlet {

// The tree of `text`. DATA_LOSS with the byte offset for anything but one JSON value in UTF-8; for nesting
// deeper than max_depth containers; for a key that an object has twice (which parsers resolve differently).
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text, size_t max_depth);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_JSON_CHECK_H_
