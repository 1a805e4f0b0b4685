// The calls of a load: users, items and the mix, all of them a function of the seed.
//
// Users are "load-user-<n>" (asked for with Zipf frequencies; all are asked for once by TouchSource) and
// "load-cold-<n>" (asked for in turn). Their histories are a function of the seed and the user, so that no
// answer needs a table to be checked: none of the user's items may come back.
#ifndef SWIFTLET_CLIENT_LOAD_WORKLOAD_H_
#define SWIFTLET_CLIENT_LOAD_WORKLOAD_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/load/call.h"
#include "client/load/random.h"
#include "client/load/wire.h"
#include "engine/base/mutex.h"

namespace swiftlet::load {

struct WorkloadOptions {
  // Weights by Kind, not all 0. kFreshEvent stands for the pair of calls; kFreshRecommend is 0.
  std::array<double, kNumKinds> mix = {};
  int k = 10;
  uint64_t num_users = 10'000;
  uint64_t num_cold_users = 0;
  double user_zipf = 1.0;
  double item_zipf = 0.8;
  int history_events = 50;   // of every user before the measurement
  int inline_events = 50;    // of an anonymous session
  int events_per_call = 1;   // RecordEvents of the mix
  int items_per_upsert = 1;  // UpsertItems of the mix
  int history_limit = 200;   // events that the server keeps of a user
  std::string event_type = "view";
  uint64_t seed = 1;
  int dim = 0;                  // of the vectors that are upserted; 0: none
  bool allow_rollback = false;  // a snapshot version may go back
  int64_t num_trials = 0;       // freshness trials after which there are no more calls; 0: no limit
};

// Parses "recommend=90,events=10" (names of Kind; "freshness" for the pair). INVALID_ARGUMENT says what is
// wrong.
absl::StatusOr<std::array<double, kNumKinds>> ParseMix(std::string_view text);

// Thread-safe after construction.
class Workload {
 public:
  // Requires at least one item; `catalogue_size` is the number of items that the server can recommend.
  Workload(WorkloadOptions options, std::vector<std::string> item_ids, int64_t catalogue_size);

  const WorkloadOptions& options() const { return options_; }
  const std::vector<std::string>& item_ids() const { return item_ids_; }

  static void UserId(uint64_t user, bool cold, std::string& id);
  // The item of event `j` of a user's history.
  const std::string& HistoryItem(uint64_t user, bool cold, int j) const {
    return item_ids_[popular_[HistoryDraw(user, cold, j)]];
  }
  const std::string& PopularItem(Random& random) const { return item_ids_[popular_[random.Below(kDraws)]]; }
  const Zipf& user_zipf() const { return user_zipf_; }
  // The next user of the cold ones, all in turn and scattered over the store.
  uint64_t NextColdUser();
  // Session `i` of the prepared anonymous ones: an encoded InlineHistory, and the keys of its items.
  struct Session {
    std::string history;
    std::vector<uint64_t> item_hashes;
  };
  const Session& session(uint64_t i) const { return sessions_[i % sessions_.size()]; }

  // Events that a run adds to a user's history; returns how many there are then.
  void AddEvents(uint64_t user, uint32_t n);
  uint32_t AddedEvents(uint64_t user) const;

  // Empty when `answer` is right: as many items as there must be, none twice, none of them in `seen` (sorted
  // or not), and a version that is not older than `version_before`.
  std::string CheckRanked(const RankedAnswer& answer, size_t num_seen, std::span<const uint64_t> seen,
                          int64_t version_before, std::vector<uint64_t>& scratch) const;
  void HistoryHashes(uint64_t user, bool cold, std::vector<uint64_t>& hashes) const;
  static uint64_t HashOf(std::string_view item_id);

  // Freshness: users of their own, one per pair of calls in flight.
  struct Lane {
    uint64_t user = 0;
    int events = 0;
    std::string item;  // the best item of the user's last answer; empty: not asked for yet
  };
  // False when every lane is in use.
  bool TakeLane(uint32_t& lane);
  void ReturnLane(uint32_t lane);
  Lane& lane(uint32_t lane) { return lanes_[lane]; }  // of the one who took it
  void NewFreshUser(Lane& lane);
  void CountTrial(bool stale);
  int64_t num_trials() const { return trials_; }
  int64_t num_stale() const { return stale_; }
  bool TrialsDone() const { return options_.num_trials > 0 && trials_ >= options_.num_trials; }

  uint64_t NextEventNumber() { return next_event_.fetch_add(1, std::memory_order_relaxed); }

 private:
  static constexpr size_t kDraws = 1 << 16;
  static constexpr uint32_t kMaxLanes = 4096;

  size_t HistoryDraw(uint64_t user, bool cold, int j) const {
    return Mix(options_.seed * 0x51ED27u + user * 2 + (cold ? 1 : 0) +
               static_cast<uint64_t>(j) * 0x100000001B3u) %
           kDraws;
  }

  const WorkloadOptions options_;
  const std::vector<std::string> item_ids_;
  const int64_t catalogue_size_;
  const Zipf user_zipf_;
  std::vector<uint32_t> popular_;         // items as they are drawn: kDraws of them
  std::vector<uint64_t> popular_hashes_;  // HashOf of each
  std::vector<Session> sessions_;
  std::unique_ptr<std::atomic<uint32_t>[]> added_events_;  // [num_users]
  uint64_t cold_step_ = 1;
  std::atomic<uint64_t> next_cold_{0};
  std::atomic<uint64_t> next_fresh_user_{0};
  std::atomic<uint64_t> next_event_{0};
  std::atomic<int64_t> trials_{0};
  std::atomic<int64_t> stale_{0};
  std::vector<Lane> lanes_;
  Mutex mu_;
  std::vector<uint32_t> free_lanes_ ABSL_GUARDED_BY(mu_);
};

// Draws from the mix, without end (but see num_trials).
class MixSource final : public CallSource {
 public:
  // `workload` must outlive this.
  MixSource(Workload* workload, uint64_t seed);
  bool Next(Call& call) override;
  Verdict OnAnswer(Call& call, absl::StatusCode code, std::string_view answer) override;

 private:
  Kind Draw();
  void MakeEvents(Call& call);
  void MakeUpsert(Call& call);
  bool MakeFresh(Call& call);
  Verdict OnRanked(Call& call, std::string_view answer);
  Verdict OnFreshEvent(Call& call, absl::StatusCode code, std::string_view answer);
  Verdict OnFreshRecommend(Call& call, absl::StatusCode code, std::string_view answer);

  Workload& workload_;
  // Of the sending thread.
  Random random_;
  std::array<double, kNumKinds> cumulative_ = {};
  std::string id_;
  std::vector<float> vector_;
  // Of the thread that takes answers.
  RankedAnswer ranked_;
  std::vector<uint64_t> seen_, scratch_;
  std::string answer_id_;
};

// Null calls: 37 bytes there, ten items back.
class NullSource final : public CallSource {
 public:
  explicit NullSource(int k) : k_(k) {}
  bool Next(Call& call) override;
  Verdict OnAnswer(Call& call, absl::StatusCode code, std::string_view answer) override;

 private:
  const int k_;
  RankedAnswer ranked_;
};

// Records the histories of users [0, n), in calls of up to `batch` events. Several workers may share one.
// What the server refuses with RESOURCE_EXHAUSTED, since its disk is behind, is sent again after a pause, and
// fails after `patience` without an answer that is one.
class HistorySource final : public CallSource {
 public:
  HistorySource(Workload* workload, bool cold, int batch, absl::Duration patience = absl::Minutes(2));
  bool Next(Call& call) override;
  Verdict OnAnswer(Call& call, absl::StatusCode code, std::string_view answer) override;
  // The first failure, if any: there are no more calls then.
  bool failed() const { return failed_; }

 private:
  Workload& workload_;
  const bool cold_;
  const int batch_;
  const uint64_t num_events_;
  const absl::Duration patience_;
  uint64_t next_ = 0;
  std::string id_;
  absl::Time refused_since_ = absl::InfiniteFuture();
  std::atomic<bool> failed_{false};
};

// Asks once for each of the users [0, n), so that they are in the server's cache; of very many, for those
// that are asked for most often.
class TouchSource final : public CallSource {
 public:
  explicit TouchSource(Workload* workload) : workload_(*workload) {}
  bool Next(Call& call) override;
  Verdict OnAnswer(Call& call, absl::StatusCode code, std::string_view answer) override;

 private:
  Workload& workload_;
  uint64_t next_ = 0;
  std::string id_;
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_WORKLOAD_H_
