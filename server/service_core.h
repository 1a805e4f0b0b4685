// What every service works with.
#ifndef SWIFTLET_SERVER_SERVICE_CORE_H_
#define SWIFTLET_SERVER_SERVICE_CORE_H_

#include <atomic>
#include <cstdint>
#include <functional>

#include "server/backup_manager.h"
#include "server/catalog_manager.h"
#include "server/config.h"
#include "server/recall_sampler.h"
#include "server/snapshot_manager.h"
#include "server/snapshot_preview.h"
#include "server/unary_call.h"
#include "server/validation.h"
#include "server/write_gate.h"
#include "storage/database.h"
#include "storage/user_cache.h"

namespace swiftlet {

// SearchOptions that may change while calls are made: one that comes in between may see a part of the change.
// Thread-safe.
class LiveSearchOptions {
 public:
  explicit LiveSearchOptions(const SearchOptions& options = {}) { Store(options); }
  void Store(const SearchOptions& options) {
    mode_.store(options.mode, std::memory_order_relaxed);
    max_rows_.store(options.max_rows, std::memory_order_relaxed);
    max_us_.store(options.max_us, std::memory_order_relaxed);
  }
  SearchOptions Load() const {
    return {.mode = mode_.load(std::memory_order_relaxed),
            .max_rows = max_rows_.load(std::memory_order_relaxed),
            .max_us = max_us_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<SearchMode> mode_;
  std::atomic<uint32_t> max_rows_, max_us_;
};

// Constant after construction but for the gate and what is thread-safe; what the pointers name outlives every
// call.
struct ServiceCore {
  CallGate gate;
  RequestValidator validator;
  EventTypeTable event_types;
  RequestLimits limits;
  LiveSearchOptions search = LiveSearchOptions();  // where a request says nothing else
  size_t user_vector_memo_bytes = 0;               // of each thread that answers; 0: off
  uint64_t user_vector_memo_seed = 0;
  std::function<int64_t()> now_ms;
  int64_t start_time_ms = 0;
  Database* database = nullptr;
  UserCache* users = nullptr;
  WriteGate* writes = nullptr;
  ThreadPool* writers = nullptr;   // for commits of events: those that run at once share an fsync
  ThreadPool* exporter = nullptr;  // one thread, for exports
  CatalogManager* catalog = nullptr;
  SnapshotManager* snapshots = nullptr;
  SnapshotPreview* preview = nullptr;
  BackupManager* backups = nullptr;
  RecallSampler* recall = nullptr;  // null: no answer is sampled
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SERVICE_CORE_H_
