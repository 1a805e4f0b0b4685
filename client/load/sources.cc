// The sources of workload.h.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/load/workload.h"

namespace swiftlet::load {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(50);
constexpr uint64_t kMaxTouched = 200'000;

// New items that upserts write, in turn: as many as a server's catalogue can take without being another one.
constexpr uint64_t kUpsertedItems = 1000;
// Events of one freshness user before the next one takes its place.
constexpr int kFreshEvents = 100;

Verdict Wrong(std::string reason) { return {.wrong = std::move(reason)}; }

void FreshUserId(uint64_t seed, uint64_t user, std::string& id) {
  id.clear();
  absl::StrAppend(&id, "load-fresh-", seed, "-", user);
}

}  // namespace

MixSource::MixSource(Workload* workload, uint64_t seed) : workload_(*workload), random_(seed) {
  double sum = 0;
  for (int i = 0; i < kNumKinds; ++i) cumulative_[i] = sum += workload->options().mix[i];
}

Kind MixSource::Draw() {
  const double at = random_.Uniform() * cumulative_.back();
  int i = 0;
  while (i + 1 < kNumKinds && at >= cumulative_[i]) ++i;
  return static_cast<Kind>(i);
}

bool MixSource::Next(Call& call) {
  if (workload_.TrialsDone()) return false;
  const WorkloadOptions& options = workload_.options();
  call.kind = Draw();
  call.request.clear();
  switch (call.kind) {
    case Kind::kCold:
      call.user = workload_.NextColdUser();
      Workload::UserId(call.user, /*cold=*/true, id_);
      AppendRecommend(id_, options.k, call.request);
      return true;
    case Kind::kAnonymous:
      call.user = random_.Next();
      AppendRecommendInline(workload_.session(call.user).history, options.k, call.request);
      return true;
    case Kind::kSimilar: {
      const std::string& item = workload_.PopularItem(random_);
      call.user = Workload::HashOf(item);
      AppendSimilar(item, options.k, call.request);
      return true;
    }
    case Kind::kEvents:
      MakeEvents(call);
      return true;
    case Kind::kUpsert:
      MakeUpsert(call);
      return true;
    case Kind::kFreshEvent:
      if (MakeFresh(call)) return true;
      call.kind = Kind::kRecommend;  // as many pairs are in flight as there can be
      [[fallthrough]];
    case Kind::kRecommend:
    case Kind::kFreshRecommend:
    case Kind::kNull:
      break;
  }
  call.user = workload_.user_zipf().Draw(random_);
  Workload::UserId(call.user, /*cold=*/false, id_);
  AppendRecommend(id_, options.k, call.request);
  return true;
}

void MixSource::MakeEvents(Call& call) {
  const WorkloadOptions& options = workload_.options();
  for (int i = 0; i < options.events_per_call; ++i) {
    const uint64_t user = workload_.user_zipf().Draw(random_);
    workload_.AddEvents(user, 1);
    Workload::UserId(user, /*cold=*/false, id_);
    AppendEvent(id_, workload_.PopularItem(random_), options.event_type, 0, {}, call.request);
  }
}

void MixSource::MakeUpsert(Call& call) {
  const WorkloadOptions& options = workload_.options();
  vector_.resize(options.dim);
  const uint64_t first = workload_.NextEventNumber() * static_cast<uint64_t>(options.items_per_upsert);
  for (int i = 0; i < options.items_per_upsert; ++i) {
    for (float& x : vector_) x = static_cast<float>(random_.Uniform() - 0.5) / std::sqrt(options.dim);
    id_ = absl::StrCat("load-item-", (first + i) % kUpsertedItems);
    AppendItem(id_, vector_, call.request);
  }
}

bool MixSource::MakeFresh(Call& call) {
  if (!workload_.TakeLane(call.lane)) return false;
  Workload::Lane& lane = workload_.lane(call.lane);
  FreshUserId(workload_.options().seed, lane.user, id_);
  if (lane.item.empty()) {
    call.kind = Kind::kFreshRecommend;  // finds the first item
    AppendRecommend(id_, workload_.options().k, call.request);
  } else {
    AppendEvent(id_, lane.item, workload_.options().event_type, 0, {}, call.request);
  }
  return true;
}

Verdict MixSource::OnAnswer(Call& call, absl::StatusCode code, std::string_view answer) {
  if (call.kind == Kind::kFreshEvent) return OnFreshEvent(call, code, answer);
  if (call.kind == Kind::kFreshRecommend) return OnFreshRecommend(call, code, answer);
  if (code != absl::StatusCode::kOk) return {};
  if (call.kind != Kind::kEvents && call.kind != Kind::kUpsert) return OnRanked(call, answer);
  CountAnswer counts;
  if (!ParseCounts(answer, counts)) return Wrong("the answer is no message");
  const int expected =
      call.kind == Kind::kEvents ? workload_.options().events_per_call : workload_.options().items_per_upsert;
  if (counts.first != expected) return Wrong(absl::StrCat("stored ", counts.first, " of ", expected));
  return {};
}

Verdict MixSource::OnRanked(Call& call, std::string_view answer) {
  const WorkloadOptions& options = workload_.options();
  if (!ParseRanked(answer, ranked_)) return Wrong("the answer is no message");
  size_t num_seen = 0;
  std::span<const uint64_t> seen;
  switch (call.kind) {
    case Kind::kAnonymous:
      seen = workload_.session(call.user).item_hashes;
      num_seen = seen.size();
      break;
    case Kind::kSimilar:
      seen = {&call.user, 1};  // never the item itself
      num_seen = 1;
      break;
    default: {
      const bool cold = call.kind == Kind::kCold;
      const int added = cold ? 0 : static_cast<int>(workload_.AddedEvents(call.user));
      // Beyond the limit the oldest events are forgotten, and may be recommended again.
      if (options.history_events + added <= options.history_limit) {
        workload_.HistoryHashes(call.user, cold, seen_);
        seen = seen_;
      }
      num_seen = std::min(options.history_events + added, options.history_limit);
    }
  }
  return {.wrong = workload_.CheckRanked(ranked_, num_seen, seen, call.version_before, scratch_),
          .version = ranked_.snapshot_version};
}

Verdict MixSource::OnFreshEvent(Call& call, absl::StatusCode code, std::string_view answer) {
  Workload::Lane& lane = workload_.lane(call.lane);
  CountAnswer counts;
  if (code != absl::StatusCode::kOk || !ParseCounts(answer, counts) || counts.first != 1) {
    // Whether the event counts is not known: another user.
    workload_.NewFreshUser(lane);
    workload_.ReturnLane(call.lane);
    return code == absl::StatusCode::kOk ? Wrong(absl::StrCat("stored ", counts.first, " of 1")) : Verdict{};
  }
  ++lane.events;
  FreshUserId(workload_.options().seed, lane.user, answer_id_);
  call.kind = Kind::kFreshRecommend;
  call.request.clear();
  AppendRecommend(answer_id_, workload_.options().k, call.request);
  return {.follow_up = true};
}

Verdict MixSource::OnFreshRecommend(Call& call, absl::StatusCode code, std::string_view answer) {
  Workload::Lane& lane = workload_.lane(call.lane);
  Verdict verdict;
  if (code == absl::StatusCode::kOk) {
    if (!ParseRanked(answer, ranked_)) {
      verdict = Wrong("the answer is no message");
    } else {
      verdict.wrong = workload_.CheckRanked(ranked_, lane.events, {}, call.version_before, scratch_);
      verdict.version = ranked_.snapshot_version;
    }
  }
  if (code != absl::StatusCode::kOk || !verdict.wrong.empty() || ranked_.item_ids.empty()) {
    lane.item.clear();  // asked for again
  } else {
    if (!lane.item.empty()) {
      const bool stale =
          std::find(ranked_.item_ids.begin(), ranked_.item_ids.end(), lane.item) != ranked_.item_ids.end();
      workload_.CountTrial(stale);
      if (stale) verdict.wrong = "stale: an event that was acknowledged before is not reflected";
    }
    lane.item = ranked_.item_ids[0];
    if (lane.events >= kFreshEvents) workload_.NewFreshUser(lane);
  }
  workload_.ReturnLane(call.lane);
  return verdict;
}

bool NullSource::Next(Call& call) {
  call.kind = Kind::kNull;
  call.request.clear();
  AppendRecommend("load-user-of-thirty-three-bytes-0", k_, call.request);
  return true;
}

Verdict NullSource::OnAnswer(Call& call, absl::StatusCode code, std::string_view answer) {
  if (code != absl::StatusCode::kOk) return {};
  if (!ParseRanked(answer, ranked_)) return Wrong("the answer is no message");
  if (ranked_.item_ids.size() != 10) return Wrong("the null server's answer does not have ten items");
  return {.version = ranked_.snapshot_version};
}

HistorySource::HistorySource(Workload* workload, bool cold, int batch, absl::Duration patience)
    : workload_(*workload),
      cold_(cold),
      batch_(batch),
      num_events_((cold ? workload->options().num_cold_users : workload->options().num_users) *
                  static_cast<uint64_t>(workload->options().history_events)),
      patience_(patience) {}

bool HistorySource::Next(Call& call) {
  if (next_ >= num_events_ || failed_) return false;
  const WorkloadOptions& options = workload_.options();
  call.kind = Kind::kEvents;
  call.request.clear();
  call.user = 0;
  for (int i = 0; i < batch_ && next_ < num_events_; ++i, ++next_, ++call.user) {
    const uint64_t user = next_ / static_cast<uint64_t>(options.history_events);
    const int j = static_cast<int>(next_ % static_cast<uint64_t>(options.history_events));
    Workload::UserId(user, cold_, id_);
    AppendEvent(id_, workload_.HistoryItem(user, cold_, j), options.event_type, 0, {}, call.request);
  }
  return true;
}

Verdict HistorySource::OnAnswer(Call& call, absl::StatusCode code, std::string_view answer) {
  CountAnswer counts;
  Verdict verdict;
  if (code == absl::StatusCode::kOk &&
      (!ParseCounts(answer, counts) || counts.first != static_cast<int64_t>(call.user))) {
    verdict = Wrong(absl::StrCat("stored ", counts.first, " of ", call.user));
  }
  if (code == absl::StatusCode::kResourceExhausted) {
    refused_since_ = std::min(refused_since_, absl::Now());
    if (absl::Now() - refused_since_ < patience_) {
      absl::SleepFor(kPause);
      verdict.follow_up = true;
      return verdict;
    }
  }
  if (code != absl::StatusCode::kOk || !verdict.wrong.empty()) failed_ = true;
  refused_since_ = absl::InfiniteFuture();
  return verdict;
}

bool TouchSource::Next(Call& call) {
  if (next_ >= std::min(workload_.options().num_users, kMaxTouched)) return false;
  call.kind = Kind::kRecommend;
  call.request.clear();
  Workload::UserId(next_++, /*cold=*/false, id_);
  AppendRecommend(id_, workload_.options().k, call.request);
  return true;
}

Verdict TouchSource::OnAnswer(Call&, absl::StatusCode, std::string_view) { return {}; }

}  // namespace swiftlet::load
