// The server's one RocksDB, opened for writing: users, items, events and per-snapshot user vectors.
// Thread-safe.
//
//   SWIFTLET_ASSIGN_OR_RETURN(std::unique_ptr<Database> db,
//                             Database::Open({.path = "data"}, EventTypeTable::Default()));
//   SWIFTLET_ASSIGN_OR_RETURN(RecordResult r, db->RecordEvents(events, now_ms));
//
// Every write is one atomic batch, in the write-ahead log and (unless sync_writes is off) fsynced before the
// call returns; concurrent callers share the fsync (RocksDB's group commit). Errors: INVALID_ARGUMENT for a
// bad argument, RESOURCE_EXHAUSTED for a full disk or stalled writes, DATA_LOSS for corruption, UNAVAILABLE
// for other I/O errors, each with the path. Calls block on disk: never on a gRPC polling thread.
#ifndef SWIFTLET_STORAGE_DATABASE_H_
#define SWIFTLET_STORAGE_DATABASE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/event_types.h"
#include "storage/backup.h"
#include "storage/records.h"

namespace rocksdb {
class Env;
}

namespace swiftlet {

struct DatabaseOptions {
  std::string path;
  // Per user, > 0; older ones are dropped from the history, not from the event log.
  uint32_t max_history_events = 200;
  int64_t block_cache_bytes = int64_t{64} << 20;
  bool sync_writes = true;
  int64_t event_retention_ms = 0;                             // 0: for ever
  int64_t idempotency_window_ms = int64_t{24} * 3600 * 1000;  // > 0
  // The file system underneath; null: the operating system's. For tests that inject faults.
  std::shared_ptr<rocksdb::Env> env = nullptr;
};

struct RecordResult {
  uint32_t num_recorded = 0;
  uint32_t num_duplicates = 0;
  // For each event of the call, in order: its arrival number, or 0 for a duplicate. Arrival numbers of one
  // user's events grow in the order in which the store applied them.
  std::vector<uint64_t> arrivals;
};

// What of the event log is about one user, in a part of it.
struct UserLogPart {
  struct Entry {
    int64_t arrival_ms = 0;
    EventRecord event;
  };
  std::vector<Entry> entries;    // by arrival
  uint64_t num_erased = 0;       // entries that were left out since the user was erased after them
  std::optional<uint64_t> next;  // where the next part begins; nothing: this was the last
};

// Facts for metrics.
struct DatabaseStats {
  std::map<std::string, uint64_t> properties;  // RocksDB's, by short name, such as "block_cache_usage_bytes"
};

// Where users live. An interface, so that a shared store can take RocksDB's place when users outgrow one
// machine.
class UserStore {
 public:
  virtual ~UserStore() = default;

  // Stores all events or none. An event whose non-empty event_id was recorded within the idempotency window
  // (by an earlier call, a concurrent call, or earlier in this batch) is counted as a duplicate and not
  // stored. now_ms: arrival.
  virtual absl::StatusOr<RecordResult> RecordEvents(std::span<const EventRecord> events, int64_t now_ms) = 0;
  // The stored history, ordered by event time then arrival, newest last; empty for an unknown user. `history`
  // is replaced.
  virtual absl::Status ReadHistory(std::string_view user_id, std::vector<HistoryEvent>* history) = 0;
  // The long-term vector in the snapshot version's family; empty when there is none, or when the user was
  // erased after `trained_through_ms` of that version. `vector` is replaced. NOT_FOUND when the version was
  // not ingested; DATA_LOSS when its file is damaged: nothing else is the worse for it, and the version can
  // be ingested again.
  virtual absl::Status ReadLongTerm(int64_t version, std::string_view user_id,
                                    std::vector<float>* vector) = 0;
  // Erases history and long-term vectors (of all versions, by an erasure record), and masks the user's logged
  // events from training. Idempotent.
  virtual absl::Status DeleteUser(std::string_view user_id, int64_t now_ms) = 0;
};

// How a file is copied beside other work.
struct CopyPace {
  int64_t bytes_per_second = 0;             // 0: no limit
  std::function<bool()> stopped = nullptr;  // asked for every MiB: true gives the copy up, with CANCELLED
};

class Database final : public UserStore {
 public:
  // Creates the directory and families when missing. FAILED_PRECONDITION when the path holds something else,
  // when another process has it open, when its format is newer, or when `event_types` gives an id that the
  // database already uses another name.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const DatabaseOptions& options,
                                                        const EventTypeTable& event_types);
  ~Database() override;

  absl::StatusOr<RecordResult> RecordEvents(std::span<const EventRecord> events, int64_t now_ms) override;
  absl::Status ReadHistory(std::string_view user_id, std::vector<HistoryEvent>* history) override;
  absl::Status ReadLongTerm(int64_t version, std::string_view user_id, std::vector<float>* vector) override;
  absl::Status DeleteUser(std::string_view user_id, int64_t now_ms) override;

  // --- items ---
  // Stores the items as they shall be read back (the caller has merged changes with what was there). One
  // atomic batch.
  absl::Status WriteItems(std::span<const CatalogItem> items);
  absl::StatusOr<std::optional<CatalogItem>> ReadItem(ItemKey key);
  // Calls fn for every stored item (deleted ones too), in order of key, from one consistent view.
  absl::Status ForEachItem(const std::function<void(CatalogItem)>& fn);
  // Ids of keys, in order; empty where unknown.
  absl::StatusOr<std::vector<std::string>> ReadItemIds(std::span<const ItemKey> keys);

  // --- user vectors of snapshots ---
  // Ingests a snapshot's user_vectors.sst as the family user_vectors@<version>, by clone or else by hard link
  // where the file system allows (the snapshot keeps its file). Does nothing when the family is there
  // already. dim: floats of every vector. When the file is damaged later (by changing the snapshot's file in
  // place, say) only its vectors are lost: reads of them fail, and the next Open drops the family.
  // pace: of a copy, where neither clone nor link is possible.
  absl::Status IngestUserVectors(int64_t version, uint32_t dim, const std::string& sst_path,
                                 int64_t trained_through_ms, const CopyPace& pace = {});
  // Drops the family; OK when it is not there.
  absl::Status DropUserVectors(int64_t version);
  absl::StatusOr<std::vector<int64_t>> IngestedVersions();
  // There is a snapshot that was trained through this time, by its trainer's clock: erasures from now on mask
  // it too, as they mask every ingested version, though that clock is ahead of this one. Not kept on disk.
  void EraseThrough(int64_t trained_through_ms);
  // What is wrong with ingested user vectors that cannot be read, or were dropped by Open for that: one line
  // for each version, until it is dropped or ingested again.
  std::vector<std::string> DamagedUserVectors() const;

  // --- export ---
  // Searches the event log for a user, from arrival number `from` (0: its beginning) on: at most
  // `max_scanned` entries of anybody, so that the caller can pause between parts, and at most `max_entries`
  // of the user's.
  absl::StatusOr<UserLogPart> ReadUserLog(std::string_view user_id, uint64_t from, uint64_t max_scanned,
                                          size_t max_entries);
  // When the user was erased last, in milliseconds; 0: never.
  absl::StatusOr<int64_t> ReadErasedMs(std::string_view user_id);

  // --- upkeep ---
  // Drops event log ranges older than the retention, event ids older than the window. Called by the server
  // about once a minute; quick.
  absl::Status Maintain(int64_t now_ms);
  // Writes a few bytes and syncs: OK when the disk takes writes. After a failed write all writes fail until
  // this has been called (or RocksDB has found free space, which it looks for every few seconds after the
  // disk was full).
  absl::Status CheckWritable();
  // Writes are refused because compactions are far behind. Quick.
  bool WritesStopped() const;
  // How the latest write ended: an error from a failed write until one succeeds again (CheckWritable counts).
  absl::Status LastWrite() const;
  DatabaseStats Stats() const;
  // A backup of everything that was written before the call, while reads and writes go on; see
  // storage/backup.h. One at a time in a directory. Takes as long as the disk does, at low priority.
  absl::StatusOr<BackupInfo> CreateBackup(const BackupOptions& options);

 private:
  struct Impl;
  explicit Database(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_DATABASE_H_
