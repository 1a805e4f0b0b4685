// A file system that can lose power: what was not synced is gone afterwards.
//
//   auto disk = std::make_shared<PowerLossFileSystem>(dir);
//   DatabaseOptions options = {.path = dir + "/db", .env = disk->NewEnv()};
//   ... open the database and write ...
//   disk->CutPowerAfter(1000);                         // every operation from the 1000th on fails
//   ... until writes fail; close the database ...
//   disk->Reboot(PowerLossFileSystem::Loss::kAll, 1);  // the directory is now what a real disk may hold
#ifndef SWIFTLET_TESTS_UNIT_STORAGE_POWER_LOSS_FILE_SYSTEM_H_
#define SWIFTLET_TESTS_UNIT_STORAGE_POWER_LOSS_FILE_SYSTEM_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/base/mutex.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"

namespace swiftlet::storage_testing {

// Passes everything on to the default file system, but makes nothing durable there (so it is quick), and
// keeps book of what a disk would hold for sure, for all below `root`:
// - of a file, the bytes that were there when it was last synced. A file that was not written through this
//   class (by system calls of the program itself) counts as synced;
// - of a directory, the names it had when it was last synced, each with its file: a file that was created,
//   renamed, linked or deleted since may be as before, whether it was synced itself or not.
// RangeSync makes nothing durable (it does not write metadata). Thread-safe.
class PowerLossFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  enum class Loss {
    kAll,  // nothing that was not synced is left
    // At random: some of each unsynced tail, perhaps with zeros after it (but for MANIFESTs); the first few
    // of the unsynced changes of each directory (journals keep their order: RocksDB relies on a new MANIFEST
    // being there when CURRENT, which is renamed later, names it).
    kTorn,
  };

  // `root` exists, is absolute, and counts as synced with all that is in it.
  explicit PowerLossFileSystem(const std::string& root);
  ~PowerLossFileSystem() override;

  // Keeps this file system alive. One is shared by all databases below `root`.
  static std::shared_ptr<rocksdb::Env> NewEnv(const std::shared_ptr<PowerLossFileSystem>& disk);

  // After this many more operations that change or sync something, all of them fail.
  void CutPowerAfter(uint64_t operations) ABSL_LOCKS_EXCLUDED(mu_);
  // Operations succeed again, and nothing is lost: as after a disk that could not be reached for a while.
  void SwitchOn() ABSL_LOCKS_EXCLUDED(mu_);
  bool power_is_off() const ABSL_LOCKS_EXCLUDED(mu_);
  // Operations so far that changed or synced something.
  uint64_t num_operations() const ABSL_LOCKS_EXCLUDED(mu_);
  // Cuts the power if it is still on, takes from the directory what is lost, and switches the power on.
  // Nothing below `root` may be open.
  void Reboot(Loss loss, uint64_t seed) ABSL_LOCKS_EXCLUDED(mu_);
  // Bytes and names that reboots have taken away.
  uint64_t num_lost_bytes() const ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t num_lost_names() const ABSL_LOCKS_EXCLUDED(mu_);

  static const char* kClassName() { return "PowerLossFileSystem"; }
  const char* Name() const override { return kClassName(); }

  using IOStatus = rocksdb::IOStatus;
  using IOOptions = rocksdb::IOOptions;
  using FileOptions = rocksdb::FileOptions;
  using IODebugContext = rocksdb::IODebugContext;
  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) override;
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) override;
  IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path, const FileOptions& options,
                             std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) override;
  IOStatus NewRandomRWFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSRandomRWFile>* file, IODebugContext* debug) override;
  IOStatus NewDirectory(const std::string& path, const IOOptions& options,
                        std::unique_ptr<rocksdb::FSDirectory>* directory, IODebugContext* debug) override;
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* debug) override;
  IOStatus CreateDir(const std::string& path, const IOOptions& options, IODebugContext* debug) override;
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions& options,
                              IODebugContext* debug) override;
  IOStatus DeleteDir(const std::string& path, const IOOptions& options, IODebugContext* debug) override;
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override;
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* debug) override;
  IOStatus Truncate(const std::string& path, size_t size, const IOOptions& options,
                    IODebugContext* debug) override;

 private:
  friend class PowerLossFile;
  friend class PowerLossDirectory;
  struct Node;                                 // a file or directory, by its inode
  using Names = std::map<std::string, ino_t>;  // of a directory

  bool Below(const std::string& path) const;
  // Runs a change with the power on, or fails.
  template <typename Change>
  IOStatus Run(const Change& change) ABSL_LOCKS_EXCLUDED(mu_);
  IOStatus TakeStep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Remembers the file or directory at `path`, and keeps its bytes even when it is deleted. Its inode.
  ino_t Know(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Names NamesIn(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SyncDirectory(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Notes that the names of these paths, all in one directory, have changed at once.
  void AddChange(const std::vector<std::string>& paths) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Restore(const std::string& path, ino_t directory, Loss loss, std::mt19937_64* random)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LoseTail(const std::string& path, Node* node, Loss loss, std::mt19937_64* random)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string root_;
  const std::string keep_;  // a directory beside the root, with a name for every file that is known
  mutable Mutex mu_;
  std::map<ino_t, Node> nodes_ ABSL_GUARDED_BY(mu_);
  uint64_t steps_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t last_step_ ABSL_GUARDED_BY(mu_) = UINT64_MAX;
  uint64_t lost_bytes_ ABSL_GUARDED_BY(mu_) = 0, lost_names_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace swiftlet::storage_testing

#endif  // SWIFTLET_TESTS_UNIT_STORAGE_POWER_LOSS_FILE_SYSTEM_H_
