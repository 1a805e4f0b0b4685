// Writing and publishing a snapshot so that nothing half-written is ever left or seen.
#ifndef SWIFTLET_ENGINE_TRAINER_PUBLISH_H_
#define SWIFTLET_ENGINE_TRAINER_PUBLISH_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

// Where a snapshot goes: exactly one of the two is not empty.
struct Destination {
  std::string models_dir;  // publish as the next version of this model directory
  std::string output_dir;  // write to this new directory, as version 1, without publishing
};

// INVALID_ARGUMENT when not exactly one is set, ALREADY_EXISTS when the output directory exists, and the
// reason when nothing could be published there (not writable, a CURRENT that holds no version): before any
// work. Leaves nothing behind.
absl::Status CheckDestination(const Destination& destination);

struct Published {
  int64_t version = 0;
  std::string path;
};

// Calls write(directory, version) on a staging directory, loads the result, then publishes it (or renames it
// to the output directory). When another trainer takes the version first, it is written again as the next
// one. On any error, and when interrupted, the staging directory is removed.
absl::StatusOr<Published> WriteAndPublish(
    const Destination& destination,
    const std::function<absl::Status(const std::string& directory, int64_t version)>& write);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_PUBLISH_H_
