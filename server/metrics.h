// Every series of the server, created at start-up. No series is labelled by user, item or version.
#ifndef SWIFTLET_SERVER_METRICS_H_
#define SWIFTLET_SERVER_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/recommender.h"
#include "server/method.h"
#include "server/process_stats.h"
#include "storage/user_cache.h"

namespace swiftlet {

// Of the API's methods, those that search.
enum class SearchMethod : uint8_t { kRecommend, kSimilarItems };
inline constexpr size_t kNumSearchMethods = 2;

// Why a sample of an answer was not measured.
enum class SampleDrop : uint8_t {
  kBusy,     // others were being measured, or had taken all the time that measuring may take
  kSwapped,  // another snapshot serves by now
};
inline constexpr size_t kNumSampleDrops = 2;

// Why a write of events was refused.
enum class WriteRefusal : uint8_t {
  kQueueFull,  // storage.max_pending_writes
  kStalled,    // RocksDB has stopped writes until its compactions catch up
  kDiskFull,
};
inline constexpr size_t kNumWriteRefusals = 3;

// Why a call was answered without any work.
enum class Refusal : uint8_t {
  kShuttingDown,
  kConcurrency,    // limits.max_concurrent_requests
  kMethodLimit,    // limits.methods
  kQueueLimit,     // too many calls wait for a thread
  kDeadlineShort,  // its deadline would pass while it waits
  kDeadlinePassed,
  kCancelled,
  kNoToken,  // security.token_file, as the next three
  kUnknownToken,
  kExpiredToken,
  kRole,
  kRateLimit,  // security.rate_limit
};
inline constexpr std::array<const char*, 12> kRefusalNames = {
    "shutting_down",      "max_concurrent_requests", "method_limit", "queue_limit",
    "deadline_too_short", "deadline_passed",         "cancelled",    "no_token",
    "unknown_token",      "expired_token",           "role",         "rate_limit"};
inline constexpr size_t kNumRefusals = kRefusalNames.size();

// What is taken up again when its files change, or by SIGHUP (the configuration).
enum class Reload : uint8_t { kTls, kTokens, kConfiguration };
inline constexpr size_t kNumReloads = 3;

// What is done to backups, and how it ended.
enum class BackupWork : uint8_t { kCreate, kVerify };
inline constexpr size_t kNumBackupWorks = 2;
enum class BackupResult : uint8_t {
  kOk,
  kFailed,
  kStopped,  // by the caller, or the server's end
};
inline constexpr size_t kNumBackupResults = 3;

// Of the backups in the server's directory.
struct BackupGauges {
  int64_t last_success_ms = 0;  // since 1970; 0: there is none
  double last_seconds = 0;      // that it took; 0: made before the server started
  uint64_t last_bytes = 0;
  int64_t expected_every_seconds = 0;  // 0: nobody waits for one
  bool running = false;
};

// pool_wait: for a thread that may block, of calls that need one. store: what a call other than a
// recommendation reads from the store, or writes to it and to disk.
enum class Stage : uint8_t { kPoolWait, kUserState, kEncodeRetrieve, kRespond, kStore };
inline constexpr std::array<const char*, 5> kStageNames = {"pool_wait", "user_state", "encode_retrieve",
                                                           "respond", "store"};
inline constexpr size_t kNumStages = kStageNames.size();

// Facts that are read when Prometheus asks.
struct Gauges {
  int64_t requests_in_flight = 0;
  int64_t calls_waiting = 0;
  int64_t call_queue_limit = 0;
  uint64_t worker_queue_length = 0;
  uint64_t reader_queue_length = 0;
  int64_t pending_writes = 0;
  uint64_t connections_refused = 0;
  int64_t http_connections = 0;
  uint64_t http_connections_refused = 0;   // http.max_connections; or an idle one given up for another
  int64_t certificate_expiry_seconds = 0;  // since 1970; 0: there is none
  bool storage_writable = true;
  UserCacheStats user_cache;
  int64_t snapshot_version = 0;  // 0: none serves
  int64_t snapshot_created_ms = 0;
  int64_t snapshot_loaded_ms = 0;
  uint64_t snapshot_items = 0;
  uint64_t snapshots_resident = 0;
  uint64_t overlay_items = 0;
  uint64_t items_without_vector = 0;
  uint64_t items_with_category_vector = 0;
  BackupGauges backup;
  std::map<std::string, uint64_t> rocksdb;  // DatabaseStats::properties
  std::map<std::string, DiskSpace> disks;   // by what is on them: "data", "models"
};

// Thread-safe.
class ServerMetrics {
 public:
  // now_ms: the wall clock, for ages.
  ServerMetrics(std::string cpu_target, std::function<int64_t()> now_ms);
  ~ServerMetrics();

  void CountRequest(Method method, absl::StatusCode code, absl::Duration latency);
  // Every call: how long it waited for a thread.
  void ObserveQueue(absl::Duration waited);
  void CountRefusal(Method method, Refusal reason);
  void ObserveStage(Stage stage, absl::Duration latency);
  void CountSource(ItemSource source);
  void CountUserVectorReused();
  void CountSearch(SearchMethod method, const RetrievalStats& stats);
  // recall: in [0, 1].
  void ObserveRecall(SearchMethod method, double recall);
  void CountSampleDrop(SampleDrop reason);
  void CountEvents(uint32_t recorded, uint32_t duplicates);
  void CountWriteRefusal(WriteRefusal reason);
  void CountSnapshotLoad(bool ok, absl::Duration duration);
  void CountCatalogChanges(uint64_t upserted, uint64_t deleted);
  void CountReload(Reload what, bool ok);
  // An answer over HTTP: its status, and the time since the request's first byte.
  void CountHttp(int status, absl::Duration latency);
  // A connection that was closed because a request or an answer took too long to get through.
  void CountHttpTimeout();
  void CountBackup(BackupWork work, BackupResult result);

  // Called when Prometheus asks, on a thread of the HTTP server. Must stay valid until ClearGaugeSource.
  void SetGaugeSource(std::function<Gauges()> source);
  void ClearGaugeSource();

  // The exposition, as GET /metrics answers it (http/metrics_page.h, http/api_gateway.h).
  std::string Text() const;
  static constexpr char kTextType[] = "text/plain; version=0.0.4; charset=utf-8";

 private:
  class GaugeCollector;

  std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<GaugeCollector> gauges_;
  std::array<std::array<prometheus::Counter*, 17>, kNumMethods> requests_;
  std::array<prometheus::Histogram*, kNumMethods> request_seconds_;
  std::array<std::array<prometheus::Counter*, kNumRefusals>, kNumMethods> refusals_;
  prometheus::Histogram* queue_seconds_;
  std::array<prometheus::Histogram*, kNumStages> stage_seconds_;
  std::array<prometheus::Counter*, 4> answers_;
  prometheus::Counter* user_vectors_reused_;
  std::array<prometheus::Counter*, kNumSearchMethods> not_proven_, rows_scanned_, rows_scored_;
  std::array<prometheus::Histogram*, kNumSearchMethods> recall_;
  std::array<prometheus::Counter*, kNumSampleDrops> sample_drops_;
  std::array<prometheus::Counter*, kNumWriteRefusals> write_refusals_;
  prometheus::Counter* events_recorded_;
  prometheus::Counter* event_duplicates_;
  prometheus::Counter* snapshot_loads_ok_;
  prometheus::Counter* snapshot_loads_failed_;
  prometheus::Histogram* snapshot_load_seconds_;
  prometheus::Counter* items_upserted_;
  prometheus::Counter* items_deleted_;
  std::array<std::array<prometheus::Counter*, 2>, kNumReloads> reloads_;
  std::map<int, prometheus::Counter*> http_responses_;
  prometheus::Histogram* http_seconds_;
  prometheus::Counter* http_timeouts_;
  std::array<std::array<prometheus::Counter*, kNumBackupResults>, kNumBackupWorks> backups_;
};

// Resident memory of this process in bytes; 0 where the system does not say.
int64_t ResidentBytes();

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_METRICS_H_
