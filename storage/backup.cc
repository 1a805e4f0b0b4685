#include "storage/backup.h"
#include "storage/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "engine/base/status_macros.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "rocksdb/utilities/backup_engine.h"
#include "storage/database_impl.h"
#include "storage/file_handle.h"
#include "storage/rocksdb_status.h"
#include "storage/schema.h"

namespace swiftlet {
namespace fs = std::filesystem;

namespace {

// Marks a directory of backups, and is locked while one is made.
constexpr char kBackupMarker[] = "SWIFTLET_BACKUPS";
// How often a backup that is being made tells how far it is.
constexpr uint64_t kProgressBytes = uint64_t{1} << 20;

// Tells `progress` what has been done, and keeps its error. Thread-safe.
class ProgressWatch {
 public:
  explicit ProgressWatch(const BackupProgress& progress) : progress_(progress) {}

  // False when the work is to end.
  bool Add(uint64_t num_bytes) {
    const uint64_t total = num_bytes_.fetch_add(num_bytes) + num_bytes;
    if (progress_ == nullptr) return true;
    absl::Status status = progress_(total);
    if (status.ok()) return true;
    MutexLock lock(mu_);
    if (error_.ok()) error_ = std::move(status);
    return false;
  }
  absl::Status error() const {
    MutexLock lock(mu_);
    return error_;
  }

 private:
  const BackupProgress& progress_;
  std::atomic<uint64_t> num_bytes_{0};
  mutable Mutex mu_;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
};

// RocksDB's verification of a backup says nothing of how far it is, and cannot be stopped: reads of its files
// can.
class WatchedFile final : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  WatchedFile(std::unique_ptr<rocksdb::FSSequentialFile> file, ProgressWatch* watch)
      : FSSequentialFileOwnerWrapper(std::move(file)), watch_(watch) {}
  rocksdb::IOStatus Read(size_t n, const rocksdb::IOOptions& options, rocksdb::Slice* result, char* scratch,
                         rocksdb::IODebugContext* debug) override {
    const rocksdb::IOStatus status = FSSequentialFileOwnerWrapper::Read(n, options, result, scratch, debug);
    if (!status.ok() || watch_->Add(result->size())) return status;
    return rocksdb::IOStatus::IOError("stopped");
  }

 private:
  ProgressWatch* const watch_;
};

class WatchedFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit WatchedFileSystem(ProgressWatch* watch)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), watch_(watch) {}
  const char* Name() const override { return "SwiftletWatchedFileSystem"; }
  rocksdb::IOStatus NewSequentialFile(const std::string& name, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                      rocksdb::IODebugContext* debug) override {
    rocksdb::IOStatus status = FileSystemWrapper::NewSequentialFile(name, options, result, debug);
    if (status.ok()) *result = std::make_unique<WatchedFile>(std::move(*result), watch_);
    return status;
  }

 private:
  ProgressWatch* const watch_;
};

rocksdb::BackupEngineOptions EngineOptions(const std::string& directory, uint64_t bytes_per_second) {
  rocksdb::BackupEngineOptions options(directory);
  options.sync = true;
  options.share_table_files = true;
  options.share_files_with_checksum = true;
  options.backup_rate_limit = bytes_per_second;
  return options;
}

BackupInfo ToInfo(const rocksdb::BackupInfo& info) {
  return {.id = info.backup_id,
          .created_ms = info.timestamp * 1000,
          .bytes = info.size,
          .num_files = info.number_files};
}

// Of those whose files are there; oldest first.
std::vector<BackupInfo> InfosOf(const rocksdb::BackupEngineReadOnlyBase& engine) {
  std::vector<rocksdb::BackupInfo> from;
  engine.GetBackupInfo(&from);
  std::vector<BackupInfo> infos;
  for (const rocksdb::BackupInfo& info : from) infos.push_back(ToInfo(info));
  std::sort(infos.begin(), infos.end(), [](const BackupInfo& a, const BackupInfo& b) { return a.id < b.id; });
  return infos;
}

// env: reads the backups; outlives the result. Null: the default.
absl::StatusOr<std::unique_ptr<rocksdb::BackupEngineReadOnly>> OpenToRead(const std::string& directory,
                                                                          rocksdb::Env* env = nullptr) {
  std::error_code error;
  if (!fs::exists(directory + "/" + kBackupMarker, error)) {
    if (error) return FromErrno(error.value(), directory, "cannot look up the directory");
    return absl::NotFoundError(absl::StrCat(directory, ": no backups there (no file ", kBackupMarker, ")"));
  }
  rocksdb::BackupEngineReadOnly* engine = nullptr;
  rocksdb::BackupEngineOptions options = EngineOptions(directory, 0);
  options.backup_env = env;
  const rocksdb::IOStatus status =
      rocksdb::BackupEngineReadOnly::Open(options, rocksdb::Env::Default(), &engine);
  SWIFTLET_RETURN_IF_ERROR(FromRocksDb(status, directory, "cannot open the backups"));
  return std::unique_ptr<rocksdb::BackupEngineReadOnly>(engine);
}

// "; there are 1, 2, 5": the newest that a message has room for.
std::string IdsText(const std::vector<BackupInfo>& backups) {
  constexpr size_t kShown = 20;
  if (backups.empty()) return "; there is none";
  const size_t first = backups.size() - std::min(backups.size(), kShown);
  std::string text = backups.size() == 1 ? "; there is " : "; there are ";
  for (size_t i = first; i < backups.size(); ++i) {
    absl::StrAppend(&text, i == first ? "" : ", ", backups[i].id);
  }
  if (first > 0) absl::StrAppend(&text, ", and ", first, " older ones");
  return text;
}

// id 0: the newest.
absl::StatusOr<rocksdb::BackupInfo> Find(const rocksdb::BackupEngineReadOnly& engine, uint32_t id,
                                         const std::string& directory) {
  rocksdb::BackupInfo info;
  const rocksdb::Status status =
      id == 0 ? engine.GetLatestBackupInfo(&info) : engine.GetBackupInfo(id, &info);
  if (status.IsNotFound()) {
    return absl::NotFoundError(
        id == 0 ? absl::StrCat(directory, ": holds no backup")
                : absl::StrCat("no backup ", id, " in ", directory, IdsText(InfosOf(engine))));
  }
  SWIFTLET_RETURN_IF_ERROR(FromRocksDb(status, directory, absl::StrCat("backup ", id)));
  return info;
}

// A backup within the database would grow with each one, and go with it.
absl::Status CheckOutside(const std::string& backups, const std::string& data_dir) {
  if (IsWithin(backups, data_dir)) {
    return absl::FailedPreconditionError(absl::StrCat("the directory of backups, ", backups,
                                                      ", is in the data directory, ", data_dir,
                                                      ": they must differ"));
  }
  return absl::OkStatus();
}

// A restore over the backups, or into them, would spoil them.
absl::Status CheckApart(const std::string& backups, const std::string& data_dir) {
  SWIFTLET_RETURN_IF_ERROR(CheckOutside(backups, data_dir));
  if (IsWithin(data_dir, backups)) {
    return absl::FailedPreconditionError(absl::StrCat("the data directory, ", data_dir,
                                                      ", is in the directory of backups, ", backups,
                                                      ": they must differ"));
  }
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& path) {
  const FileHandle directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.fd() < 0 || fsync(directory.fd()) != 0) {
    return FromErrno(errno, path, "cannot sync the directory");
  }
  return absl::OkStatus();
}

absl::StatusOr<FileHandle> LockBackups(const std::string& directory) {
  SWIFTLET_RETURN_IF_ERROR(CreatePrivateDirectory(directory));
  std::error_code error;
  const std::string path = absl::StrCat(directory, "/", kBackupMarker);
  if (!fs::exists(path, error)) {
    SWIFTLET_ASSIGN_OR_RETURN(const bool empty, IsEmptyDirectory(directory));
    if (!empty)
      return absl::FailedPreconditionError(absl::StrCat(directory,
                                                        ": is not empty and holds no backups (no file ",
                                                        kBackupMarker, "); name another directory"));
  }
  FileHandle marker(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (marker.fd() < 0) return FromErrno(errno, path, "cannot open");
  if (flock(marker.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return absl::FailedPreconditionError(absl::StrCat(directory, ": another backup is being made there"));
    }
    return FromErrno(errno, path, "cannot lock");
  }
  return marker;
}

// The lock of a restore, until it is closed: on the directory itself, since a marker file would make a
// database of it.
absl::StatusOr<FileHandle> LockForRestore(const std::string& data_dir) {
  SWIFTLET_RETURN_IF_ERROR(CreatePrivateDirectory(data_dir));
  FileHandle directory(open(data_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.fd() < 0) return FromErrno(errno, data_dir, "cannot open the directory");
  if (flock(directory.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return absl::FailedPreconditionError(absl::StrCat(data_dir, ": another restore is being made there"));
    }
    return FromErrno(errno, data_dir, "cannot lock the directory");
  }
  const std::string marker_path = absl::StrCat(data_dir, "/", kMarkerFile);
  const FileHandle marker(open(marker_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (marker.fd() >= 0 && flock(marker.fd(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(data_dir, ": a process has this database open"));
  }
  return directory;
}

// Empties what an earlier attempt left, and refuses what is not of one.
absl::Status PrepareToRestore(const std::string& data_dir) {
  std::error_code error;
  // A whole database is never taken for a part of one, whatever lies beside it.
  const bool again = IsHalfRestored(data_dir);
  std::vector<fs::path> old;
  for (const fs::directory_entry& entry : fs::directory_iterator(data_dir, error)) {
    const std::string name = entry.path().filename().string();
    if (!IsIgnored(name) && (name != kRestoringDirectory || !again)) old.push_back(entry.path());
  }
  if (error) return FromErrno(error.value(), data_dir, "cannot list the directory");
  if (!again && !old.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(data_dir, ": is not empty (",
                                                      old.front().filename().string(),
                                                      "): a backup is restored to an empty directory"));
  }
  // The directory that says so goes last. It is gone already where only the last step was missing.
  if (again) fs::create_directory(fs::path(data_dir) / kRestoringDirectory, error);
  if (error) return FromErrno(error.value(), data_dir, "cannot create a directory");
  for (const fs::path& path : old) {
    fs::remove_all(path, error);
    if (error) return FromErrno(error.value(), path.string(), "cannot remove");
  }
  fs::remove_all(fs::path(data_dir) / kRestoringDirectory, error);
  if (error) return FromErrno(error.value(), data_dir, "cannot empty the directory");
  return absl::OkStatus();
}

// The file by which a server knows a data directory.
absl::Status WriteMarker(const std::string& data_dir) {
  const std::string path = absl::StrCat(data_dir, "/", kMarkerFile);
  const FileHandle marker(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  const std::string_view text = kMarkerText;
  if (marker.fd() < 0 || write(marker.fd(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      fsync(marker.fd()) != 0) {
    return FromErrno(errno, path, "cannot write");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BackupInfo> Database::CreateBackup(const BackupOptions& options) {
  SWIFTLET_RETURN_IF_ERROR(impl_->CheckStillThere());
  SWIFTLET_RETURN_IF_ERROR(CheckOutside(options.directory, impl_->options.path));
  SWIFTLET_ASSIGN_OR_RETURN(const FileHandle lock, LockBackups(options.directory));
  const auto error = [&](const rocksdb::Status& status, std::string_view what) {
    return FromRocksDb(status, options.directory, what);
  };
  rocksdb::BackupEngine* raw = nullptr;
  rocksdb::BackupEngineOptions engine_options = EngineOptions(options.directory, options.bytes_per_second);
  engine_options.callback_trigger_interval_size = kProgressBytes;
  SWIFTLET_RETURN_IF_ERROR(
      error(rocksdb::BackupEngine::Open(engine_options, impl_->env, &raw), "cannot open the backups"));
  const std::unique_ptr<rocksdb::BackupEngine> engine(raw);
  ProgressWatch watch(options.progress);
  if (!watch.Add(0)) return watch.error();
  const auto delete_old = [&]() -> absl::Status {
    for (const uint32_t id : TooMany(InfosOf(*engine), options.keep, options.damaged)) {
      SWIFTLET_RETURN_IF_ERROR(error(engine->DeleteBackup(id), "cannot delete old backups"));
    }
    return absl::OkStatus();
  };
  SWIFTLET_RETURN_IF_ERROR(delete_old());
  rocksdb::CreateBackupOptions create;
  create.flush_before_backup = true;
  create.decrease_background_thread_cpu_priority = true;
  create.background_thread_cpu_priority = rocksdb::CpuPriority::kLow;
  create.progress_callback = [&] {
    if (!watch.Add(kProgressBytes)) engine->StopBackup();
  };
  rocksdb::BackupID id = 0;
  if (absl::Status status =
          error(engine->CreateNewBackup(create, impl_->db.get(), &id), "cannot make a backup");
      !status.ok()) {
    engine->GarbageCollect().PermitUncheckedError();  // of what it copied
    return watch.error().ok() ? status : watch.error();
  }
  SWIFTLET_RETURN_IF_ERROR(SyncDirectory(options.directory));
  rocksdb::BackupInfo info;
  SWIFTLET_RETURN_IF_ERROR(error(engine->GetBackupInfo(id, &info), "cannot look at the new backup"));
  SWIFTLET_RETURN_IF_ERROR(delete_old());
  return ToInfo(info);
}

std::vector<uint32_t> TooMany(const std::vector<BackupInfo>& backups, uint32_t keep,
                              const std::set<uint32_t>& damaged) {
  std::vector<uint32_t> ids;
  if (keep == 0) return ids;
  uint32_t num_good = 0;
  for (auto info = backups.rbegin(); info != backups.rend(); ++info) {
    if (num_good >= keep) {
      ids.push_back(info->id);
    } else if (!damaged.contains(info->id)) {
      ++num_good;
    }
  }
  std::reverse(ids.begin(), ids.end());
  return ids;
}

absl::StatusOr<BackupList> ListBackups(const std::string& directory) {
  SWIFTLET_ASSIGN_OR_RETURN(const auto engine, OpenToRead(directory));
  BackupList list;
  list.backups = InfosOf(*engine);
  engine->GetCorruptedBackups(&list.damaged);
  std::sort(list.damaged.begin(), list.damaged.end());
  return list;
}

absl::StatusOr<BackupInfo> VerifyBackup(const std::string& directory, uint32_t id,
                                        const BackupProgress& progress) {
  ProgressWatch watch(progress);
  const std::unique_ptr<rocksdb::Env> env =
      rocksdb::NewCompositeEnv(std::make_shared<WatchedFileSystem>(&watch));
  const auto verify = [&]() -> absl::StatusOr<BackupInfo> {
    SWIFTLET_ASSIGN_OR_RETURN(const auto engine, OpenToRead(directory, env.get()));
    SWIFTLET_ASSIGN_OR_RETURN(const rocksdb::BackupInfo info, Find(*engine, id, directory));
    absl::Status status = FromRocksDb(engine->VerifyBackup(info.backup_id, /*verify_with_checksum=*/true),
                                      directory, absl::StrCat("backup ", info.backup_id, " is damaged"));
    // A file is missing since it was looked up: the backup itself is there.
    if (absl::IsNotFound(status)) status = absl::DataLossError(status.message());
    SWIFTLET_RETURN_IF_ERROR(status);
    return ToInfo(info);
  };
  absl::StatusOr<BackupInfo> verified = verify();
  // Every error, also that of opening, may be the stop's.
  return watch.error().ok() ? std::move(verified) : watch.error();
}

absl::StatusOr<BackupInfo> RestoreBackup(const std::string& directory, uint32_t id,
                                         const std::string& data_dir) {
  SWIFTLET_RETURN_IF_ERROR(CheckApart(directory, data_dir));
  SWIFTLET_ASSIGN_OR_RETURN(const auto engine, OpenToRead(directory));
  SWIFTLET_ASSIGN_OR_RETURN(const rocksdb::BackupInfo info, Find(*engine, id, directory));
  SWIFTLET_ASSIGN_OR_RETURN(const FileHandle lock, LockForRestore(data_dir));
  SWIFTLET_RETURN_IF_ERROR(PrepareToRestore(data_dir));
  const std::string scratch = absl::StrCat(data_dir, "/", kRestoringDirectory);
  std::error_code error;
  fs::create_directory(scratch, error);
  if (error) return FromErrno(error.value(), scratch, "cannot create the directory");
  SWIFTLET_RETURN_IF_ERROR(SyncDirectory(data_dir));
  if (absl::Status status =
          FromRocksDb(engine->RestoreDBFromBackup(info.backup_id, scratch, scratch), directory,
                      absl::StrCat("cannot restore backup ", info.backup_id, " to ", scratch));
      !status.ok()) {
    if (!absl::IsDataLoss(status) && !absl::IsNotFound(status)) return status;
    // RocksDB's message names no file: reading the backup does.
    const absl::Status damage = VerifyBackup(directory, info.backup_id).status();
    return damage.ok() ? status : absl::DataLossError(absl::StrCat(status.message(), "; ", damage.message()));
  }

  // Without the file CURRENT there is no database: it comes last.
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(scratch, error)) {
    const std::string name = entry.path().filename().string();
    if (name != "CURRENT") names.push_back(name);
  }
  if (error) return FromErrno(error.value(), scratch, "cannot list the directory");
  const auto move = [&](const std::string& from, const std::string& to) -> absl::Status {
    fs::rename(from, data_dir + "/" + to, error);
    if (error) return FromErrno(error.value(), from, "cannot move");
    return absl::OkStatus();
  };
  for (const std::string& name : names) SWIFTLET_RETURN_IF_ERROR(move(scratch + "/" + name, name));
  // The directory of a part of a restore is gone before there is a whole database.
  SWIFTLET_RETURN_IF_ERROR(move(scratch + "/CURRENT", kRestoredCurrent));
  fs::remove(scratch, error);
  if (error) return FromErrno(error.value(), scratch, "cannot remove the directory");
  SWIFTLET_RETURN_IF_ERROR(WriteMarker(data_dir));
  SWIFTLET_RETURN_IF_ERROR(SyncDirectory(data_dir));
  SWIFTLET_RETURN_IF_ERROR(move(absl::StrCat(data_dir, "/", kRestoredCurrent), "CURRENT"));
  SWIFTLET_RETURN_IF_ERROR(SyncDirectory(data_dir));
  return ToInfo(info);
}

}  // namespace swiftlet
