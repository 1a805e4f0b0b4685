#include "client/cli/hammer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/rpc_status.h"
#include "engine/base/mutex.h"

namespace swiftlet::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxReasons = 20;

void CountFailure(const std::string& reason, int64_t number, std::map<std::string, int64_t>& failures) {
  const bool room = failures.size() + 1 < kMaxReasons || failures.contains(reason);
  failures[room ? reason : "other"] += number;
}

// What the threads share.
struct Shared {
  Clock::time_point end;  // constant
  // Highest version of an answer that came back.
  std::atomic<int64_t> newest_version{0};
  // Set once, when until_version was first seen.
  std::atomic<Clock::rep> stop_at{Clock::time_point::max().time_since_epoch().count()};
  std::atomic<bool> until_version_seen{false};
  std::atomic<uint64_t> next_user{0};

  Mutex mu;
  // The first answer of each user and version, as bytes.
  std::map<std::pair<std::string, int64_t>, std::string> answers ABSL_GUARDED_BY(mu);
};

// The items and scores of an answer.
std::string ItemsOf(const v1::RecommendResponse& response) {
  v1::RecommendResponse items;
  *items.mutable_items() = response.items();
  return items.SerializeAsString();
}

// The checks that need more than one answer.
absl::Status CheckHistory(const v1::RecommendRequest& request, const v1::RecommendResponse& response,
                          int64_t newest_before, const HammerOptions& options, Shared& shared) {
  const int64_t version = response.snapshot_version();
  if (!options.allow_rollback && version < newest_before) {
    return absl::InternalError(
        absl::StrCat("snapshot ", version, " answered a call that began after an answer of ", newest_before));
  }
  if (options.expect_stable) {
    std::string items = ItemsOf(response);
    MutexLock lock(shared.mu);
    const auto [first, inserted] = shared.answers.try_emplace({request.user_id(), version}, std::move(items));
    if (!inserted && first->second != ItemsOf(response)) {
      return absl::InternalError(
          absl::StrCat("user ", request.user_id(), " got two different answers of snapshot ", version));
    }
  }
  return absl::OkStatus();
}

struct ThreadReport {
  HammerReport report;
  LatencyHistogram latencies;
};

void RunThread(Client& client, const HammerOptions& options, Shared& shared, ThreadReport& result) {
  v1::RecommendRequest request;
  request.set_k(options.k);
  HammerReport& report = result.report;
  for (;;) {
    const Clock::time_point start = Clock::now();
    if (start >= shared.end || start.time_since_epoch().count() >= shared.stop_at.load()) return;
    const uint64_t number = shared.next_user.fetch_add(1);
    request.set_user_id(options.users[number % options.users.size()]);
    request.set_request_id(absl::StrCat("hammer-", number));
    const int64_t newest_before = shared.newest_version.load();
    const absl::StatusOr<v1::RecommendResponse> response = client.Recommend(request, options.call);
    const Clock::time_point end = Clock::now();
    ++report.num_calls;
    absl::Status status = response.status();
    if (status.ok()) status = CheckAnswer(request, *response);
    if (status.ok()) status = CheckHistory(request, *response, newest_before, options, shared);
    if (!status.ok()) {
      ++report.num_failures;
      CountFailure(absl::StrCat(CodeName(status.code()), ": ", ServerMessage(status)), 1, report.failures);
      continue;
    }
    const int64_t version = response->snapshot_version();
    for (int64_t seen = shared.newest_version.load();
         seen < version && !shared.newest_version.compare_exchange_weak(seen, version);) {
    }
    ++report.calls_by_version[version];
    result.latencies.Add(absl::FromChrono(end - start));
    if (options.until_version == version && !shared.until_version_seen.exchange(true)) {
      shared.stop_at = (end + absl::ToChronoNanoseconds(options.linger)).time_since_epoch().count();
    }
  }
}

}  // namespace

void LatencyHistogram::Add(absl::Duration duration) {
  const double us = std::max(absl::ToDoubleMicroseconds(duration), 1.0);
  const int bucket = std::min(static_cast<int>(std::log(us) / std::log(1.05)), kBuckets - 1);
  ++counts_[bucket];
  ++total_;
  max_ms_ = std::max(max_ms_, us / 1000);
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  for (int i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  total_ += other.total_;
  max_ms_ = std::max(max_ms_, other.max_ms_);
}

double LatencyHistogram::Quantile(double quantile) const {
  if (total_ == 0) return 0;
  const auto rank =
      std::max<int64_t>(1, static_cast<int64_t>(std::ceil(quantile * static_cast<double>(total_))));
  int64_t seen = 0;
  for (int i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= rank) return std::min(std::pow(1.05, i + 1) / 1000, max_ms_);
  }
  return max_ms_;
}

absl::Status CheckAnswer(const v1::RecommendRequest& request, const v1::RecommendResponse& response) {
  if (response.items_size() != request.k()) {
    return absl::InternalError(absl::StrCat(response.items_size(), " items, asked for ", request.k()));
  }
  if (response.snapshot_version() <= 0) {
    return absl::InternalError(absl::StrCat("snapshot_version ", response.snapshot_version()));
  }
  if (!request.request_id().empty() && response.request_id() != request.request_id()) {
    return absl::InternalError("request_id is not that of the request");
  }
  std::unordered_set<std::string_view> ids;
  for (int i = 0; i < response.items_size(); ++i) {
    const v1::ScoredItem& item = response.items(i);
    if (!ids.insert(item.item_id()).second) {
      return absl::InternalError(absl::StrCat("item ", item.item_id(), " twice in one answer"));
    }
    if (!std::isfinite(item.score())) {
      return absl::InternalError(absl::StrCat("item ", item.item_id(), " has the score ", item.score()));
    }
  }
  return absl::OkStatus();
}

HammerReport RunHammer(Client& client, const HammerOptions& options) {
  Shared shared;
  const Clock::time_point start = Clock::now();
  shared.end = start + absl::ToChronoNanoseconds(options.duration);
  std::vector<ThreadReport> results(options.num_threads);
  std::vector<std::thread> threads;
  for (ThreadReport& result : results) {
    threads.emplace_back([&] { RunThread(client, options, shared, result); });
  }
  for (std::thread& thread : threads) thread.join();

  HammerReport total;
  LatencyHistogram latencies;
  for (const ThreadReport& result : results) {
    total.num_calls += result.report.num_calls;
    total.num_failures += result.report.num_failures;
    for (const auto& [reason, number] : result.report.failures) CountFailure(reason, number, total.failures);
    for (const auto& [version, number] : result.report.calls_by_version)
      total.calls_by_version[version] += number;
    latencies.Merge(result.latencies);
  }
  total.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  total.p50_ms = latencies.Quantile(0.5);
  total.p99_ms = latencies.Quantile(0.99);
  total.max_ms = latencies.max_ms();
  total.until_version_seen = shared.until_version_seen;
  return total;
}

}  // namespace swiftlet::cli
