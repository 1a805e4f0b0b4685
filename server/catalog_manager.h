// Owns what requests are answered from: the serving state (a snapshot with the catalogue over it), and every
// change to the catalogue.
//
// A change is written to the database (durable), then a new view is shown to requests, then it is
// acknowledged. A change that arrives while a view for the next snapshot is being built is in that view too.
#ifndef SWIFTLET_SERVER_CATALOG_MANAGER_H_
#define SWIFTLET_SERVER_CATALOG_MANAGER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/item_key.h"
#include "engine/base/mutex.h"
#include "server/reaper.h"
#include "server/serving_state.h"
#include "storage/database.h"

namespace swiftlet {

// A change to one item, as UpsertItems takes it.
struct ItemChange {
  std::string item_id = {};
  bool has_metadata = false;  // replaces title, categories and attributes
  std::string title = {};
  std::vector<std::string> categories = {};
  std::vector<std::pair<std::string, std::string>> attributes = {};
  std::vector<float> vector = {};                                                // empty: what is known stays
  std::vector<std::pair<std::string, std::vector<float>>> content_vectors = {};  // the same
};

enum class ItemStatus : uint8_t { kUnknown, kRecommendable, kNoVector, kDeleted };

// What is known of one item.
struct ItemInfo {
  ItemStatus status = ItemStatus::kUnknown;
  bool has_metadata = false;
  std::string title;
  std::vector<std::string> categories;
  std::vector<std::pair<std::string, std::string>> attributes;  // that were upserted
  std::vector<float> vector;            // in the serving snapshot's space; empty: none
  bool vector_from_categories = false;  // the vector is the mean of its categories
  bool vector_from_content = false;     // the vector is what the content tower made
  bool changed_since_snapshot = false;
};

// Thread-safe. All but Acquire block on disk.
class CatalogManager {
 public:
  // `database` and `reaper` must outlive this.
  CatalogManager(Database* database, Reaper* reaper) : database_(database), reaper_(reaper) {}

  // The state to answer one request from; null while no snapshot serves. Never blocks on I/O.
  std::shared_ptr<const ServingState> Acquire() const { return slot_.Acquire(); }

  // All or none. FAILED_PRECONDITION when there is a vector and no snapshot serves; INVALID_ARGUMENT for a
  // vector of another dimension.
  absl::Status Upsert(std::span<const ItemChange> changes) ABSL_LOCKS_EXCLUDED(mu_);
  // Returns how many were known and not deleted already.
  absl::StatusOr<int> Delete(std::span<const std::string> item_ids) ABSL_LOCKS_EXCLUDED(mu_);
  // In the order of item_ids. `state` may be null: then only what was upserted is known.
  absl::StatusOr<std::vector<ItemInfo>> Get(const ServingState* state, std::span<const std::string> item_ids);

  // --- for the snapshot manager's one thread ---
  // Builds the state of `snapshot` with all that the store holds, as a new generation.
  // `user_vectors_version`: what its user vectors are called in the store; 0: it has none. From here to the
  // next Publish or Abandon, changes are also kept for that state.
  absl::StatusOr<std::shared_ptr<const ServingState>> Prepare(std::shared_ptr<const ModelSnapshot> snapshot,
                                                              int64_t user_vectors_version = 0)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Shows the prepared state, with the changes since, to every later Acquire. The state it replaces goes to
  // the reaper.
  void Publish(std::shared_ptr<const ServingState> prepared) ABSL_LOCKS_EXCLUDED(mu_);
  void Abandon(std::shared_ptr<const ServingState> prepared) ABSL_LOCKS_EXCLUDED(mu_);
  // Shows no state any more.
  void Clear();

  // --- for anybody ---
  // The catalogue as it is now over a snapshot that does not serve; later changes are not in it. The snapshot
  // must outlive the view.
  absl::StatusOr<std::shared_ptr<const CatalogView>> ViewOf(const ModelSnapshot& snapshot);

 private:
  absl::StatusOr<std::vector<CatalogItem>> ReadItems();
  // Writes and shows changes.
  absl::Status Apply(std::vector<CatalogItem> items) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Database* const database_;
  Reaper* const reaper_;
  ServingSlot slot_;
  Mutex mu_;  // held across disk writes: orders changes, and changes against Publish
  uint64_t generation_ ABSL_GUARDED_BY(mu_) = 0;  // of the last Prepare
  // Set between Prepare and Publish: changes since Prepare, the newest state of each.
  std::optional<absl::flat_hash_map<ItemKey, CatalogItem>> journal_ ABSL_GUARDED_BY(mu_);
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_CATALOG_MANAGER_H_
