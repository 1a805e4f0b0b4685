// Ingest beside RocksDB's own write batches, and reads of users that are not in the cache. The data directory
// is made below $TMPDIR: on the disk that is to be measured.
#include "storage/database.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rocksdb/db.h"
#include "rocksdb/perf_context.h"
#include "rocksdb/write_batch.h"
#include "storage/coding.h"
#include "storage/schema.h"
#include "storage/user_cache.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kNow = 1'700'000'000'000;
constexpr size_t kEventsPerCall = 64;
constexpr uint64_t kUsers = 100'000, kItems = 10'000;

void Check(bool ok, const std::string& what) {
  if (ok) return;
  std::fprintf(stderr, "database_bench: %s\n", what.c_str());
  std::abort();
}
void Check(const absl::Status& status) { Check(status.ok(), std::string(status.message())); }
void Check(const rocksdb::Status& status) { Check(status.ok(), status.ToString()); }

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }
double Median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + static_cast<ptrdiff_t>(x.size() / 2), x.end());
  return x[x.size() / 2];
}

// Events of one caller.
class Caller {
 public:
  explicit Caller(uint64_t seed) : random_(seed) {}
  std::vector<EventRecord> Next() {
    std::vector<EventRecord> events;
    for (size_t i = 0; i < kEventsPerCall; ++i) {
      events.push_back({.user_id = absl::StrCat("user-", random_() % kUsers),
                        .item_id = absl::StrCat("item-", random_() % kItems),
                        .event_id = absl::StrCat("event-", random_()),
                        .timestamp_ms = kNow + static_cast<int64_t>(random_() % 1000),
                        .value = 1,
                        .type = 1});
    }
    return events;
  }

 private:
  std::mt19937_64 random_;
};

// Calls write(caller, events) from `callers` threads for a while. Returns calls a second.
double Rate(int callers, const std::function<void(int, const std::vector<EventRecord>&)>& write) {
  static std::atomic<uint64_t> seed{1};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> calls{0};
  std::vector<std::thread> threads;
  const Clock::time_point start = Clock::now();
  for (int t = 0; t < callers; ++t) {
    threads.emplace_back([&, t] {
      Caller caller(seed.fetch_add(1));
      while (!stop.load(std::memory_order_relaxed)) {
        write(t, caller.Next());
        calls.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  stop.store(true);
  for (std::thread& t : threads) t.join();
  return static_cast<double>(calls.load()) / Seconds(Clock::now() - start);
}

// RocksDB by itself, with the families and options of the database; or all bytes put into one family.
class RawDatabase {
 public:
  explicit RawDatabase(const std::string& path) {
    rocksdb::DBOptions options = DatabaseOptionsOfRocksDb();
    options.create_if_missing = options.create_missing_column_families = true;
    const FamilySettings settings = {.block_cache = rocksdb::NewLRUCache(size_t{64} << 20),
                                     .max_history_events = 200,
                                     .idempotency_window_ms = int64_t{24} * 3600 * 1000,
                                     .event_id_cutoff_ms = nullptr};
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const char* name : {"default", kUsersFamily, kEventsFamily, kEventIdsFamily}) {
      families.emplace_back(name, FamilyOptions(name, settings));
    }
    rocksdb::DB* raw = nullptr;
    Check(rocksdb::DB::Open(options, path, families, &handles_, &raw));
    db_.reset(raw);
  }
  ~RawDatabase() {
    for (auto* handle : handles_) db_->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  }
  void Write(const std::vector<EventRecord>& events, bool one_family) {
    rocksdb::WriteBatch batch;
    std::string arrival;
    PutFixed<int64_t>(kNow, &arrival);
    for (const EventRecord& e : events) {
      const std::string key = EncodeKey64(next_.fetch_add(1, std::memory_order_relaxed));
      const std::string value = EncodeEventRecord(kNow, e);
      const std::string history = EncodeHistory({{{.item_key = ItemKeyOf(e.item_id),
                                                   .timestamp_ms = e.timestamp_ms,
                                                   .value = e.value,
                                                   .type = e.type}}});
      if (one_family) {
        batch.Put(handles_[0], key, value);
        batch.Put(handles_[0], e.event_id, arrival);
        batch.Put(handles_[0], e.user_id, history);
      } else {
        batch.Put(handles_[2], key, value);
        batch.Put(handles_[3], e.event_id, arrival);
        batch.Merge(handles_[1], e.user_id, history);
      }
    }
    rocksdb::WriteOptions options;
    options.sync = true;
    Check(db_->Write(options, &batch));
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
  std::atomic<uint64_t> next_{1};
};

// Calls of 64 events a second, synced, at 1, 4 and 16 callers. raw: RocksDB's write batches with the same
// records in the same families; raw_put: all put into one family; db: Database::RecordEvents; cache: through
// the user cache, as the server calls it. Medians of rounds that take turns.
void BM_Ingest(benchmark::State& state) {
  const int callers = static_cast<int>(state.range(0));
  constexpr int kRounds = 5;
  testing::TempDir dir;
  RawDatabase raw(dir.File("raw")), raw_put(dir.File("raw_put"));
  const auto open = [&](const char* name) {
    auto db = Database::Open({.path = dir.File(name)}, EventTypeTable::Default());
    Check(db.status());
    return *std::move(db);
  };
  const std::unique_ptr<Database> db = open("db"), cached_db = open("cached_db");
  UserCache cache(cached_db.get(), {});
  CachedUser user;
  for (uint64_t u = 0; u < kUsers; ++u) Check(cache.Get(absl::StrCat("user-", u), {}, &user));
  std::vector<double> raw_rates, put_rates, db_rates, cache_rates;
  for (auto _ : state) {
    for (int round = 0; round <= kRounds; ++round) {
      const double r = Rate(callers, [&](int, const auto& events) { raw.Write(events, false); });
      const double p = Rate(callers, [&](int, const auto& events) { raw_put.Write(events, true); });
      const double d =
          Rate(callers, [&](int, const auto& events) { Check(db->RecordEvents(events, kNow).status()); });
      const double c =
          Rate(callers, [&](int, const auto& events) { Check(cache.RecordEvents(events, kNow).status()); });
      if (round == 0) continue;  // items are new, files are small
      raw_rates.push_back(r);
      put_rates.push_back(p);
      db_rates.push_back(d);
      cache_rates.push_back(c);
    }
  }
  const double raw_rate = Median(raw_rates);
  state.counters["raw"] = raw_rate;
  state.counters["raw_put"] = Median(put_rates);
  state.counters["db"] = Median(db_rates);
  state.counters["cache"] = Median(cache_rates);
  state.counters["db/raw"] = Median(db_rates) / raw_rate;
  state.counters["cache/raw"] = Median(cache_rates) / raw_rate;
  const auto stats = cached_db->Stats().properties;
  state.counters["syncs/call"] = static_cast<double>(stats.at("wal_syncs")) *
                                 static_cast<double>(kEventsPerCall) /
                                 static_cast<double>(stats.at("events_estimate"));
}
BENCHMARK(BM_Ingest)
    ->Arg(1)
    ->Arg(4)
    ->Arg(16)
    ->ArgName("callers")
    ->Iterations(1)
    ->Unit(benchmark::kSecond)
    ->UseRealTime();

constexpr int kColdUsers = 2000, kHistory = 50;
// Of blocks: much smaller than the tables.
constexpr int64_t kSmallCache = int64_t{8} << 20;

// blocks: read from tables that were not in the block cache, a get.
void ReadColdUsers(Database& db, benchmark::State& state) {
  std::vector<HistoryEvent> history;
  size_t u = 0;
  rocksdb::SetPerfLevel(rocksdb::PerfLevel::kEnableCount);
  rocksdb::get_perf_context()->Reset();
  for (auto _ : state) {
    Check(db.ReadHistory(absl::StrCat("cold-", u++ % kColdUsers), &history));
    Check(history.size() == kHistory, "events are missing");
  }
  const rocksdb::PerfContext& perf = *rocksdb::get_perf_context();
  const auto per_get = [&](uint64_t n) {
    return static_cast<double>(n) / static_cast<double>(state.iterations());
  };
  state.counters["blocks"] = per_get(perf.block_read_count);
  state.counters["block_bytes"] = per_get(perf.block_read_byte);
  state.counters["cached_blocks"] = per_get(perf.block_cache_hit_count);
}

// Opening writes what is in the log to tables.
std::unique_ptr<Database> Reopen(std::unique_ptr<Database> db, const std::string& path) {
  db.reset();
  auto opened = Database::Open({.path = path, .block_cache_bytes = kSmallCache, .sync_writes = false},
                               EventTypeTable::Default());
  Check(opened.status());
  return *std::move(opened);
}

// One user's 50 events, written by 50 calls: in the memtable (0), or in tables, with those of many other
// users between (1). Beside it BM_PlainGet.
void BM_ColdUser(benchmark::State& state) {
  const bool flushed = state.range(0) != 0;
  testing::TempDir dir;
  auto opened =
      Database::Open({.path = dir.File("db"), .block_cache_bytes = kSmallCache, .sync_writes = false},
                     EventTypeTable::Default());
  Check(opened.status());
  std::unique_ptr<Database> db = *std::move(opened);
  std::mt19937_64 random(1);
  for (int i = 0; i < kHistory; ++i) {
    for (int u = 0; u < kColdUsers; ++u) {
      const EventRecord event = {.user_id = absl::StrCat("cold-", u),
                                 .item_id = absl::StrCat("item-", random() % kItems),
                                 .event_id = {},
                                 .timestamp_ms = kNow + i,
                                 .value = 1,
                                 .type = 1};
      Check(db->RecordEvents({&event, 1}, kNow).status());
    }
    // Other users, then to a table file, eight times in all.
    if (flushed && i % 6 == 5) {
      for (int u = 0; u < 1000; ++u) {
        std::vector<EventRecord> events;
        for (int e = 0; e < 100; ++e) {
          events.push_back({.user_id = absl::StrCat("other-", random() % 300'000),
                            .item_id = absl::StrCat("item-", random() % kItems),
                            .event_id = {},
                            .timestamp_ms = kNow,
                            .value = 1,
                            .type = 1});
        }
        Check(db->RecordEvents(events, kNow).status());
      }
      db = Reopen(std::move(db), dir.File("db"));
    }
  }
  ReadColdUsers(*db, state);
}
BENCHMARK(BM_ColdUser)->Arg(0)->Arg(1)->ArgName("flushed")->Unit(benchmark::kMicrosecond);

// What a history costs that was written at once: one value, in the memtable (0) or in a table file (1).
void BM_PlainGet(benchmark::State& state) {
  const bool flushed = state.range(0) != 0;
  testing::TempDir dir;
  auto opened =
      Database::Open({.path = dir.File("db"), .block_cache_bytes = kSmallCache, .sync_writes = false},
                     EventTypeTable::Default());
  Check(opened.status());
  std::unique_ptr<Database> db = *std::move(opened);
  for (int u = 0; u < kColdUsers; ++u) {
    std::vector<EventRecord> events;
    for (int i = 0; i < kHistory; ++i) {
      events.push_back({.user_id = absl::StrCat("cold-", u),
                        .item_id = absl::StrCat("item-", i * 7 + u),
                        .event_id = {},
                        .timestamp_ms = kNow + i,
                        .value = 1,
                        .type = 1});
    }
    Check(db->RecordEvents(events, kNow).status());
  }
  if (flushed) db = Reopen(std::move(db), dir.File("db"));
  ReadColdUsers(*db, state);
}
BENCHMARK(BM_PlainGet)->Arg(0)->Arg(1)->ArgName("flushed")->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace swiftlet

BENCHMARK_MAIN();
