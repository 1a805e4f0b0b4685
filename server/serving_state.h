// What one request is answered from.
#ifndef SWIFTLET_SERVER_SERVING_STATE_H_
#define SWIFTLET_SERVER_SERVING_STATE_H_

#include <cstdint>
#include <memory>

#include "engine/catalog_view.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/snapshot/slot.h"
#include "server/request_scope.h"
#include "storage/user_cache.h"

namespace swiftlet {

// A snapshot and the catalogue over it, swapped together: an answer is of one version. Immutable. A request
// acquires it once and keeps it until it is answered; whoever replaces it hands the old one to a Reaper, so
// that no request thread ever frees one: that is checked.
struct ServingState {
  std::shared_ptr<const ModelSnapshot> snapshot;
  std::shared_ptr<const CatalogView> view;  // borrows from `snapshot`: destroyed first
  // What to ask the user cache for: the store's version, 0 when the snapshot has no user vectors, and the
  // generation, a number that no other load of a snapshot has had. Version numbers come back when a model
  // directory is started afresh; generations never do.
  UserVectorsId user_vectors;
  [[no_unique_address]] NotFreedByRequests checked = {};
};

using ServingSlot = Slot<ServingState>;

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SERVING_STATE_H_
