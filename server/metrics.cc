#include "server/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/gauge.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "server/allocator_stats.h"
#include "server/version.h"

namespace swiftlet {
namespace {

constexpr std::array<const char*, 4> kSourceNames = {"history", "long_term", "context", "popular"};

constexpr std::array<const char*, kNumSearchMethods> kSearchMethodNames = {"Recommend", "SimilarItems"};
constexpr std::array<const char*, kNumWriteRefusals> kWriteRefusalNames = {"queue_full", "stalled",
                                                                           "disk_full"};
// The statuses of answers over HTTP; 0: any other.
constexpr std::array<int, 19> kHttpStatuses = {0,   200, 400, 401, 403, 404, 405, 409, 413, 415,
                                               421, 429, 431, 499, 500, 501, 503, 504, 505};
constexpr std::array<const char*, kNumReloads> kReloadNames = {"tls", "tokens", "configuration"};
constexpr std::array<const char*, kNumBackupResults> kBackupResultNames = {"ok", "failed", "stopped"};
constexpr std::array<const char*, kNumSampleDrops> kSampleDropNames = {"busy", "swapped"};
// Of Gauges::rocksdb, what only grows, besides stall_us.
constexpr std::array<std::string_view, 4> kRocksdbCounters = {"wal_syncs", "wal_bytes", "block_cache_hits",
                                                              "block_cache_misses"};

// From 20 microseconds up: a request takes well under a millisecond, and its stages a part of that.
const prometheus::Histogram::BucketBoundaries kLatencyBuckets = {
    0.00002, 0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.002, 0.005,
    0.01,    0.02,    0.05,   0.1,    0.25,   0.5,    1,       2.5,   5,     10};
const prometheus::Histogram::BucketBoundaries kStageBuckets = {0.000002, 0.000005, 0.00001, 0.00002, 0.00005,
                                                               0.0001,   0.0002,   0.0005,  0.001,   0.002,
                                                               0.005,    0.01,     0.05,    0.25,    1};
const prometheus::Histogram::BucketBoundaries kLoadBuckets = {0.01, 0.05, 0.1, 0.25, 0.5, 1,
                                                              2.5,  5,    10,  30,   60};
const prometheus::Histogram::BucketBoundaries kRecallBuckets = {0,    0.25, 0.5,  0.7,   0.8,   0.9,
                                                                0.95, 0.98, 0.99, 0.995, 0.999, 1};

}  // namespace

int64_t ResidentBytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  long long total = 0, resident = 0;
  const int fields = std::fscanf(file, "%lld %lld", &total, &resident);
  std::fclose(file);
  return fields == 2 ? resident * sysconf(_SC_PAGESIZE) : 0;
}

// What is read at scrape time.
class ServerMetrics::GaugeCollector final : public prometheus::Collectable {
 public:
  explicit GaugeCollector(std::function<int64_t()> now_ms)
      : now_ms_(std::move(now_ms)), start_seconds_(static_cast<double>(now_ms_()) / 1000) {}

  void SetSource(std::function<Gauges()> source) {
    MutexLock lock(mu_);
    source_ = std::move(source);
  }

  std::vector<prometheus::MetricFamily> Collect() const override {
    MutexLock lock(mu_);
    const Gauges g = source_ ? source_() : Gauges();
    std::vector<prometheus::MetricFamily> families;
    auto add = [&](prometheus::MetricType type, std::string name, std::string help, double value) {
      prometheus::ClientMetric metric;
      metric.gauge.value = metric.counter.value = value;
      families.push_back({std::move(name), std::move(help), type, {std::move(metric)}});
    };
    auto gauge = [&](std::string name, std::string help, double value) {
      add(prometheus::MetricType::Gauge, std::move(name), std::move(help), value);
    };
    auto counter = [&](std::string name, std::string help, double value) {
      add(prometheus::MetricType::Counter, std::move(name), std::move(help), value);
    };
    gauge("swiftlet_requests_in_flight", "Requests in progress.", static_cast<double>(g.requests_in_flight));
    gauge("swiftlet_calls_waiting", "Calls that have been read and wait for a thread.",
          static_cast<double>(g.calls_waiting));
    gauge("swiftlet_call_queue_limit", "Calls that may wait for a thread before more are refused.",
          static_cast<double>(g.call_queue_limit));
    gauge("swiftlet_worker_queue_length", "Blocking calls that wait for a worker thread.",
          static_cast<double>(g.worker_queue_length));
    gauge("swiftlet_reader_queue_length", "Calls that wait for a thread to read a user from disk.",
          static_cast<double>(g.reader_queue_length));
    gauge("swiftlet_pending_writes", "RecordEvents calls that wait for their commit or are in it.",
          static_cast<double>(g.pending_writes));
    counter("swiftlet_connections_refused_total",
            "Connections that were closed at once because there were too many.",
            static_cast<double>(g.connections_refused));
    gauge("swiftlet_http_connections", "Connections of HTTP that are open.",
          static_cast<double>(g.http_connections));
    counter("swiftlet_http_connections_refused_total",
            "Connections of HTTP that were closed because there were too many.",
            static_cast<double>(g.http_connections_refused));
    gauge("swiftlet_tls_certificate_expiry_timestamp_seconds",
          "When the TLS certificate in use expires; 0: there is none.",
          static_cast<double>(g.certificate_expiry_seconds));
    gauge("swiftlet_backup_last_success_timestamp_seconds",
          "When the newest backup was made; 0: there is none.",
          static_cast<double>(g.backup.last_success_ms) / 1000);
    gauge("swiftlet_backup_last_duration_seconds",
          "Time that the newest backup took; 0: none since the server started.", g.backup.last_seconds);
    gauge("swiftlet_backup_last_size_bytes", "Size of the newest backup.",
          static_cast<double>(g.backup.last_bytes));
    gauge("swiftlet_backup_expected_interval_seconds",
          "How often there ought to be a new backup (backup.expected_every_hours); 0: never.",
          static_cast<double>(g.backup.expected_every_seconds));
    gauge("swiftlet_backup_running", "1 while a backup is being made or verified.", g.backup.running ? 1 : 0);
    gauge("swiftlet_storage_writable", "0 from a failed write of the store until one succeeds again, else 1.",
          g.storage_writable ? 1 : 0);
    counter("swiftlet_user_cache_hits_total", "Users found in the cache.",
            static_cast<double>(g.user_cache.hits));
    counter("swiftlet_user_cache_misses_total", "Users read from the store.",
            static_cast<double>(g.user_cache.misses));
    counter("swiftlet_user_cache_evictions_total", "Users dropped from the cache to keep its budget.",
            static_cast<double>(g.user_cache.evictions));
    gauge("swiftlet_user_cache_entries", "Users in the cache.", static_cast<double>(g.user_cache.entries));
    gauge("swiftlet_user_cache_bytes", "Bytes of the user cache.", static_cast<double>(g.user_cache.bytes));
    gauge("swiftlet_snapshot_version", "Version of the serving snapshot; 0: none.",
          static_cast<double>(g.snapshot_version));
    gauge("swiftlet_snapshot_created_timestamp_seconds", "When the serving snapshot was made.",
          static_cast<double>(g.snapshot_created_ms) / 1000);
    gauge("swiftlet_snapshot_loaded_timestamp_seconds", "When the serving snapshot began to serve.",
          static_cast<double>(g.snapshot_loaded_ms) / 1000);
    gauge("swiftlet_snapshot_age_seconds", "Time since the serving snapshot was made; 0: none serves.",
          g.snapshot_version == 0
              ? 0
              : std::max(0.0, static_cast<double>(now_ms_() - g.snapshot_created_ms) / 1000));
    gauge("swiftlet_snapshot_items", "Items of the serving snapshot.", static_cast<double>(g.snapshot_items));
    gauge("swiftlet_snapshots_resident", "Snapshots in memory: the serving and the draining one.",
          static_cast<double>(g.snapshots_resident));
    gauge("swiftlet_overlay_items", "Items changed, added or deleted over the serving snapshot.",
          static_cast<double>(g.overlay_items));
    gauge("swiftlet_items_without_vector", "Known items that have no vector in the serving snapshot's space.",
          static_cast<double>(g.items_without_vector));
    gauge("swiftlet_items_with_category_vector",
          "Items that the serving snapshot does not have, with the mean of their categories for a vector.",
          static_cast<double>(g.items_with_category_vector));
    for (const auto& [name, value] : g.rocksdb) {
      if (name == "stall_us") {
        counter("swiftlet_rocksdb_stall_seconds_total", "Time that writes were held back by RocksDB.",
                static_cast<double>(value) / 1e6);
      } else if (std::count(kRocksdbCounters.begin(), kRocksdbCounters.end(), name) > 0) {
        counter("swiftlet_rocksdb_" + name + "_total", "RocksDB ticker.", static_cast<double>(value));
      } else {
        gauge("swiftlet_rocksdb_" + name, "RocksDB property.", static_cast<double>(value));
      }
    }
    auto disk_gauge = [&](std::string name, std::string help, uint64_t DiskSpace::*field) {
      prometheus::MetricFamily family = {std::move(name), std::move(help), prometheus::MetricType::Gauge, {}};
      for (const auto& [what, disk] : g.disks) {
        prometheus::ClientMetric metric;
        metric.label = {{"directory", what}};
        metric.gauge.value = static_cast<double>(disk.*field);
        family.metric.push_back(std::move(metric));
      }
      families.push_back(std::move(family));
    };
    disk_gauge("swiftlet_disk_available_bytes",
               "Bytes that are left on the file system of the data or the model directory.",
               &DiskSpace::available);
    disk_gauge("swiftlet_disk_size_bytes",
               "Bytes of the file system of the data or the model directory, used or not.", &DiskSpace::size);
    const ProcessStats process = ReadProcessStats();
    counter("process_cpu_seconds_total", "User and system CPU time of the process in seconds.",
            process.cpu_seconds);
    gauge("process_open_fds", "Open file descriptors, connections among them.",
          static_cast<double>(process.open_fds));
    gauge("process_max_fds", "Most file descriptors that may be open.", static_cast<double>(process.max_fds));
    gauge("process_resident_memory_bytes", "Resident memory size in bytes.",
          static_cast<double>(ResidentBytes()));
    if (const std::optional<AllocatorStats> heap = ReadAllocatorStats(); heap.has_value()) {
      gauge("swiftlet_heap_allocated_bytes", "Bytes of the heap in use.",
            static_cast<double>(heap->allocated));
      gauge("swiftlet_heap_active_bytes", "Bytes of heap pages with anything in use.",
            static_cast<double>(heap->active));
      gauge("swiftlet_heap_resident_bytes",
            "Bytes of heap pages in memory, with those that wait to be given back.",
            static_cast<double>(heap->resident));
    }
    gauge("process_start_time_seconds", "Start time of the process since the Unix epoch.", start_seconds_);
    return families;
  }

 private:
  const std::function<int64_t()> now_ms_;
  const double start_seconds_;
  mutable Mutex mu_;
  std::function<Gauges()> source_ ABSL_GUARDED_BY(mu_);
};

ServerMetrics::ServerMetrics(std::string cpu_target, std::function<int64_t()> now_ms)
    : registry_(std::make_shared<prometheus::Registry>()),
      gauges_(std::make_shared<GaugeCollector>(std::move(now_ms))) {
  auto& requests = prometheus::BuildCounter()
                       .Name("swiftlet_requests_total")
                       .Help("Calls answered, by method and status code.")
                       .Register(*registry_);
  auto& request_seconds = prometheus::BuildHistogram()
                              .Name("swiftlet_request_seconds")
                              .Help("Time in the server, from the decoded call to the encoded answer.")
                              .Register(*registry_);
  auto& refusals = prometheus::BuildCounter()
                       .Name("swiftlet_refused_total")
                       .Help("Calls that were answered without any work, by method and reason.")
                       .Register(*registry_);
  for (size_t m = 0; m < kNumMethods; ++m) {
    const std::string method(kMethodNames[m]);
    for (size_t r = 0; r < kNumRefusals; ++r) {
      refusals_[m][r] = &refusals.Add({{"method", method}, {"reason", kRefusalNames[r]}});
    }
    for (int code = 0; code < 17; ++code) {
      requests_[m][code] = &requests.Add(
          {{"method", method}, {"code", absl::StatusCodeToString(static_cast<absl::StatusCode>(code))}});
    }
    request_seconds_[m] = &request_seconds.Add({{"method", method}}, kLatencyBuckets);
  }
  queue_seconds_ = &prometheus::BuildHistogram()
                        .Name("swiftlet_queue_seconds")
                        .Help("Time that calls waited for a thread after they were read.")
                        .Register(*registry_)
                        .Add({}, kLatencyBuckets);
  auto& stages = prometheus::BuildHistogram()
                     .Name("swiftlet_stage_seconds")
                     .Help("Time of one stage of a call.")
                     .Register(*registry_);
  for (size_t s = 0; s < kNumStages; ++s) {
    stage_seconds_[s] = &stages.Add({{"stage", kStageNames[s]}}, kStageBuckets);
  }
  auto& answers = prometheus::BuildCounter()
                      .Name("swiftlet_recommend_answers_total")
                      .Help("Answers of Recommend, by what the user vector was made of.")
                      .Register(*registry_);
  for (size_t s = 0; s < answers_.size(); ++s) answers_[s] = &answers.Add({{"source", kSourceNames[s]}});
  user_vectors_reused_ =
      &prometheus::BuildCounter()
           .Name("swiftlet_user_vectors_reused_total")
           .Help("Answers of Recommend by a user vector that had been made for an earlier request.")
           .Register(*registry_)
           .Add({});
  auto add_by_method = [&](const char* name, const char* help,
                           std::array<prometheus::Counter*, kNumSearchMethods>& counters) {
    auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(*registry_);
    for (size_t m = 0; m < kNumSearchMethods; ++m) {
      counters[m] = &family.Add({{"method", kSearchMethodNames[m]}});
    }
  };
  add_by_method("swiftlet_answers_not_proven_exact_total",
                "Answers of searches that were approximate, or that a budget ended.", not_proven_);
  add_by_method("swiftlet_search_rows_scanned_total", "Items of which a search read anything.",
                rows_scanned_);
  add_by_method("swiftlet_search_rows_scored_total", "Items that a search scored from their whole vectors.",
                rows_scored_);
  auto& recall = prometheus::BuildHistogram()
                     .Name("swiftlet_recall_at_k")
                     .Help(
                         "Share of the k best items that an answer held, of sampled answers that were made "
                         "once more by a full scan.")
                     .Register(*registry_);
  for (size_t m = 0; m < kNumSearchMethods; ++m) {
    recall_[m] = &recall.Add({{"method", kSearchMethodNames[m]}}, kRecallBuckets);
  }
  auto& drops = prometheus::BuildCounter()
                    .Name("swiftlet_recall_samples_dropped_total")
                    .Help("Sampled answers whose recall was not measured, by reason.")
                    .Register(*registry_);
  for (size_t r = 0; r < kNumSampleDrops; ++r) {
    sample_drops_[r] = &drops.Add({{"reason", kSampleDropNames[r]}});
  }
  auto& write_refusals = prometheus::BuildCounter()
                             .Name("swiftlet_write_refusals_total")
                             .Help("Writes of events that were refused, by reason.")
                             .Register(*registry_);
  for (size_t r = 0; r < kNumWriteRefusals; ++r) {
    write_refusals_[r] = &write_refusals.Add({{"reason", kWriteRefusalNames[r]}});
  }
  auto counter = [&](const char* name, const char* help) {
    return &prometheus::BuildCounter().Name(name).Help(help).Register(*registry_).Add({});
  };
  events_recorded_ = counter("swiftlet_events_recorded_total", "Events stored.");
  event_duplicates_ = counter("swiftlet_event_duplicates_total", "Events that were stored before.");
  items_upserted_ = counter("swiftlet_items_upserted_total", "Items upserted.");
  items_deleted_ = counter("swiftlet_items_deleted_total", "Items deleted.");
  auto& reloads =
      prometheus::BuildCounter()
          .Name("swiftlet_reloads_total")
          .Help(
              "Changed files of TLS, of tokens and of the configuration that were taken up again, or "
              "refused.")
          .Register(*registry_);
  for (size_t r = 0; r < kNumReloads; ++r) {
    for (const bool ok : {false, true}) {
      reloads_[r][ok] = &reloads.Add({{"what", kReloadNames[r]}, {"result", ok ? "ok" : "failed"}});
    }
  }
  auto& http = prometheus::BuildCounter()
                   .Name("swiftlet_http_responses_total")
                   .Help("Answers over HTTP, by status; calls also count in swiftlet_requests_total.")
                   .Register(*registry_);
  for (const int status : kHttpStatuses) {
    http_responses_[status] = &http.Add({{"status", status == 0 ? "other" : absl::StrCat(status)}});
  }
  http_seconds_ = &prometheus::BuildHistogram()
                       .Name("swiftlet_http_request_seconds")
                       .Help("Time from the first byte of a request over HTTP to the answer.")
                       .Register(*registry_)
                       .Add({}, kLatencyBuckets);
  http_timeouts_ =
      counter("swiftlet_http_timeouts_total",
              "Connections that were closed because a request or an answer took too long to get through.");
  const auto add_backups = [&](BackupWork work, const char* name, const char* help) {
    auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(*registry_);
    for (size_t r = 0; r < kNumBackupResults; ++r) {
      backups_[static_cast<size_t>(work)][r] = &family.Add({{"result", kBackupResultNames[r]}});
    }
  };
  add_backups(BackupWork::kCreate, "swiftlet_backups_total",
              "Backups that were made, or not: they failed, or the caller or the server's end stopped them.");
  add_backups(BackupWork::kVerify, "swiftlet_backup_verifications_total",
              "Backups that were read and found whole or damaged (failed), or the caller or the server's end "
              "stopped it.");
  auto& loads = prometheus::BuildCounter()
                    .Name("swiftlet_snapshot_loads_total")
                    .Help("Snapshots that were loaded, or refused.")
                    .Register(*registry_);
  snapshot_loads_ok_ = &loads.Add({{"result", "ok"}});
  snapshot_loads_failed_ = &loads.Add({{"result", "failed"}});
  snapshot_load_seconds_ = &prometheus::BuildHistogram()
                                .Name("swiftlet_snapshot_load_seconds")
                                .Help("Time from the start of a load to serving, or to its refusal.")
                                .Register(*registry_)
                                .Add({}, kLoadBuckets);
  prometheus::BuildGauge()
      .Name("swiftlet_build_info")
      .Help("1, with the server's version and SIMD target.")
      .Register(*registry_)
      .Add({{"version", kServerVersion}, {"cpu_target", std::move(cpu_target)}})
      .Set(1);
}

ServerMetrics::~ServerMetrics() = default;

void ServerMetrics::CountRequest(Method method, absl::StatusCode code, absl::Duration latency) {
  const size_t m = static_cast<size_t>(method);
  const int c = static_cast<int>(code);
  requests_[m][c >= 0 && c < 17 ? c : static_cast<int>(absl::StatusCode::kUnknown)]->Increment();
  request_seconds_[m]->Observe(absl::ToDoubleSeconds(latency));
}

void ServerMetrics::ObserveQueue(absl::Duration waited) {
  queue_seconds_->Observe(absl::ToDoubleSeconds(waited));
}

void ServerMetrics::CountRefusal(Method method, Refusal reason) {
  refusals_[static_cast<size_t>(method)][static_cast<size_t>(reason)]->Increment();
}

void ServerMetrics::ObserveStage(Stage stage, absl::Duration latency) {
  stage_seconds_[static_cast<size_t>(stage)]->Observe(absl::ToDoubleSeconds(latency));
}

void ServerMetrics::CountSource(ItemSource source) { answers_[static_cast<size_t>(source)]->Increment(); }

void ServerMetrics::CountUserVectorReused() { user_vectors_reused_->Increment(); }

void ServerMetrics::CountSearch(SearchMethod method, const RetrievalStats& stats) {
  const size_t m = static_cast<size_t>(method);
  if (!stats.proven_exact) not_proven_[m]->Increment();
  rows_scanned_[m]->Increment(static_cast<double>(stats.rows_scanned));
  rows_scored_[m]->Increment(static_cast<double>(stats.rows_scored));
}

void ServerMetrics::ObserveRecall(SearchMethod method, double recall) {
  recall_[static_cast<size_t>(method)]->Observe(recall);
}

void ServerMetrics::CountSampleDrop(SampleDrop reason) {
  sample_drops_[static_cast<size_t>(reason)]->Increment();
}

void ServerMetrics::CountEvents(uint32_t recorded, uint32_t duplicates) {
  events_recorded_->Increment(recorded);
  event_duplicates_->Increment(duplicates);
}

void ServerMetrics::CountWriteRefusal(WriteRefusal reason) {
  write_refusals_[static_cast<size_t>(reason)]->Increment();
}

void ServerMetrics::CountSnapshotLoad(bool ok, absl::Duration duration) {
  (ok ? snapshot_loads_ok_ : snapshot_loads_failed_)->Increment();
  snapshot_load_seconds_->Observe(absl::ToDoubleSeconds(duration));
}

void ServerMetrics::CountCatalogChanges(uint64_t upserted, uint64_t deleted) {
  items_upserted_->Increment(static_cast<double>(upserted));
  items_deleted_->Increment(static_cast<double>(deleted));
}

void ServerMetrics::CountReload(Reload what, bool ok) {
  reloads_[static_cast<size_t>(what)][ok]->Increment();
}

void ServerMetrics::CountHttp(int status, absl::Duration latency) {
  const auto found = http_responses_.find(status);
  (found == http_responses_.end() ? http_responses_.at(0) : found->second)->Increment();
  http_seconds_->Observe(absl::ToDoubleSeconds(latency));
}

void ServerMetrics::CountHttpTimeout() { http_timeouts_->Increment(); }

void ServerMetrics::CountBackup(BackupWork work, BackupResult result) {
  backups_[static_cast<size_t>(work)][static_cast<size_t>(result)]->Increment();
}

std::string ServerMetrics::Text() const {
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  for (prometheus::MetricFamily& family : gauges_->Collect()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

void ServerMetrics::SetGaugeSource(std::function<Gauges()> source) { gauges_->SetSource(std::move(source)); }
void ServerMetrics::ClearGaugeSource() { gauges_->SetSource(nullptr); }

}  // namespace swiftlet
