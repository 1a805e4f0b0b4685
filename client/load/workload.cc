#include "client/load/workload.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "xxhash.h"

namespace swiftlet::load {
namespace {

constexpr size_t kNumSessions = 1024;

std::vector<uint32_t> DrawItems(const WorkloadOptions& options, size_t num_items, size_t n) {
  Random random(options.seed ^ 0x17E35u);
  const Zipf zipf(num_items, options.item_zipf);
  // Which item is how popular is not the order of their ids.
  std::vector<uint32_t> by_rank(num_items);
  std::iota(by_rank.begin(), by_rank.end(), 0u);
  for (size_t i = num_items; i > 1; --i) std::swap(by_rank[i - 1], by_rank[random.Below(i)]);
  std::vector<uint32_t> drawn(n);
  for (uint32_t& item : drawn) item = by_rank[zipf.Draw(random)];
  return drawn;
}

}  // namespace

absl::StatusOr<std::array<double, kNumKinds>> ParseMix(std::string_view text) {
  std::array<double, kNumKinds> mix = {};
  double total = 0;
  const std::vector<std::string> parts = absl::StrSplit(absl::string_view(text.data(), text.size()), ',');
  for (const std::string& part : parts) {
    const size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    double weight = 0;
    if (equals == std::string::npos || !absl::SimpleAtod(part.substr(equals + 1), &weight) ||
        !(weight >= 0) || weight > 1e9) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", part, "\" is not KIND=WEIGHT with a weight of at least 0"));
    }
    int found = -1;
    for (const Kind kind : {Kind::kRecommend, Kind::kCold, Kind::kAnonymous, Kind::kSimilar, Kind::kEvents,
                            Kind::kUpsert, Kind::kFreshEvent}) {
      const std::string_view kind_name = kind == Kind::kFreshEvent ? "freshness" : KindName(kind);
      if (name == kind_name) found = static_cast<int>(kind);
    }
    if (found < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "there is no kind \"", name,
          "\"; the kinds are recommend, cold, anonymous, similar, events, upsert and freshness"));
    }
    mix[found] = weight;
  }
  for (const double weight : mix) total += weight;
  if (total <= 0) return absl::InvalidArgumentError("the weights add up to 0");
  return mix;
}

Workload::Workload(WorkloadOptions options, std::vector<std::string> item_ids, int64_t catalogue_size)
    : options_(std::move(options)),
      item_ids_(std::move(item_ids)),
      catalogue_size_(catalogue_size),
      user_zipf_(std::max<uint64_t>(1, options_.num_users), options_.user_zipf),
      popular_(DrawItems(options_, item_ids_.size(), kDraws)),
      added_events_(new std::atomic<uint32_t>[options_.num_users]()),
      lanes_(options_.mix[static_cast<int>(Kind::kFreshEvent)] > 0 ? kMaxLanes : 0) {
  popular_hashes_.reserve(kDraws);
  for (const uint32_t item : popular_) popular_hashes_.push_back(HashOf(item_ids_[item]));
  if (options_.mix[static_cast<int>(Kind::kAnonymous)] > 0) {
    sessions_.resize(kNumSessions);
    Random random(options_.seed ^ 0x5E55u);
    for (Session& session : sessions_) {
      for (int j = 0; j < options_.inline_events; ++j) {
        const size_t draw = random.Below(kDraws);
        AppendInlineEvent(item_ids_[popular_[draw]], options_.event_type, session.history);
        session.item_hashes.push_back(popular_hashes_[draw]);
      }
    }
  }
  // A step that has no divisor in common with the number of users visits each of them before any twice.
  const uint64_t n = std::max<uint64_t>(1, options_.num_cold_users);
  cold_step_ = static_cast<uint64_t>(static_cast<double>(n) * 0.6180339887) | 1;
  while (std::gcd(cold_step_, n) != 1) cold_step_ += 2;
  next_cold_ = Mix(options_.seed) % n;
  for (uint32_t lane = 0; lane < lanes_.size(); ++lane) {
    NewFreshUser(lanes_[lane]);
    free_lanes_.push_back(static_cast<uint32_t>(lanes_.size()) - 1 - lane);
  }
}

void Workload::UserId(uint64_t user, bool cold, std::string& id) {
  id.clear();
  absl::StrAppend(&id, cold ? "load-cold-" : "load-user-", user);
}

uint64_t Workload::NextColdUser() {
  const uint64_t n = options_.num_cold_users;
  const uint64_t i = next_cold_.fetch_add(1, std::memory_order_relaxed) % n;
  return static_cast<uint64_t>(static_cast<__uint128_t>(i) * cold_step_ % n);
}

void Workload::AddEvents(uint64_t user, uint32_t n) {
  added_events_[user].fetch_add(n, std::memory_order_relaxed);
}
uint32_t Workload::AddedEvents(uint64_t user) const {
  return added_events_[user].load(std::memory_order_relaxed);
}

uint64_t Workload::HashOf(std::string_view item_id) { return XXH3_64bits(item_id.data(), item_id.size()); }

void Workload::HistoryHashes(uint64_t user, bool cold, std::vector<uint64_t>& hashes) const {
  hashes.resize(options_.history_events);
  for (int j = 0; j < options_.history_events; ++j) hashes[j] = popular_hashes_[HistoryDraw(user, cold, j)];
}

std::string Workload::CheckRanked(const RankedAnswer& answer, size_t num_seen, std::span<const uint64_t> seen,
                                  int64_t version_before, std::vector<uint64_t>& scratch) const {
  const size_t n = answer.item_ids.size(), k = options_.k;
  if (n > k || (n < k && catalogue_size_ >= static_cast<int64_t>(k + num_seen))) {
    return absl::StrCat("the answer has ", n, " items, ", k, " were asked for");
  }
  if (answer.snapshot_version <= 0) return absl::StrCat("snapshot_version ", answer.snapshot_version);
  if (answer.snapshot_version < version_before && !options_.allow_rollback) {
    return "an older snapshot than one that had answered before on the same connection";
  }
  scratch.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t hash = HashOf(answer.item_ids[i]);
    scratch[i] = hash;
    bool found = false;
    for (const uint64_t item : seen) found |= item == hash;
    if (found) return "an item of the user's own history is in the answer";
  }
  bool twice = false;
  if (n <= 32) {
    for (size_t i = 1; i < n; ++i) {
      for (size_t j = 0; j < i; ++j) twice |= scratch[i] == scratch[j];
    }
  } else {
    std::sort(scratch.begin(), scratch.end());
    twice = std::adjacent_find(scratch.begin(), scratch.end()) != scratch.end();
  }
  return twice ? "an item is in the answer twice" : "";
}

bool Workload::TakeLane(uint32_t& lane) {
  MutexLock lock(mu_);
  if (free_lanes_.empty()) return false;
  lane = free_lanes_.back();
  free_lanes_.pop_back();
  return true;
}

void Workload::ReturnLane(uint32_t lane) {
  MutexLock lock(mu_);
  free_lanes_.push_back(lane);
}

void Workload::NewFreshUser(Lane& lane) {
  lane.user = next_fresh_user_.fetch_add(1, std::memory_order_relaxed);
  lane.events = 0;
  lane.item.clear();
}

void Workload::CountTrial(bool stale) {
  trials_.fetch_add(1, std::memory_order_relaxed);
  if (stale) stale_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace swiftlet::load
