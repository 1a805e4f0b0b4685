// Names, keys and RocksDB settings of the column families. What they hold is in records.h. Private to
// storage/.
#ifndef SWIFTLET_STORAGE_SCHEMA_H_
#define SWIFTLET_STORAGE_SCHEMA_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "rocksdb/cache.h"
#include "rocksdb/options.h"

namespace swiftlet {

inline constexpr char kUsersFamily[] = "users";
inline constexpr char kItemsFamily[] = "items";
inline constexpr char kItemIdsFamily[] = "item_ids";
inline constexpr char kEventsFamily[] = "events";
inline constexpr char kEventIdsFamily[] = "event_ids";
inline constexpr char kMetaFamily[] = "meta";

// This file marks a directory as ours. It is written before RocksDB's files and locked while a server has the
// database open.
inline constexpr char kMarkerFile[] = "SWIFTLET";
inline constexpr char kMarkerText[] = "A Swiftlet database.\n";

// In a data directory that is being restored: files come here first, and everything beside it is of the
// restore. The file CURRENT comes last, by this name until all else is there.
inline constexpr char kRestoringDirectory[] = "restoring";
inline constexpr char kRestoredCurrent[] = "CURRENT.restored";

// RocksDB's own log of what it does.
inline constexpr char kRocksDbLog[] = "rocksdb.log";

inline constexpr char kFormatKey[] = "format";
inline constexpr char kFormat[] = "1";
inline constexpr char kEventTypesKey[] = "event_types";
inline constexpr char kErasedPrefix[] = "erased/";
inline constexpr char kUserVectorsPrefix[] = "user_vectors/";
inline constexpr char kProbeKey[] = "probe";

std::string UserVectorsFamily(int64_t version);
// The version of a name of UserVectorsFamily; nothing for other names.
std::optional<int64_t> VersionOfFamily(std::string_view name);
std::string ErasedKey(std::string_view user_id);
std::string UserVectorsKey(int64_t version);

// Arrival sequence numbers carry the time of arrival in their upper bits: a range of times is a range of
// keys.
inline constexpr int kArrivalBits = 20;
inline constexpr int64_t kMaxArrivalMs = int64_t{1} << 43;  // exclusive; the year 2248
inline constexpr uint64_t FirstArrivalAt(int64_t ms) { return static_cast<uint64_t>(ms) << kArrivalBits; }

// What the options of the families share.
struct FamilySettings {
  std::shared_ptr<rocksdb::Cache> block_cache = nullptr;  // null: none
  uint32_t max_history_events = 200;
  int64_t idempotency_window_ms = 0;
  // Event ids that arrived earlier are dropped when they are compacted. Null: none are.
  std::shared_ptr<const std::atomic<int64_t>> event_id_cutoff_ms = nullptr;
};

// The options of a family by its name.
rocksdb::ColumnFamilyOptions FamilyOptions(std::string_view name, const FamilySettings& settings);
// Options of a user_vectors family and of the files that are ingested into it.
rocksdb::Options UserVectorsOptions(const std::shared_ptr<rocksdb::Cache>& block_cache);
rocksdb::DBOptions DatabaseOptionsOfRocksDb();

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_SCHEMA_H_
