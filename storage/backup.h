// Backups of a running database, by RocksDB's backup engine, and their way back. A directory of backups
// belongs to one database: files that several backups have in common are kept once, so that the next backup
// copies only what is new. Everything is copied, the user vectors of ingested snapshots too; snapshots
// themselves are not.
//
//   SWIFTLET_ASSIGN_OR_RETURN(BackupInfo info, db->CreateBackup({.directory = "/backup"}));   // while it
//   serves SWIFTLET_RETURN_IF_ERROR(RestoreBackup("/backup", info.id, "data"));                       //
//   while nothing does
//
// A user who was erased after a backup is there again when it is restored: erase them again.
// Errors name the path: NOT_FOUND where there is no such directory or backup, FAILED_PRECONDITION where a
// directory is not of its kind, in use, or within the other one, RESOURCE_EXHAUSTED for a full disk,
// DATA_LOSS for damaged backups, UNAVAILABLE for other I/O errors.
#ifndef SWIFTLET_STORAGE_BACKUP_H_
#define SWIFTLET_STORAGE_BACKUP_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

// Told from time to time, on any thread, how many bytes have been copied or read so far. An error ends the
// work, which then fails with it.
using BackupProgress = std::function<absl::Status(uint64_t num_bytes)>;

struct BackupOptions {
  std::string directory;  // created when missing, with mode 0700
  // Of reading and writing, so that requests keep the disk to themselves. 0: no limit.
  uint64_t bytes_per_second = 0;
  // Backups that stay, the new one included: older ones are deleted afterwards. Where there are more before,
  // as after `keep` was lowered on a full disk, these go first. 0: all. Those that cannot be restored do not
  // count.
  uint32_t keep = 0;
  std::set<uint32_t> damaged = {};    // ids that VerifyBackup found so; ListBackups knows the others
  BackupProgress progress = nullptr;  // may be null
};

struct BackupInfo {
  uint32_t id = 0;  // 1, 2, ...
  int64_t created_ms = 0;
  uint64_t bytes = 0;  // of all its files, shared ones too
  uint32_t num_files = 0;
};

struct BackupList {
  std::vector<BackupInfo> backups;  // oldest first
  std::vector<uint32_t>
      damaged;  // ids of those that cannot be restored: files are missing or have another size
};

// Ids of the backups (oldest first) that `keep` lets go: those older than the newest `keep` that are not
// among `damaged`. 0: none.
std::vector<uint32_t> TooMany(const std::vector<BackupInfo>& backups, uint32_t keep,
                              const std::set<uint32_t>& damaged);

// Of damage only what can be seen without reading: VerifyBackup finds the rest.
absl::StatusOr<BackupList> ListBackups(const std::string& directory);

// Reads every file of a backup and compares checksums. id 0: the newest. Returns the one it was. progress:
// may be null.
absl::StatusOr<BackupInfo> VerifyBackup(const std::string& directory, uint32_t id,
                                        const BackupProgress& progress = nullptr);

// Makes a data directory of a backup (0: the newest); returns the one it was. `data_dir` must be missing or
// empty (but for what IsIgnored names), or hold what an earlier restore that was cut short left there; it is
// made with mode 0700. Checksums are compared on the way.
absl::StatusOr<BackupInfo> RestoreBackup(const std::string& directory, uint32_t id,
                                         const std::string& data_dir);

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_BACKUP_H_
