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

// A function of its own so that its caller's name is in ThreadSanitizer's reports (tests/tsan.supp).
ABSL_ATTRIBUTE_NOINLINE rocksdb::Status Commit(rocksdb::DB* db, bool sync, rocksdb::WriteBatch* batch,
                                               bool no_slowdown = false) {
  rocksdb::WriteOptions options;
  options.sync = sync;
  options.no_slowdown = no_slowdown;
  return db->Write(options, batch);
}

bool AreWritesStopped(rocksdb::DB* db) {
  uint64_t stopped = 0;
  return db->GetIntProperty(rocksdb::DB::Properties::kIsWriteStopped, &stopped) && stopped != 0;
}

}  // namespace

// --- Impl ---

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

// --- Impl: shared by all calls ---

absl::Status Database::Impl::Error(const rocksdb::Status& status, std::string_view what) const {
  return FromRocksDb(status, options.path, what);
}

absl::Status Database::Impl::CheckStillThere() const {
  struct stat info;
  if (fstat(marker.fd(), &info) == 0 && info.st_nlink > 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      options.path, ": the data directory was deleted while the database was open: restart the server"));
}

absl::Status Database::Impl::Write(rocksdb::WriteBatch* batch, std::string_view what) {
  const auto refuse = [&] {
    return absl::ResourceExhaustedError(
        absl::StrCat(options.path, ": writes are stopped until compactions catch up"));
  };
  if (stalls->stopped()) return refuse();
  if (absl::Status there = CheckStillThere(); !there.ok()) return RememberWrite(std::move(there));
  // A write that meets a stop comes back at once; one that is to be slowed down goes in again and waits its
  // turn.
  rocksdb::Status status = Commit(db.get(), options.sync_writes, batch, /*no_slowdown=*/true);
  if (status.IsIncomplete()) {
    if (AreWritesStopped(db.get())) return refuse();
    status = Commit(db.get(), options.sync_writes, batch);
  }
  return AfterWrite(status, what);
}

absl::Status Database::Impl::WriteSynced(rocksdb::WriteBatch* batch, std::string_view what) {
  if (absl::Status there = CheckStillThere(); !there.ok()) return RememberWrite(std::move(there));
  return AfterWrite(Commit(db.get(), /*sync=*/true, batch), what);
}

absl::Status Database::Impl::AfterWrite(const rocksdb::Status& status, std::string_view what) {
  if (status.ok() && !last_write_failed.load(std::memory_order_relaxed)) return absl::OkStatus();
  return RememberWrite(Error(status, what));
}

absl::Status Database::Impl::RememberWrite(absl::Status result) {
  MutexLock lock(last_write_mu);
  last_write_error = result;
  last_write_failed.store(!result.ok(), std::memory_order_relaxed);
  return result;
}

absl::Status Database::Impl::PrepareResume() {
  rocksdb::WriteOptions without_log;
  without_log.disableWAL = true;
  rocksdb::WriteBatch batch;
  batch.Put(meta, kProbeKey, "1");
  return Error(db->Write(without_log, &batch), "cannot write");
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
  SWIFTLET_RETURN_IF_ERROR(impl->PrepareResume());
  return std::unique_ptr<Database>(new Database(std::move(impl)));
}

absl::Status Database::Maintain(int64_t now_ms) {
  Impl& s = *impl_;
  SWIFTLET_RETURN_IF_ERROR(s.CheckNow(now_ms));
  s.event_id_cutoff_ms->store(now_ms - s.options.idempotency_window_ms, std::memory_order_relaxed);
  s.PrepareResume().IgnoreError();  // fails while writes are refused: too late then
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
  if (written.ok() || !s.CheckStillThere().ok()) return written;
  // After a failed write RocksDB refuses all until it is told that the reason is gone. Busy: it looks for
  // free space itself.
  const rocksdb::Status resumed = s.db->Resume();
  if (resumed.IsBusy()) return written;
  SWIFTLET_RETURN_IF_ERROR(s.Error(resumed, "cannot resume writing"));
  SWIFTLET_RETURN_IF_ERROR(s.WriteSynced(&batch, "cannot write"));
  return s.PrepareResume();
}

bool Database::WritesStopped() const { return impl_->stalls->stopped(); }

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
  stats.properties["damaged_user_vectors"] = s.vector_damage.size();
  return stats;
}

}  // namespace swiftlet
