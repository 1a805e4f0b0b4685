#include "storage/database.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "rocksdb/convenience.h"
#include "rocksdb/statistics.h"
#include "storage/coding.h"
#include "storage/database_impl.h"
#include "storage/file_logger.h"
#include "storage/rocksdb_status.h"

namespace swiftlet {
namespace fs = std::filesystem;

namespace {

// True when the directory holds nothing but what a fresh file system brings along.
absl::StatusOr<bool> IsEmptyDirectory(const std::string& path) {
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename() != "lost+found") return false;
  }
  if (error) return FromErrno(error.value(), path, "cannot list the directory");
  return true;
}

absl::Status SyncPath(const std::string& path, int flags) {
  const FileHandle file(open(path.c_str(), flags | O_CLOEXEC));
  if (file.fd() < 0 || fsync(file.fd()) != 0) return FromErrno(errno, path, "cannot sync");
  return absl::OkStatus();
}

// A function of its own so that its caller's name is in ThreadSanitizer's reports (tests/tsan.supp).
ABSL_ATTRIBUTE_NOINLINE rocksdb::Status Commit(rocksdb::DB* db, bool sync, rocksdb::WriteBatch* batch) {
  rocksdb::WriteOptions options;
  options.sync = sync;
  return db->Write(options, batch);
}

}  // namespace

FileHandle::~FileHandle() {
  if (fd_ >= 0) close(fd_);
}

// --- Impl: opening ---

Database::Impl::~Impl() {
  {
    MutexLock lock(vectors_mu);
    vectors.clear();
  }
  if (db == nullptr) return;
  for (auto& [version, handle] : unclaimed_vectors) {
    db->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  }
  for (rocksdb::ColumnFamilyHandle* handle : handles) {
    db->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  }
  // Every acknowledged write is in the log: an error here loses nothing.
  db->Close().PermitUncheckedError();
}

absl::Status Database::Impl::LockDirectory() {
  const std::string& path = options.path;
  std::error_code error;
  fs::create_directories(path, error);
  if (error && !fs::exists(path)) return FromErrno(error.value(), path, "cannot create the directory");
  if (!fs::is_directory(path, error)) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": is not a directory"));
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
    SWIFTLET_RETURN_IF_ERROR(SyncPath(path, O_RDONLY | O_DIRECTORY));
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
  db_options.create_if_missing = true;
  db_options.create_missing_column_families = true;
  db_options.listeners.push_back(stalls);
  db_options.listeners.push_back(std::make_shared<WriteErrorListener>());
  db_options.info_log = std::make_shared<FileLogger>(path + "/rocksdb.log");
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
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) descriptors.emplace_back(name, FamilyOptions(name, settings));
  rocksdb::DB* raw = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> opened;
  SWIFTLET_RETURN_IF_ERROR(
      Error(rocksdb::DB::Open(db_options, path, descriptors, &opened, &raw), "cannot open the database"));
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

// --- Impl: shared by all calls ---

absl::Status Database::Impl::Error(const rocksdb::Status& status, std::string_view what) const {
  return FromRocksDb(status, options.path, what);
}

absl::Status Database::Impl::Write(rocksdb::WriteBatch* batch, std::string_view what) {
  if (stalls->stopped()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(options.path, ": writes are stopped until compactions catch up"));
  }
  return AfterWrite(Commit(db.get(), options.sync_writes, batch), what);
}

absl::Status Database::Impl::WriteSynced(rocksdb::WriteBatch* batch, std::string_view what) {
  return AfterWrite(Commit(db.get(), /*sync=*/true, batch), what);
}

absl::Status Database::Impl::AfterWrite(const rocksdb::Status& status, std::string_view what) {
  if (status.ok() && !last_write_failed.load(std::memory_order_relaxed)) return absl::OkStatus();
  const absl::Status result = Error(status, what);
  MutexLock lock(last_write_mu);
  last_write_error = result;
  last_write_failed.store(!result.ok(), std::memory_order_relaxed);
  return result;
}

uint64_t Database::Impl::NextArrivals(int64_t now_ms, uint64_t count) {
  MutexLock lock(arrival_mu);
  const uint64_t first = std::max(last_arrival + 1, FirstArrivalAt(now_ms));
  last_arrival = first + count - 1;
  return first;
}

absl::Status Database::Impl::CheckNow(int64_t now_ms) const {
  if (now_ms >= 0 && now_ms < kMaxArrivalMs) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("now_ms: ", now_ms, " is not in [0, ", kMaxArrivalMs, ")"));
}

// --- Database ---

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Database::~Database() = default;

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const DatabaseOptions& options,
                                                         const EventTypeTable& event_types) {
  if (options.path.empty()) return absl::InvalidArgumentError("database: the path is empty");
  if (options.max_history_events == 0) return absl::InvalidArgumentError("max_history_events: 0");
  if (options.block_cache_bytes <= 0 || options.event_retention_ms < 0 ||
      options.idempotency_window_ms <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("database: block_cache_bytes ", options.block_cache_bytes,
                                                   ", event_retention_ms ", options.event_retention_ms,
                                                   ", idempotency_window_ms ", options.idempotency_window_ms,
                                                   ": out of range"));
  }
  auto impl = std::make_unique<Impl>(options);
  SWIFTLET_RETURN_IF_ERROR(impl->LockDirectory());
  SWIFTLET_RETURN_IF_ERROR(impl->OpenRocksDb());
  SWIFTLET_RETURN_IF_ERROR(impl->CheckFormat());
  SWIFTLET_RETURN_IF_ERROR(impl->AdoptEventTypes(event_types));
  SWIFTLET_RETURN_IF_ERROR(impl->RecoverArrival());
  SWIFTLET_RETURN_IF_ERROR(impl->OpenUserVectors());
  return std::unique_ptr<Database>(new Database(std::move(impl)));
}

absl::Status Database::Maintain(int64_t now_ms) {
  Impl& s = *impl_;
  SWIFTLET_RETURN_IF_ERROR(s.CheckNow(now_ms));
  s.event_id_cutoff_ms->store(now_ms - s.options.idempotency_window_ms, std::memory_order_relaxed);
  if (s.options.event_retention_ms == 0 || now_ms <= s.options.event_retention_ms) return absl::OkStatus();
  const int64_t cutoff_ms = now_ms - s.options.event_retention_ms;
  // In steps, so that range tombstones stay few.
  const int64_t step_ms = std::min<int64_t>(s.options.event_retention_ms / 64, 3'600'000);
  MutexLock lock(s.maintain_mu);
  if (cutoff_ms - s.retention_cutoff_ms < std::max<int64_t>(step_ms, 1)) return absl::OkStatus();
  const std::string begin = EncodeKey64(0), end = EncodeKey64(FirstArrivalAt(cutoff_ms));
  const rocksdb::Slice begin_slice = begin, end_slice = end;
  // Whole files first, at once; the rest by a tombstone.
  SWIFTLET_RETURN_IF_ERROR(s.Error(
      rocksdb::DeleteFilesInRange(s.db.get(), s.events, &begin_slice, &end_slice, /*include_end=*/false),
      "cannot drop old events"));
  rocksdb::WriteBatch batch;
  batch.DeleteRange(s.events, begin_slice, end_slice);
  SWIFTLET_RETURN_IF_ERROR(s.Write(&batch, "cannot drop old events"));
  s.retention_cutoff_ms = cutoff_ms;
  return absl::OkStatus();
}

absl::Status Database::CheckWritable() {
  Impl& s = *impl_;
  rocksdb::WriteBatch batch;
  batch.Put(s.meta, kProbeKey, "1");
  const absl::Status written = s.WriteSynced(&batch, "cannot write");
  if (written.ok()) return written;
  // After a failed write RocksDB refuses all until it is told that the reason is gone. Busy: it looks for
  // free space itself.
  const rocksdb::Status resumed = s.db->Resume();
  if (resumed.IsBusy()) return written;
  SWIFTLET_RETURN_IF_ERROR(s.Error(resumed, "cannot resume writing"));
  return s.WriteSynced(&batch, "cannot write");
}

absl::Status Database::LastWrite() const {
  MutexLock lock(impl_->last_write_mu);
  return impl_->last_write_error;
}

DatabaseStats Database::Stats() const {
  const Impl& s = *impl_;
  DatabaseStats stats;
  const auto sum = [&](const char* name, const std::string& property) {
    uint64_t value = 0;
    if (s.db->GetAggregatedIntProperty(property, &value)) stats.properties[name] = value;
  };
  sum("memtable_bytes", rocksdb::DB::Properties::kCurSizeAllMemTables);
  sum("sst_bytes", rocksdb::DB::Properties::kLiveSstFilesSize);
  sum("pending_compaction_bytes", rocksdb::DB::Properties::kEstimatePendingCompactionBytes);
  sum("table_reader_bytes", rocksdb::DB::Properties::kEstimateTableReadersMem);
  const auto one = [&](const char* name, rocksdb::ColumnFamilyHandle* family, const std::string& property) {
    uint64_t value = 0;
    if (s.db->GetIntProperty(family, property, &value)) stats.properties[name] = value;
  };
  one("block_cache_usage_bytes", s.users, rocksdb::DB::Properties::kBlockCacheUsage);
  one("background_errors", s.users, rocksdb::DB::Properties::kBackgroundErrors);
  one("running_compactions", s.users, rocksdb::DB::Properties::kNumRunningCompactions);
  one("users_estimate", s.users, rocksdb::DB::Properties::kEstimateNumKeys);
  one("events_estimate", s.events, rocksdb::DB::Properties::kEstimateNumKeys);
  one("event_ids_estimate", s.event_ids, rocksdb::DB::Properties::kEstimateNumKeys);
  const auto ticker = [&](const char* name, uint32_t type) {
    stats.properties[name] = s.statistics->getTickerCount(type);
  };
  ticker("wal_syncs", rocksdb::WAL_FILE_SYNCED);
  ticker("wal_bytes", rocksdb::WAL_FILE_BYTES);
  ticker("block_cache_hits", rocksdb::BLOCK_CACHE_HIT);
  ticker("block_cache_misses", rocksdb::BLOCK_CACHE_MISS);
  ticker("stall_us", rocksdb::STALL_MICROS);
  stats.properties["writes_stopped"] = s.stalls->stopped() ? 1 : 0;
  MutexLock lock(s.vectors_mu);
  stats.properties["ingested_versions"] = s.vectors.size();
  return stats;
}

}  // namespace swiftlet
