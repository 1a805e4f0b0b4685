// What the database_*.cc files share. Private to storage/.
#ifndef SWIFTLET_STORAGE_DATABASE_IMPL_H_
#define SWIFTLET_STORAGE_DATABASE_IMPL_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/mutex.h"
#include "rocksdb/db.h"
#include "rocksdb/listener.h"
#include "rocksdb/write_batch.h"
#include "storage/database.h"
#include "storage/file_handle.h"
#include "storage/key_queue.h"
#include "storage/schema.h"

namespace swiftlet {

// Knows whether RocksDB has stopped writes because flushes or compactions are far behind. Thread-safe.
class StallListener final : public rocksdb::EventListener {
 public:
  void OnStallConditionsChanged(const rocksdb::WriteStallInfo& info) override {
    const bool was = info.condition.prev == rocksdb::WriteStallCondition::kStopped;
    const bool is = info.condition.cur == rocksdb::WriteStallCondition::kStopped;
    num_stopped_.fetch_add(static_cast<int>(is) - static_cast<int>(was));
  }
  bool stopped() const { return num_stopped_.load(std::memory_order_relaxed) > 0; }

 private:
  std::atomic<int> num_stopped_{0};  // families
};

// Takes every failed write of the log, a table or the manifest as RocksDB takes a full disk: all writes are
// refused until Resume, which writes the memtables out to tables and begins a new log. By itself RocksDB
// calls other I/O errors fatal, and refuses Resume until the database is opened again. Thread-safe.
class WriteErrorListener final : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    using Reason = rocksdb::BackgroundErrorReason;
    const bool resumable = reason == Reason::kWriteCallback || reason == Reason::kFlush ||
                           reason == Reason::kFlushNoWAL || reason == Reason::kManifestWrite ||
                           reason == Reason::kManifestWriteNoWAL || reason == Reason::kCompaction ||
                           reason == Reason::kMemTable;  // kMemTable: no new log could be begun
    if (resumable && error->IsIOError() && error->severity() == rocksdb::Status::Severity::kFatalError) {
      *error = rocksdb::Status(*error, rocksdb::Status::Severity::kHardError);
    }
  }
  // By itself RocksDB would resume after a full disk only when there is room for the largest memtable,
  // whatever is in it, and refuse Resume until then. CheckWritable resumes as soon as what there is fits.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/, rocksdb::Status error,
                            bool* auto_recovery) override {
    if (error.severity() >= rocksdb::Status::Severity::kHardError) *auto_recovery = false;
  }
};

// An ingested version. Keeps the family alive while a reader uses it, also after it was dropped.
struct UserVectors {
  UserVectors(rocksdb::DB* db_in, rocksdb::ColumnFamilyHandle* family_in, const UserVectorsRecord& record_in)
      : db(db_in), family(family_in), record(record_in) {}
  ~UserVectors() { db->DestroyColumnFamilyHandle(family).PermitUncheckedError(); }
  UserVectors(const UserVectors&) = delete;
  UserVectors& operator=(const UserVectors&) = delete;

  rocksdb::DB* const db;
  rocksdb::ColumnFamilyHandle* const family;
  const UserVectorsRecord record;
};

// Which item id a key stands for: the ids seen lately, by a second hash. Bounded, thread-safe.
class KnownItemIds {
 public:
  enum class Answer { kUnknown, kSame, kOther };
  Answer Find(ItemKey key, std::string_view item_id) const;
  void Add(ItemKey key, std::string_view item_id);

 private:
  static constexpr size_t kMaxKeysPerShard = 1 << 13;
  struct Shard {
    mutable Mutex mu;
    absl::flat_hash_map<ItemKey, uint64_t> hashes ABSL_GUARDED_BY(mu);
  };
  std::array<Shard, 64> shards_;
};

struct Database::Impl {
  explicit Impl(const DatabaseOptions& options_in) : options(options_in) {}
  ~Impl();

  // --- opening (database_open.cc) ---
  absl::Status LockDirectory();
  absl::Status OpenRocksDb();
  // Drops the families of user vectors whose files are damaged or missing, which keep the database from being
  // opened, and takes them from `names`. `cause`: the error of the attempt; returned when they are not its
  // reason.
  absl::Status DropDamagedUserVectors(const rocksdb::DBOptions& db_options, const rocksdb::Status& cause,
                                      std::vector<std::string>* names) ABSL_LOCKS_EXCLUDED(vectors_mu);
  absl::Status CheckFormat();
  absl::Status AdoptEventTypes(const EventTypeTable& table);
  absl::Status RecoverArrival();
  absl::Status OpenUserVectors();

  absl::Status Error(const rocksdb::Status& status, std::string_view what) const;
  // FAILED_PRECONDITION when the directory was deleted under the running database: what is written now would
  // be gone with the process.
  absl::Status CheckStillThere() const;
  // One atomic batch, durable when it returns OK (unless sync_writes is off).
  absl::Status Write(rocksdb::WriteBatch* batch, std::string_view what);
  absl::Status WriteSynced(rocksdb::WriteBatch* batch, std::string_view what);
  // Keeps something in memory, unlogged. A log whose last record was cut short (by a full disk) takes no
  // more, and RocksDB's Resume begins a new one only when there is something to write out.
  absl::Status PrepareResume();
  // `count` consecutive arrival numbers, all larger than any before; returns the first.
  uint64_t NextArrivals(int64_t now_ms, uint64_t count);
  absl::Status CheckNow(int64_t now_ms) const;
  // Translates the outcome of a write, and remembers it for LastWrite.
  absl::Status AfterWrite(const rocksdb::Status& status, std::string_view what)
      ABSL_LOCKS_EXCLUDED(last_write_mu);
  absl::Status RememberWrite(absl::Status result) ABSL_LOCKS_EXCLUDED(last_write_mu);
  // Adds to `batch` what is missing in item_ids. INVALID_ARGUMENT when the key belongs to another id.
  // `new_ids` collects the key of what was added, for after the commit.
  absl::Status RegisterItemId(std::string_view item_id, rocksdb::WriteBatch* batch,
                              absl::flat_hash_map<ItemKey, std::string_view>* new_ids);

  // --- export (database_export.cc) ---
  // All zero: the user was never erased.
  absl::StatusOr<ErasureRecord> ReadErasure(std::string_view user_id) const;

  // --- user vectors (database_user_vectors.cc) ---
  std::shared_ptr<const UserVectors> FindUserVectors(int64_t version) const ABSL_LOCKS_EXCLUDED(vectors_mu);
  absl::Status DropLocked(int64_t version) ABSL_EXCLUSIVE_LOCKS_REQUIRED(ingest_mu);
  // OK: there is none.
  void SetDamage(int64_t version, const absl::Status& damage) ABSL_LOCKS_EXCLUDED(vectors_mu);
  bool IsDamaged(int64_t version) const ABSL_LOCKS_EXCLUDED(vectors_mu);

  // Constant after opening.
  const DatabaseOptions options;
  rocksdb::Env* const env = options.env == nullptr ? rocksdb::Env::Default() : options.env.get();
  FamilySettings settings;
  std::shared_ptr<std::atomic<int64_t>> event_id_cutoff_ms = std::make_shared<std::atomic<int64_t>>(0);
  std::shared_ptr<StallListener> stalls = std::make_shared<StallListener>();
  std::shared_ptr<rocksdb::Statistics> statistics;
  std::array<bool, 256> known_types{};
  FileHandle marker;  // holds the lock; outlives the DB
  std::unique_ptr<rocksdb::DB> db;
  std::map<int64_t, rocksdb::ColumnFamilyHandle*> unclaimed_vectors;  // while opening
  std::vector<rocksdb::ColumnFamilyHandle*> handles;                  // of the families below and "default"
  rocksdb::ColumnFamilyHandle *users = nullptr, *items = nullptr, *item_ids = nullptr, *events = nullptr,
                              *event_ids = nullptr, *meta = nullptr;

  KeyQueue queue;  // users and event ids of writes in progress
  KnownItemIds known_items;

  std::atomic<bool> last_write_failed{false};
  mutable Mutex last_write_mu;
  absl::Status last_write_error ABSL_GUARDED_BY(last_write_mu);

  std::atomic<int64_t> erase_through_ms{0};  // the latest of EraseThrough

  Mutex arrival_mu;
  uint64_t last_arrival ABSL_GUARDED_BY(arrival_mu) = 0;

  Mutex maintain_mu;
  int64_t retention_cutoff_ms ABSL_GUARDED_BY(maintain_mu) = 0;

  Mutex ingest_mu;  // one ingestion or drop at a time; held across I/O
  mutable Mutex vectors_mu ABSL_ACQUIRED_AFTER(ingest_mu);
  std::map<int64_t, std::shared_ptr<const UserVectors>> vectors ABSL_GUARDED_BY(vectors_mu);
  // By version: why its file could not be read, since it was ingested.
  std::map<int64_t, absl::Status> vector_damage ABSL_GUARDED_BY(vectors_mu);
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_DATABASE_IMPL_H_
