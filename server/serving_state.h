// What one request is answered from.
#ifndef SWIFTLET_SERVER_SERVING_STATE_H_
#define SWIFTLET_SERVER_SERVING_STATE_H_

#include <cstdint>
#include <memory>

#include "engine/catalog_view.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/snapshot/slot.h"

namespace swiftlet {

// A snapshot and the catalogue over it, swapped together: an answer is of one version. Immutable. A request
// acquires it once and keeps it until it is answered; whoever replaces it hands the old one to a Reaper, so
// that no request thread ever frees one.
struct ServingState {
  std::shared_ptr<const ModelSnapshot> snapshot;
  std::shared_ptr<const CatalogView> view;  // borrows from `snapshot`: destroyed first
  // The version to ask the user cache for; 0 when the snapshot has no user vectors.
  int64_t user_vectors_version = 0;
};

using ServingSlot = Slot<ServingState>;

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SERVING_STATE_H_
