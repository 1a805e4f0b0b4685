// The user cache: what a user costs in memory (heap in use, as jemalloc counts it), what a hit costs, and the
// share of hits that Zipf users get with and without a scan running through.
#include "storage/user_cache.h"

#include <benchmark/benchmark.h>

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/allocator_stats.h"
#include "storage/records.h"

namespace swiftlet {
namespace {

constexpr uint32_t kNumEvents = 50;
constexpr int64_t kNow = 1'700'000'000'000;

std::string UserId(uint64_t u) { return absl::StrCat("user-", u); }

// Any number of users, each with its own history of views, clicks and ratings over about a month, made when
// it is read. User ids that do not begin with "user-" are unknown.
class MadeUpStore final : public UserStore {
 public:
  explicit MadeUpStore(uint32_t dim = 0) : dim_(dim) {}
  absl::StatusOr<RecordResult> RecordEvents(std::span<const EventRecord> events, int64_t) override {
    RecordResult result;
    result.num_recorded = static_cast<uint32_t>(events.size());
    for (size_t i = 0; i < events.size(); ++i) result.arrivals.push_back(++arrival_);
    return result;
  }
  absl::Status ReadHistory(std::string_view user_id, std::vector<HistoryEvent>* history) override {
    history->clear();
    if (!user_id.starts_with("user-")) return absl::OkStatus();
    uint64_t state = ItemKeyOf(user_id);
    int64_t time = kNow - int64_t{31} * 24 * 3600 * 1000;
    for (uint32_t i = 0; i < kNumEvents; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      time += static_cast<int64_t>((state >> 33) % 100'000'000);
      const bool rated = (state >> 20) % 4 == 0;
      history->push_back({.item_key = state ^ (state >> 29),
                          .timestamp_ms = time,
                          .value = rated ? static_cast<float>(1 + (state >> 40) % 5) : 0.0f,
                          .type = static_cast<EventTypeId>(rated ? 6 : 1 + (state >> 50) % 2)});
    }
    return absl::OkStatus();
  }
  absl::Status ReadLongTerm(int64_t, std::string_view, std::vector<float>* vector) override {
    vector->assign(dim_, 0.5f);
    return absl::OkStatus();
  }
  absl::Status DeleteUser(std::string_view, int64_t) override { return absl::OkStatus(); }

 private:
  const uint32_t dim_;
  uint64_t arrival_ = 0;
};

uint64_t HeapBytes() {
  const auto stats = ReadAllocatorStats();
  return stats.has_value() ? stats->allocated : 0;
}

bool Fill(UserCache& cache, const std::string& user_id) {
  static CachedUser user;
  return cache.Get(user_id, {}, &user).ok();
}
bool IsHit(UserCache& cache, const std::string& user_id) {
  static CachedUser user;
  return cache.Find(user_id, {}, &user);
}

// heap: bytes a user in the heap; told: by the cache's own account; limit: 1.3 x the history + 160.
void BM_Memory(benchmark::State& state) {
  const int64_t num_users = state.range(0);
  for (auto _ : state) {
    MadeUpStore store;
    const uint64_t before = HeapBytes();
    UserCache cache(&store, {.capacity_bytes = int64_t{4} << 30});
    for (int64_t u = 0; u < num_users; ++u) {
      if (!Fill(cache, UserId(static_cast<uint64_t>(u)))) return state.SkipWithError("cannot fill");
    }
    const double heap = static_cast<double>(HeapBytes() - before);
    const UserCacheStats stats = cache.Stats();
    if (stats.entries != static_cast<uint64_t>(num_users)) return state.SkipWithError("users are missing");
    const double n = static_cast<double>(num_users);
    const double history = kHistoryEventBytes * kNumEvents;
    state.counters["heap"] = heap / n;
    state.counters["told"] = static_cast<double>(stats.bytes) / n;
    state.counters["limit"] = 1.3 * history + 160;
    state.counters["heap/history"] = heap / n / history;
  }
}
BENCHMARK(BM_Memory)->Arg(200'000)->Arg(300'000)->Iterations(1)->Unit(benchmark::kMillisecond);

struct Filled {
  explicit Filled(uint32_t dim) : store(dim) {
    for (uint64_t u = 0; u < kUsers; ++u) {
      ids.push_back(UserId(u));
      CachedUser user;
      cache.Get(ids.back(), UserVectorsId(dim > 0 ? 1 : 0), &user).IgnoreError();
    }
  }
  static constexpr uint64_t kUsers = 100'000;
  MadeUpStore store;
  UserCache cache{&store, {.capacity_bytes = int64_t{1} << 30}};
  std::vector<std::string> ids;
};

// A hit of a random one of 100 users (in the processor's caches) or of 100,000; 50 events; dim 0: no
// long-term vector.
void BM_Find(benchmark::State& state) {
  const auto dim = static_cast<uint32_t>(state.range(0));
  const auto num_users = static_cast<uint64_t>(state.range(1));
  static auto* const without = new Filled(0);
  static auto* const with = new Filled(64);
  Filled& filled = dim == 0 ? *without : *with;
  std::mt19937_64 random(static_cast<uint64_t>(state.thread_index()));
  uint64_t bad = 0, sum = 0;
  CachedUser user;
  for (auto _ : state) {
    const bool found =
        filled.cache.Find(filled.ids[random() % num_users], UserVectorsId(dim > 0 ? 1 : 0), &user);
    bad += !found || user.history.size() != kNumEvents;
    for (const HistoryEvent& e : user.history) sum += e.item_key;  // as an encoder would
  }
  benchmark::DoNotOptimize(sum);
  if (bad > 0) state.SkipWithError("not a hit");
}
BENCHMARK(BM_Find)
    ->ArgsProduct({{0, 64}, {100, 100'000}})
    ->ArgNames({"dim", "users"})
    ->Threads(1)
    ->Threads(2)
    ->UseRealTime();

// Zipf (exponent 1) users of `users`, after Gray et al., "Quickly generating billion-record synthetic
// databases", SIGMOD 1994, with the exponent a little below 1.
class Zipf {
 public:
  explicit Zipf(uint64_t n, double theta = 0.99) : n_(n), theta_(theta) {
    for (uint64_t i = 1; i <= n; ++i) zeta_ += std::pow(1.0 / static_cast<double>(i), theta);
    const double zeta2 = 1 + std::pow(0.5, theta);
    eta_ = (1 - std::pow(2.0 / static_cast<double>(n), 1 - theta)) / (1 - zeta2 / zeta_);
  }
  uint64_t operator()(std::mt19937_64& random) const {
    const double u = std::uniform_real_distribution<double>(0, 1)(random), uz = u * zeta_;
    if (uz < 1) return 0;
    if (uz < 1 + std::pow(0.5, theta_)) return 1;
    return static_cast<uint64_t>(static_cast<double>(n_) * std::pow(eta_ * u - eta_ + 1, 1 / (1 - theta_)));
  }
  // The share of draws that the most frequent `k` get: what no cache of k users can beat for long.
  double Share(uint64_t k) const {
    double sum = 0;
    for (uint64_t i = 1; i <= k; ++i) sum += std::pow(1.0 / static_cast<double>(i), theta_);
    return sum / zeta_;
  }

 private:
  const uint64_t n_;
  const double theta_;
  double zeta_ = 0, eta_ = 0;
};

// 10 million users, 256 MB of cache. hits: of Zipf users. noise: of ten calls, how many are for users that
// are asked for once (scan) or that do not exist (unknown).
void HitRate(benchmark::State& state, const char* prefix) {
  constexpr uint64_t kUsers = 10'000'000;
  static auto* const zipf = new Zipf(kUsers);
  const int64_t noise = state.range(0);
  for (auto _ : state) {
    MadeUpStore store;
    UserCache cache(&store, {.capacity_bytes = int64_t{256} << 20});
    std::mt19937_64 random(1);
    uint64_t calls = 0, hits = 0, hot_calls = 0, hot_hits = 0, next = 0;
    constexpr uint64_t kWarm = 1'500'000, kMeasured = 1'000'000;
    for (uint64_t i = 0; calls < kMeasured; ++i) {
      if (static_cast<int64_t>(i % 10) < noise && i >= kWarm) {
        const std::string user = absl::StrCat(prefix, kUsers + next++);
        if (!IsHit(cache, user)) Fill(cache, user);
        continue;
      }
      const uint64_t rank = (*zipf)(random);
      const std::string user = UserId(rank);
      const bool hit = IsHit(cache, user);
      if (!hit) Fill(cache, user);
      if (i < kWarm) continue;
      ++calls;
      hits += hit;
      hot_calls += rank < 10'000;
      hot_hits += hit && rank < 10'000;
    }
    const UserCacheStats stats = cache.Stats();
    state.counters["hits"] = static_cast<double>(hits) / static_cast<double>(calls);
    state.counters["hot_hits"] = static_cast<double>(hot_hits) / static_cast<double>(hot_calls);
    state.counters["entries"] = static_cast<double>(stats.entries);
    state.counters["best"] = zipf->Share(stats.entries);
  }
}
void BM_HitRateWithScan(benchmark::State& state) { HitRate(state, "user-"); }
void BM_HitRateWithUnknown(benchmark::State& state) { HitRate(state, "nobody-"); }
BENCHMARK(BM_HitRateWithScan)
    ->Arg(0)
    ->Arg(5)
    ->Arg(8)
    ->ArgName("noise")
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_HitRateWithUnknown)
    ->Arg(5)
    ->Arg(8)
    ->ArgName("noise")
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace swiftlet

BENCHMARK_MAIN();
