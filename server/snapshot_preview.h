// What a snapshot that does not serve would recommend, for people who compare two before one serves
// everybody.
#ifndef SWIFTLET_SERVER_SNAPSHOT_PREVIEW_H_
#define SWIFTLET_SERVER_SNAPSHOT_PREVIEW_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "engine/event_types.h"
#include "engine/recommender.h"
#include "server/catalog_manager.h"
#include "server/recommend_query.h"
#include "storage/database.h"
#include "storage/user_cache.h"
#include "swiftlet/v1/admin.pb.h"

namespace swiftlet {

// Loads one snapshot at a time beside the one that serves, mapped and not copied, on one thread of low
// priority that also answers; lets it go when nobody has asked for it for a while. Nothing that serves is
// touched: not the user cache, not the store's user vectors. Thread-safe.
class SnapshotPreview {
 public:
  // Calls that may wait for the one that is answered.
  static constexpr size_t kMaxWaiting = 8;

  struct Options {
    std::string model_dir;
    size_t max_history_events = 200;
    int64_t read_bytes_per_second = 0;  // from disks, while it is loaded; 0: no limit
    // How long a snapshot stays after its last call.
    absl::Duration keep = absl::Minutes(1);
    std::function<int64_t()> now_ms;  // the wall clock
  };
  using Done = std::function<void(absl::StatusOr<v1::PreviewSnapshotResponse>)>;

  // What the pointers name must outlive this.
  SnapshotPreview(Options options, const EventTypeTable& event_types, Database* database,
                  CatalogManager* catalog);
  ~SnapshotPreview();
  SnapshotPreview(const SnapshotPreview&) = delete;
  SnapshotPreview& operator=(const SnapshotPreview&) = delete;

  // Calls done once, on this thread or the preview's, with what `version` answers to a valid request.
  //   NOT_FOUND            no such version in the model directory
  //   FAILED_PRECONDITION  it cannot be loaded; the message says why
  //   RESOURCE_EXHAUSTED   kMaxWaiting calls wait
  //   UNAVAILABLE          stopped
  //   otherwise            as `wanted`, which is asked before the work and during a load and gives it up with
  //                        an error; what the store says of the user
  void Recommend(std::shared_ptr<const v1::PreviewSnapshotRequest> request, const SearchOptions& search,
                 std::function<absl::Status()> wanted, Done done) ABSL_LOCKS_EXCLUDED(mu_);
  // Refuses what waits and gives up a load. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);
  // The version that is loaded beside the one that serves; 0: none.
  int64_t loaded_version() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Ask {
    std::shared_ptr<const v1::PreviewSnapshotRequest> request;
    SearchOptions search;
    std::function<absl::Status()> wanted;
    Done done;
  };
  // A loaded snapshot: of the thread alone.
  struct Loaded;

  void Run();
  absl::StatusOr<v1::PreviewSnapshotResponse> Answer(const Ask& ask);
  // Makes *loaded_ this version, with a view of the catalogue that is new enough.
  absl::Status Load(const Ask& ask);
  // What is known of the user of a request without a history.
  absl::Status ReadUser(std::string_view user_id);
  bool stopping() const ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  const EventTypeTable event_types_;
  Database* const database_;
  CatalogManager* const catalog_;

  // Of the thread.
  std::unique_ptr<Loaded> loaded_;
  CachedUser user_;
  QueryBuffers buffers_;
  Scratch scratch_;
  Recommendation result_;
  WireWriter writer_;

  mutable Mutex mu_;
  CondVar wake_;
  std::deque<Ask> waiting_ ABSL_GUARDED_BY(mu_);
  int64_t loaded_version_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: uses the others
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SNAPSHOT_PREVIEW_H_
