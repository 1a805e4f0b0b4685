// What is known of each version of a model directory: its state, why it was refused, which one serves and
// which one is pinned. The snapshot manager writes it, anybody reads it.
//
// The states of a version are those of v1::SnapshotState:
//
//   AVAILABLE -> LOADING -> WARMING -> SERVING -> DRAINING -> RETIRED
//                   \----------\-----> FAILED
#ifndef SWIFTLET_SERVER_SNAPSHOT_REGISTRY_H_
#define SWIFTLET_SERVER_SNAPSHOT_REGISTRY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "engine/snapshot/manifest.h"
#include "engine/snapshot/model_directory.h"

namespace swiftlet {

enum class SnapshotState : uint8_t {
  kAvailable,
  kLoading,
  kWarming,
  kServing,
  kDraining,
  kRetired,
  kFailed,
};
const char* SnapshotStateName(SnapshotState state);

// One version, for ListSnapshots.
struct SnapshotSummary {
  int64_t version = 0;
  SnapshotState state = SnapshotState::kAvailable;
  std::string error;                 // kFailed: why
  std::optional<Manifest> manifest;  // nothing where it cannot be read
  bool pinned = false;
};

// Why and in which state of the directory a version was refused: until that changes, it is not tried again.
struct SnapshotFailure {
  std::string reason;
  std::string files;                             // the stamp of its files
  std::string current;                           // the stamp of CURRENT
  absl::Time retry_at = absl::InfiniteFuture();  // earlier when it may pass by itself
};

// Thread-safe.
class SnapshotRegistry {
 public:
  explicit SnapshotRegistry(ModelDirectory directory) : directory_(std::move(directory)) {}

  void SetState(int64_t version, SnapshotState state) ABSL_LOCKS_EXCLUDED(mu_);
  void SetFailed(int64_t version, SnapshotFailure failure) ABSL_LOCKS_EXCLUDED(mu_);
  // It was deleted.
  void Forget(int64_t version) ABSL_LOCKS_EXCLUDED(mu_);
  void SetServing(const Manifest& manifest, int64_t since_ms) ABSL_LOCKS_EXCLUDED(mu_);
  // Returns whether that changes anything.
  bool SetPinned(std::optional<int64_t> version) ABSL_LOCKS_EXCLUDED(mu_);
  void SetLastError(std::string error) ABSL_LOCKS_EXCLUDED(mu_);
  void AddResident(int change) ABSL_LOCKS_EXCLUDED(mu_);

  // Whether it was refused, and neither its files nor CURRENT have changed since, nor has enough time passed.
  bool ShouldSkip(int64_t version, const std::string& current_stamp) const ABSL_LOCKS_EXCLUDED(mu_);
  // Versions that are of no use as their files are now: those that were refused for good, and those that were
  // never tried but are not whole (after a restart nothing is known of older ones). Reads manifests.
  std::vector<int64_t> UselessVersions() const ABSL_LOCKS_EXCLUDED(mu_);
  std::optional<int64_t> pinned() const ABSL_LOCKS_EXCLUDED(mu_);

  // Reads the manifest of a version that does not serve: blocks on disk.
  SnapshotSummary Summary(int64_t version) const ABSL_LOCKS_EXCLUDED(mu_);
  // Newest first, those on disk, in memory or pinned. Blocks on disk.
  absl::StatusOr<std::vector<SnapshotSummary>> List() const ABSL_LOCKS_EXCLUDED(mu_);
  std::optional<SnapshotSummary> Serving() const ABSL_LOCKS_EXCLUDED(mu_);
  // When the serving snapshot began to serve; 0: none does.
  int64_t serving_since_ms() const ABSL_LOCKS_EXCLUDED(mu_);
  std::string last_error() const ABSL_LOCKS_EXCLUDED(mu_);
  int num_resident() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Status {
    SnapshotState state = SnapshotState::kAvailable;
    SnapshotFailure failure;  // of kFailed
  };

  const ModelDirectory directory_;
  mutable Mutex mu_;
  std::map<int64_t, Status> states_ ABSL_GUARDED_BY(mu_);
  std::optional<int64_t> pinned_ ABSL_GUARDED_BY(mu_);
  std::optional<Manifest> serving_ ABSL_GUARDED_BY(mu_);
  int64_t serving_since_ms_ ABSL_GUARDED_BY(mu_) = 0;
  std::string last_error_ ABSL_GUARDED_BY(mu_);
  int num_resident_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SNAPSHOT_REGISTRY_H_
