// What a snapshot holds, as text for people.
#ifndef SWIFTLET_ENGINE_TRAINER_INSPECT_MODEL_H_
#define SWIFTLET_ENGINE_TRAINER_INSPECT_MODEL_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace swiftlet {

struct InspectOptions {
  std::string path;        // a snapshot directory, or a model directory: its CURRENT
  std::string item_id;     // show its neighbours; empty: none
  uint32_t num_items = 5;  // most popular items to list
  uint32_t k = 10;         // neighbours
  bool tensors = true;
};

// Loads with every check on; its error says what is wrong with the snapshot. NOT_FOUND for an unknown item.
absl::StatusOr<std::string> InspectModel(const InspectOptions& options);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_INSPECT_MODEL_H_
