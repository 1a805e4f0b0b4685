// What every service works with.
#ifndef SWIFTLET_SERVER_SERVICE_CORE_H_
#define SWIFTLET_SERVER_SERVICE_CORE_H_

#include <cstdint>
#include <functional>

#include "server/catalog_manager.h"
#include "server/config.h"
#include "server/recall_sampler.h"
#include "server/snapshot_manager.h"
#include "server/unary_call.h"
#include "server/validation.h"
#include "server/write_gate.h"
#include "storage/database.h"
#include "storage/user_cache.h"

namespace swiftlet {

// Constant after construction but for the gate; what the pointers name outlives every call.
struct ServiceCore {
  CallGate gate;
  RequestValidator validator;
  EventTypeTable event_types;
  RequestLimits limits;
  SearchOptions search = {};          // where a request says nothing else
  size_t user_vector_memo_bytes = 0;  // of each thread that answers; 0: off
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
  RecallSampler* recall = nullptr;  // null: no answer is sampled
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SERVICE_CORE_H_
