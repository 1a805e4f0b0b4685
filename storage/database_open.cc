// Database: opening.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "rocksdb/sst_file_reader.h"
#include "rocksdb/statistics.h"
#include "storage/coding.h"
#include "storage/data_directory.h"
#include "storage/database_impl.h"
#include "storage/file_logger.h"
#include "storage/rocksdb_status.h"
#include "storage/wal_check.h"

namespace swiftlet {
namespace fs = std::filesystem;

namespace {

absl::Status SyncDirectory(rocksdb::Env* env, const std::string& path) {
  std::unique_ptr<rocksdb::Directory> directory;
  rocksdb::Status status = env->NewDirectory(path, &directory);
  if (status.ok()) status = directory->Fsync();
  return FromRocksDb(status, path, "cannot sync the directory");
}

// Checks what may keep RocksDB from opening a table file, or from reading it.
absl::Status CheckTableFile(const rocksdb::SstFileMetaData& file, rocksdb::Env* env) {
  const std::string path = file.db_path + file.name;
  uint64_t size = 0;
  SWIFTLET_RETURN_IF_ERROR(FromRocksDb(env->GetFileSize(path, &size), path, "cannot stat"));
  if (size != file.size) {
    return absl::DataLossError(absl::StrCat(path, ": ", size, " bytes, expected ", file.size));
  }
  rocksdb::Options options = UserVectorsOptions(nullptr);
  options.env = env;
  rocksdb::SstFileReader reader(options);
  SWIFTLET_RETURN_IF_ERROR(FromRocksDb(reader.Open(path), path, "cannot open"));
  return FromRocksDb(reader.VerifyChecksum(), path, "cannot read");
}

// A database without the file CURRENT is one whose creation was cut short. RocksDB would also begin anew, and
// delete all files, where only CURRENT is lost.
absl::Status CheckNothingIsThere(const std::string& path) {
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const std::string extension = it->path().extension().string();
    const bool is_data = extension == ".sst" || (extension == ".log" && name != kRocksDbLog);
    if (is_data || (name.starts_with("MANIFEST-") && name != "MANIFEST-000001")) {
      return absl::DataLossError(absl::StrCat(path, ": the file CURRENT is missing, but there is ", name,
                                              ": restore the data directory from a backup"));
    }
  }
  if (error) return FromErrno(error.value(), path, "cannot list the directory");
  return absl::OkStatus();
}

}  // namespace

absl::Status Database::Impl::LockDirectory() {
  std::error_code error;
  const std::string& path = options.path;
  std::vector<std::string> changed;
  SWIFTLET_RETURN_IF_ERROR(CreatePrivateDirectory(path, &changed));
  if (!fs::is_directory(path, error)) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": is not a directory"));
  }
  for (const std::string& directory : changed) SWIFTLET_RETURN_IF_ERROR(SyncDirectory(env, directory));
  if (IsHalfRestored(path)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": ", kHalfRestoredProblem, ": ", kHalfRestoredAdvice));
  }
  const std::string marker_path = path + "/" + kMarkerFile;
  marker = FileHandle(open(marker_path.c_str(), O_RDWR | O_CLOEXEC));
  if (marker.fd() < 0 && errno == ENOENT) {
    SWIFTLET_ASSIGN_OR_RETURN(const bool empty, IsEmptyDirectory(path));
    if (!empty) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": the directory is not empty and is not a Swiftlet database (no file ",
                       kMarkerFile, "); name another data directory"));
    }
    marker = FileHandle(open(marker_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  }
  if (marker.fd() < 0) return FromErrno(errno, marker_path, "cannot open");
  if (flock(marker.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": another process has this database open (", marker_path, " is locked)"));
    }
    return FromErrno(errno, marker_path, "cannot lock");
  }
  struct stat info;
  if (fstat(marker.fd(), &info) != 0) return FromErrno(errno, marker_path, "cannot stat");
  if (info.st_size == 0) {
    const std::string_view text = kMarkerText;
    if (pwrite(marker.fd(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
        fsync(marker.fd()) != 0) {
      return FromErrno(errno, marker_path, "cannot write");
    }
    SWIFTLET_RETURN_IF_ERROR(SyncDirectory(env, path));
  }
  return absl::OkStatus();
}

absl::Status Database::Impl::OpenRocksDb() {
  const std::string& path = options.path;
  settings = {.block_cache = rocksdb::NewLRUCache(static_cast<size_t>(options.block_cache_bytes)),
              .max_history_events = options.max_history_events,
              .idempotency_window_ms = options.idempotency_window_ms,
              .event_id_cutoff_ms = event_id_cutoff_ms};
  rocksdb::DBOptions db_options = DatabaseOptionsOfRocksDb();
  db_options.env = env;
  db_options.create_if_missing = true;
  db_options.create_missing_column_families = true;
  db_options.listeners.push_back(stalls);
  db_options.listeners.push_back(std::make_shared<WriteErrorListener>());
  db_options.info_log = std::make_shared<FileLogger>(path + "/" + kRocksDbLog);
  statistics = db_options.statistics;

  const std::array<std::pair<const char*, rocksdb::ColumnFamilyHandle**>, 6> wanted = {
      {{kUsersFamily, &users},
       {kItemsFamily, &items},
       {kItemIdsFamily, &item_ids},
       {kEventsFamily, &events},
       {kEventIdsFamily, &event_ids},
       {kMetaFamily, &meta}}};
  std::vector<std::string> names = {rocksdb::kDefaultColumnFamilyName};
  for (const auto& [name, handle] : wanted) names.emplace_back(name);
  if (fs::exists(path + "/CURRENT")) {
    std::vector<std::string> existing;
    SWIFTLET_RETURN_IF_ERROR(Error(rocksdb::DB::ListColumnFamilies(db_options, path, &existing),
                                   "cannot list the column families"));
    for (const std::string& name : existing) {
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      if (!VersionOfFamily(name).has_value()) {
        return absl::FailedPreconditionError(absl::StrCat(
            path, ": the column family \"", name, "\" is unknown: a newer Swiftlet wrote this database"));
      }
      names.push_back(name);
    }
    if (options.sync_writes) SWIFTLET_RETURN_IF_ERROR(CheckWriteAheadLogs(path));
  } else {
    SWIFTLET_RETURN_IF_ERROR(CheckNothingIsThere(path));
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) descriptors.emplace_back(name, FamilyOptions(name, settings));
  rocksdb::DB* raw = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> opened;
  rocksdb::Status status = rocksdb::DB::Open(db_options, path, descriptors, &opened, &raw);
  if (!status.ok()) {
    SWIFTLET_RETURN_IF_ERROR(DropDamagedUserVectors(db_options, status, &names));
    std::erase_if(descriptors, [&](const rocksdb::ColumnFamilyDescriptor& d) {
      return std::find(names.begin(), names.end(), d.name) == names.end();
    });
    status = rocksdb::DB::Open(db_options, path, descriptors, &opened, &raw);
  }
  SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot open the database"));
  db.reset(raw);
  for (size_t i = 0; i < opened.size(); ++i) {
    if (const auto version = VersionOfFamily(names[i])) {
      unclaimed_vectors[*version] = opened[i];
      continue;
    }
    handles.push_back(opened[i]);
    for (const auto& [name, handle] : wanted) {
      if (names[i] == name) *handle = opened[i];
    }
  }
  return absl::OkStatus();
}

absl::Status Database::Impl::DropDamagedUserVectors(const rocksdb::DBOptions& db_options,
                                                    const rocksdb::Status& cause,
                                                    std::vector<std::string>* names) {
  // Without these checks RocksDB opens a database although table files are damaged. All other families must
  // be whole: they are opened with the checks afterwards.
  rocksdb::DBOptions unchecked = db_options;
  unchecked.paranoid_checks = false;
  unchecked.listeners.clear();
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : *names) {
    descriptors.emplace_back(name, FamilyOptions(name, settings));
    descriptors.back().options.disable_auto_compactions = true;
  }
  std::vector<rocksdb::ColumnFamilyHandle*> opened;
  std::unique_ptr<rocksdb::DB> unchecked_db;
  const auto close = [&] {
    for (rocksdb::ColumnFamilyHandle* handle : opened) {
      unchecked_db->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
    }
    opened.clear();
    unchecked_db.reset();
  };
  // First look, then write.
  rocksdb::DB* raw = nullptr;
  if (!rocksdb::DB::OpenForReadOnly(unchecked, options.path, descriptors, &opened, &raw).ok()) {
    return Error(cause, "cannot open the database");
  }
  unchecked_db.reset(raw);
  std::vector<std::string> damaged;
  absl::Status of_others;  // RocksDB's own error may name another file
  for (size_t i = 0; i < names->size(); ++i) {
    absl::Status checked;
    rocksdb::ColumnFamilyMetaData family;
    unchecked_db->GetColumnFamilyMetaData(opened[i], &family);
    for (const rocksdb::LevelMetaData& level : family.levels) {
      for (const rocksdb::SstFileMetaData& file : level.files) checked.Update(CheckTableFile(file, env));
    }
    if (checked.ok()) continue;
    if (const std::optional<int64_t> version = VersionOfFamily((*names)[i])) {
      damaged.push_back((*names)[i]);
      SetDamage(*version, checked);
    } else {
      of_others.Update(
          absl::DataLossError(absl::StrCat(checked.message(), ": restore the data directory from a backup")));
    }
  }
  close();
  SWIFTLET_RETURN_IF_ERROR(of_others);
  if (damaged.empty()) return Error(cause, "cannot open the database");

  SWIFTLET_RETURN_IF_ERROR(Error(rocksdb::DB::Open(unchecked, options.path, descriptors, &opened, &raw),
                                 "cannot open the database to drop damaged user vectors"));
  unchecked_db.reset(raw);
  rocksdb::Status status;
  for (size_t i = 0; i < names->size() && status.ok(); ++i) {
    if (std::find(damaged.begin(), damaged.end(), (*names)[i]) == damaged.end()) continue;
    status = unchecked_db->DropColumnFamily(opened[i]);
  }
  close();
  SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot drop damaged user vectors"));
  std::erase_if(*names, [&](const std::string& name) {
    return std::find(damaged.begin(), damaged.end(), name) != damaged.end();
  });
  return absl::OkStatus();
}

absl::Status Database::Impl::CheckFormat() {
  std::string format;
  const rocksdb::Status status = db->Get({}, meta, kFormatKey, &format);
  if (status.IsNotFound()) {  // new, or its creation was cut short
    rocksdb::WriteBatch batch;
    batch.Put(meta, kFormatKey, kFormat);
    return WriteSynced(&batch, "cannot write the format");
  }
  SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot read the format"));
  if (format != kFormat) {
    return absl::FailedPreconditionError(absl::StrCat(options.path, ": the database has format \"", format,
                                                      "\", this program knows format ", kFormat));
  }
  return absl::OkStatus();
}

absl::Status Database::Impl::AdoptEventTypes(const EventTypeTable& table) {
  std::string stored;
  const rocksdb::Status status = db->Get({}, meta, kEventTypesKey, &stored);
  if (!status.IsNotFound()) SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot read the event types"));
  std::vector<EventType> merged(table.types().begin(), table.types().end());
  if (status.ok()) {
    SWIFTLET_ASSIGN_OR_RETURN(const EventTypeTable old, DecodeEventTypes(stored));
    for (const EventType& t : old.types()) {
      const EventType* now = table.FindById(t.id);
      if (now == nullptr) {
        merged.push_back(t);  // still in the log
      } else if (now->name != t.name) {
        return absl::FailedPreconditionError(absl::StrCat(options.path, ": event type ", int{t.id}, " is \"",
                                                          t.name, "\" in this database, not \"", now->name,
                                                          "\": the name of an id cannot change"));
      }
    }
  }
  const absl::StatusOr<EventTypeTable> all = EventTypeTable::Create(std::move(merged));
  if (!all.ok()) {  // a name that the database uses for another id
    return absl::FailedPreconditionError(
        absl::StrCat(options.path, ": together with the types of this database: ", all.status().message()));
  }
  for (const EventType& t : table.types()) known_types[t.id] = true;
  const std::string encoded = EncodeEventTypes(all->types());
  if (encoded == stored) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  batch.Put(meta, kEventTypesKey, encoded);
  return WriteSynced(&batch, "cannot write the event types");
}

absl::Status Database::Impl::RecoverArrival() {
  MutexLock lock(arrival_mu);
  std::unique_ptr<rocksdb::Iterator> it(db->NewIterator({}, events));
  it->SeekToLast();
  if (it->Valid() && !DecodeKey64(FromSlice(it->key()), &last_arrival)) {
    return absl::DataLossError(
        absl::StrCat(options.path, ": event log: the last key has ", it->key().size(), " bytes, expected 8"));
  }
  SWIFTLET_RETURN_IF_ERROR(Error(it->status(), "cannot read the event log"));
  // An erasure masks what arrived before it: later arrivals must be later than it, whatever the clock says.
  it.reset(db->NewIterator({}, meta));
  for (it->Seek(kErasedPrefix); it->Valid() && it->key().starts_with(kErasedPrefix); it->Next()) {
    ErasureRecord erasure;
    SWIFTLET_RETURN_IF_ERROR(DecodeErasure(FromSlice(it->value()), &erasure));
    last_arrival = std::max(last_arrival, erasure.arrival);
  }
  return Error(it->status(), "cannot read the erasures");
}

}  // namespace swiftlet
