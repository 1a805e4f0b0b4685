// Keeps the newest good snapshot serving.
//
// One thread watches the model directory, loads what was published, warms it, shows it to requests, waits
// until the old one is drained and frees it. A snapshot is refused with a reason; the one that serves goes on
// serving. At most two snapshots are in memory. SnapshotRegistry names the states of a version.
//
// Several servers may share one model directory. CURRENT and PINNED are the directory's: all follow them, and
// a pin that one of them writes holds for the others from their next look on. Each deletes old versions by
// its own retention setting, and none that CURRENT or PINNED names, that is among the newest kept, or that it
// has in memory itself. It may delete one that another server still serves: that one goes on serving from
// its mapping and its own link to the user vectors, and at its next start takes CURRENT.
#ifndef SWIFTLET_SERVER_SNAPSHOT_MANAGER_H_
#define SWIFTLET_SERVER_SNAPSHOT_MANAGER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/background_jobs.h"
#include "engine/base/mutex.h"
#include "engine/event_types.h"
#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/model_snapshot.h"
#include "server/catalog_manager.h"
#include "server/metrics.h"
#include "server/snapshot_registry.h"
#include "storage/database.h"

namespace swiftlet {

// The snapshot whose user vectors have this name in the database.
int64_t SnapshotVersionOf(int64_t user_vectors);

// Thread-safe.
class SnapshotManager {
 public:
  struct Options {
    std::string model_dir;
    absl::Duration poll_interval = absl::Milliseconds(500);
    int keep_versions = 5;
    // Models are copied to huge pages, where the machine has them.
    bool huge_pages = true;
    // From disks, while another snapshot serves; 0: no limit.
    int64_t read_bytes_per_second = int64_t{256} << 20;
    // Failures that may pass (a full disk) are tried again after this long.
    absl::Duration retry_interval = absl::Seconds(30);
    std::function<int64_t()> now_ms;
    // Called on the manager's thread for each change of state, after it is visible. May be null.
    std::function<void(int64_t version, SnapshotState state)> on_state;
    // Called on the manager's thread before a snapshot takes the place of another, with the name of its user
    // vectors, for what is to be there when requests come. May be null.
    std::function<void(UserVectorsId)> before_swap = nullptr;
    // Called on the manager's thread when the first snapshot serves. May be null.
    std::function<void()> on_first_serving;
  };
  using Done = std::function<void(absl::StatusOr<SnapshotSummary>)>;

  // The pointers must outlive this.
  SnapshotManager(Options options, const EventTypeTable& event_types, Database* database,
                  CatalogManager* catalog, ServerMetrics* metrics);
  // Stops.
  ~SnapshotManager();

  // Creates the model directory if need be, loads the pinned or else the current snapshot before it returns,
  // then goes on in its own thread. When that one is missing, refused or unknown, something else serves until
  // it can be loaded: the current one, or the newest that is valid. A snapshot that is refused is no error.
  // UNAVAILABLE when the directory cannot be created or read.
  absl::Status Start();
  // Gives up a load in progress, and those to come: commands get UNAVAILABLE. Does not wait.
  void GiveUp();
  // GiveUp, and ends the thread. Idempotent.
  void Stop();

  // Loads and pins `version`, or with 0 unpins and follows the newest publication. Does not block: `done` is
  // called once, on the manager's thread or at once on this one, with the snapshot that serves then.
  //   NOT_FOUND no such version, FAILED_PRECONDITION refused, ABORTED another load is in progress,
  //   UNAVAILABLE after GiveUp
  // A version that cannot be pinned is not loaded: FAILED_PRECONDITION where the directory is read-only,
  // RESOURCE_EXHAUSTED where its disk is full.
  void LoadSnapshot(int64_t version, Done done);

  // Newest first. Reads manifests: blocks on disk.
  absl::StatusOr<std::vector<SnapshotSummary>> List() const { return registry_.List(); }
  // The serving one.
  std::optional<SnapshotSummary> Serving() const { return registry_.Serving(); }
  // The last failed load, for people; empty when there was none.
  std::string last_error() const { return registry_.last_error(); }
  // Snapshots in memory, 0 to 2.
  int num_resident() const { return registry_.num_resident(); }
  // When the serving snapshot began to serve; 0: none does.
  int64_t serving_since_ms() const { return registry_.serving_since_ms(); }

 private:
  // A snapshot in memory.
  struct Resident {
    std::shared_ptr<const ModelSnapshot> snapshot;
    int64_t user_vectors = 0;  // what its user vectors are called in the database; 0: it has none
  };
  struct Command {
    int64_t version;
    Done done;
  };

  void Run();
  void SetState(int64_t version, SnapshotState state);
  void ReportState(int64_t version, SnapshotState state);
  // CURRENT, and its stamp in current_stamp_.
  absl::StatusOr<std::optional<int64_t>> ReadCurrent();
  // Brings what serves in line with CURRENT and PINNED.
  void Follow() ABSL_LOCKS_EXCLUDED(mu_);
  // Nothing serves and `wanted` cannot: loads what CURRENT names, or else the newest version that is valid.
  void ServeAnother(const std::string& wanted, std::optional<int64_t> target) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether what serves is this version as it is on disk. A version that is gone from disk is served as well;
  // another snapshot under the same number is not.
  bool Serves(int64_t version);
  absl::StatusOr<SnapshotSummary> Execute(int64_t version) ABSL_LOCKS_EXCLUDED(mu_);
  // Loads, warms, shows. On failure records why.
  absl::Status Load(int64_t version) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status TryLoad(int64_t version) ABSL_LOCKS_EXCLUDED(mu_);
  BackgroundJobs::Options JobOptions(int64_t version) const;
  absl::Status Warm(const ServingState& state) const;
  // Frees the replaced snapshot once no request holds it. False: still held.
  bool FinishDraining();
  void WaitForDraining() ABSL_LOCKS_EXCLUDED(mu_);
  void DeleteOldVersions();
  // Drops the family `user_vectors` of snapshot `version`; 0: there is none. A failure is logged.
  void DropUserVectors(int64_t user_vectors, int64_t version);
  void DropUnusedUserVectors();
  void ReportDirectoryError(const absl::Status& status);

  const Options options_;
  const EventTypeTable event_types_;
  const ModelDirectory directory_;
  SnapshotRegistry registry_;
  Database* const database_;
  CatalogManager* const catalog_;
  ServerMetrics* const metrics_;
  std::thread thread_;

  // Touched only by the manager's thread (by Start before there is one).
  std::optional<Resident> serving_, draining_;
  std::string serving_manifest_text_;   // as it was on disk when it was loaded
  std::string serving_manifest_stamp_;  // of the file when it was compared with the text
  std::string current_stamp_;           // of CURRENT when it was read last
  std::string retention_stamp_;         // of CURRENT when old versions were deleted last
  std::string reported_directory_error_;
  bool somebody_waits_ = false;  // an operator, for the load in progress

  mutable Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool busy_ ABSL_GUARDED_BY(mu_) = false;  // a load is in progress
  std::optional<Command> command_ ABSL_GUARDED_BY(mu_);
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SNAPSHOT_MANAGER_H_
