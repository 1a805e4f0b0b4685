// The backups of a running server: one piece of work at a time, on a thread of its own.
#ifndef SWIFTLET_SERVER_BACKUP_MANAGER_H_
#define SWIFTLET_SERVER_BACKUP_MANAGER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "engine/base/thread_pool.h"
#include "server/config.h"
#include "server/metrics.h"
#include "storage/backup.h"
#include "storage/database.h"

namespace swiftlet {

struct BackupDone {
  BackupInfo backup;
  absl::Duration took;
};

struct BackupState {
  BackupList list;
  std::set<uint32_t> found_damaged;  // by Verify; of them `list` does not know all
  struct Running {
    BackupWork work;
    int64_t start_time_ms;
    uint64_t num_bytes;  // copied or read so far
  };
  std::optional<Running> running;
  std::string last_error;  // of the last attempt to make one; empty when it succeeded
};

// Thread-safe.
class BackupManager {
 public:
  // Asked from time to time while the work goes on: an error ends it, and is its result.
  using Wanted = std::function<absl::Status()>;
  // Called once, on this thread when the work is refused, else on the manager's.
  using OnDone = std::function<void(absl::StatusOr<BackupDone>)>;

  // now_ms: the wall clock. `database` and `metrics` must outlive this.
  BackupManager(BackupSettings settings, Database* database, ServerMetrics* metrics,
                std::function<int64_t()> now_ms);
  ~BackupManager();
  BackupManager(const BackupManager&) = delete;
  BackupManager& operator=(const BackupManager&) = delete;

  // FAILED_PRECONDITION without a directory, ABORTED while other work goes on, UNAVAILABLE after Stop;
  // otherwise as Database::CreateBackup and VerifyBackup (id 0: the newest). What Verify finds damaged does
  // not count for `keep` from then on, until it is found whole or the server ends.
  void Create(Wanted wanted, OnDone done);
  void Verify(uint32_t id, Wanted wanted, OnDone done);
  // While a backup is being made, those from before. A directory that is not there yet holds none. Reads the
  // disk.
  absl::StatusOr<BackupState> List();
  BackupGauges Gauges();
  // For work from now on.
  void SetSettings(BackupSettings settings);
  std::string directory() const { return Settings().directory; }

  // Ends what goes on (UNAVAILABLE); there is no more work from here on. Does not wait.
  void Stop();

 private:
  using Work =
      std::function<absl::StatusOr<BackupInfo>(const BackupSettings& settings, const BackupProgress&)>;
  void Start(BackupWork kind, Wanted wanted, OnDone done, Work work);
  void Run(BackupWork kind, const Wanted& wanted, const OnDone& done, const Work& work);
  absl::StatusOr<BackupInfo> Check(const BackupSettings& settings, uint32_t id,
                                   const BackupProgress& progress);
  absl::StatusOr<BackupInfo> MakeBackup(const BackupSettings& settings, const BackupProgress& progress);
  void LookForNewest();
  BackupSettings Settings() const ABSL_LOCKS_EXCLUDED(mu_);

  Database* const database_;
  ServerMetrics* const metrics_;
  const std::function<int64_t()> now_ms_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> num_bytes_{0};  // of the running work
  // Held while backups are made, since old ones go then, and while they are listed.
  Mutex directory_mu_;
  mutable Mutex mu_;
  BackupSettings settings_ ABSL_GUARDED_BY(mu_);
  std::optional<BackupState::Running> running_ ABSL_GUARDED_BY(mu_);
  std::optional<BackupList> before_ ABSL_GUARDED_BY(mu_);  // of the backup that is being made
  std::optional<BackupDone> newest_ ABSL_GUARDED_BY(mu_);
  std::string last_error_ ABSL_GUARDED_BY(mu_);
  std::set<uint32_t> found_damaged_ ABSL_GUARDED_BY(mu_);
  ThreadPool thread_{1};  // last: uses the others
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_BACKUP_MANAGER_H_
