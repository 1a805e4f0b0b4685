#include "storage/schema.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rocksdb/compaction_filter.h"
#include "rocksdb/convenience.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/statistics.h"
#include "rocksdb/table.h"
#include "storage/coding.h"
#include "storage/history_merge_operator.h"

namespace swiftlet {
namespace {

constexpr std::string_view kFamilyPrefix = "user_vectors@";

// Drops event ids that are older than the idempotency window.
class EventIdFilter final : public rocksdb::CompactionFilter {
 public:
  explicit EventIdFilter(int64_t cutoff_ms) : cutoff_ms_(cutoff_ms) {}
  bool Filter(int /*level*/, const rocksdb::Slice& /*key*/, const rocksdb::Slice& value,
              std::string* /*new_value*/, bool* /*value_changed*/) const override {
    return value.size() == 8 && LoadFixed<int64_t>(value.data()) < cutoff_ms_;
  }
  const char* Name() const override { return "swiftlet.event_ids"; }

 private:
  const int64_t cutoff_ms_;
};

class EventIdFilterFactory final : public rocksdb::CompactionFilterFactory {
 public:
  explicit EventIdFilterFactory(std::shared_ptr<const std::atomic<int64_t>> cutoff_ms)
      : cutoff_ms_(std::move(cutoff_ms)) {}
  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context& /*context*/) override {
    return std::make_unique<EventIdFilter>(cutoff_ms_->load(std::memory_order_relaxed));
  }
  const char* Name() const override { return "swiftlet.event_ids"; }

 private:
  const std::shared_ptr<const std::atomic<int64_t>> cutoff_ms_;
};

rocksdb::CompressionType LogCompression() {
  static const rocksdb::CompressionType type = [] {
    const auto supported = rocksdb::GetSupportedCompressions();
    const bool lz4 =
        std::find(supported.begin(), supported.end(), rocksdb::kLZ4Compression) != supported.end();
    return lz4 ? rocksdb::kLZ4Compression : rocksdb::kNoCompression;
  }();
  return type;
}

std::shared_ptr<rocksdb::TableFactory> Tables(const std::shared_ptr<rocksdb::Cache>& block_cache,
                                              size_t block_size, bool filter) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = block_cache;
  table.no_block_cache = block_cache == nullptr;
  table.block_size = block_size;
  if (filter) {
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    // In small blocks: the one filter of a large table would be larger than what a shard of the cache holds,
    // and every get would read it from the file.
    table.partition_filters = true;
    table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  }
  // Index and filter blocks count against the cache's budget: an event log of any size needs no more memory.
  table.cache_index_and_filter_blocks = block_cache != nullptr;
  table.pin_l0_filter_and_index_blocks_in_cache = block_cache != nullptr;
  table.format_version = 5;
  return std::shared_ptr<rocksdb::TableFactory>(rocksdb::NewBlockBasedTableFactory(table));
}

}  // namespace

std::string UserVectorsFamily(int64_t version) {
  return absl::StrCat(absl::string_view(kFamilyPrefix.data(), kFamilyPrefix.size()), version);
}

std::optional<int64_t> VersionOfFamily(std::string_view name) {
  if (!name.starts_with(kFamilyPrefix)) return std::nullopt;
  name.remove_prefix(kFamilyPrefix.size());
  int64_t version = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), version);
  if (error != std::errc() || end != name.data() + name.size() || version <= 0) return std::nullopt;
  return version;
}

std::string ErasedKey(std::string_view user_id) { return std::string(kErasedPrefix).append(user_id); }

std::string UserVectorsKey(int64_t version) {
  return kUserVectorsPrefix + EncodeKey64(static_cast<uint64_t>(version));
}

rocksdb::ColumnFamilyOptions FamilyOptions(std::string_view name, const FamilySettings& settings) {
  rocksdb::ColumnFamilyOptions options;
  options.compaction_style = rocksdb::kCompactionStyleLevel;
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = size_t{8} << 20;
  options.table_factory = Tables(settings.block_cache, 4096, /*filter=*/true);
  if (name == kUsersFamily) {
    options.write_buffer_size = size_t{32} << 20;
    options.merge_operator = std::make_shared<HistoryMergeOperator>(settings.max_history_events);
    // A user's operands in the memtable are folded when there are this many, so that a read joins few.
    options.max_successive_merges = 16;
  } else if (name == kItemsFamily) {
    options.compression = LogCompression();
  } else if (name == kEventsFamily) {
    options.write_buffer_size = size_t{16} << 20;
    options.compression = LogCompression();
    options.table_factory = Tables(settings.block_cache, size_t{32} << 10, /*filter=*/false);  // only scanned
  } else if (name == kEventIdsFamily) {
    options.write_buffer_size = size_t{16} << 20;
    // Nearly every look-up is for an id that is not there: some 15 bits a key say so without a search.
    options.memtable_prefix_bloom_size_ratio = 0.03;
    options.memtable_whole_key_filtering = true;
    if (settings.event_id_cutoff_ms != nullptr) {
      options.compaction_filter_factory = std::make_shared<EventIdFilterFactory>(settings.event_id_cutoff_ms);
      // Files are compacted, and so filtered, when they are this old, whatever is written.
      options.ttl = static_cast<uint64_t>(std::max<int64_t>(60, settings.idempotency_window_ms / 1000));
    }
  } else if (VersionOfFamily(name).has_value()) {
    return UserVectorsOptions(settings.block_cache);
  }
  return options;
}

rocksdb::Options UserVectorsOptions(const std::shared_ptr<rocksdb::Cache>& block_cache) {
  rocksdb::Options options;
  options.compression = rocksdb::kNoCompression;  // floats do not shrink
  options.disable_auto_compactions = true;        // one file, written once
  options.write_buffer_size = size_t{64} << 10;   // nothing is put
  options.table_factory = Tables(block_cache, 4096, /*filter=*/true);
  return options;
}

rocksdb::DBOptions DatabaseOptionsOfRocksDb() {
  rocksdb::DBOptions options;
  options.max_background_jobs = 2;
  options.max_open_files = 512;                      // within the usual limit of 1,024 of a process
  options.max_total_wal_size = uint64_t{128} << 20;  // bounds the time of a restart
  options.db_write_buffer_size = size_t{96} << 20;   // all memtables together
  options.max_manifest_file_size = size_t{16} << 20;
  options.bytes_per_sync = size_t{1} << 20;    // table files reach the disk in small steps
  options.avoid_flush_during_shutdown = true;  // all is in the log
  options.statistics = rocksdb::CreateDBStatistics();
  options.statistics->set_stats_level(rocksdb::kExceptHistogramOrTimers);
  return options;
}

}  // namespace swiftlet
