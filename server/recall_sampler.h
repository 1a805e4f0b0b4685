// Live recall: makes a small share of the answers once more by a full scan, on a thread of its own, and
// reports how many of the k best items each of them held.
//
//   if (sampler.Chosen()) sampler.AddRecommend(state, query, user, result);   // on the thread of the request
#ifndef SWIFTLET_SERVER_RECALL_SAMPLER_H_
#define SWIFTLET_SERVER_RECALL_SAMPLER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/recommender.h"
#include "server/catalog_manager.h"
#include "server/metrics.h"
#include "server/serving_state.h"

namespace swiftlet {

// Share of `exact`, the k best items, that `answer` holds. An item with the score of the last of `exact` is
// as good as that one and counts as one of them. 1 where `exact` is empty.
double RecallAtK(std::span<const RecommendedItem> answer, std::span<const RecommendedItem> exact);

// Thread-safe.
//
// A sample holds the state that its answer was made of, as a request does, and for little longer: at most
// max_queued samples wait, each is measured right after the one before it or not at all, and as soon as
// another snapshot serves those of the old one are dropped unmeasured. So a replaced snapshot goes one full
// scan later at most. The sampler's thread never frees a state either: that is checked, as it is for
// requests.
class RecallSampler {
 public:
  struct Options {
    double rate = 0;        // share of the answers that are chosen, [0, 1]
    size_t max_queued = 2;  // samples that wait for the one that is being measured
    // Of the time of one core, (0, 1]: after a measurement of length t, none is begun for t (1 / max_share -
    // 1).
    double max_share = 0.1;
    // Called on the sampler's thread before a sample is looked at. For tests; may be null.
    std::function<void()> before_measuring = {};
  };

  // `catalog` says what serves. The pointers must outlive this.
  RecallSampler(Options options, const CatalogManager* catalog, ServerMetrics* metrics);
  // Stops.
  ~RecallSampler();
  RecallSampler(const RecallSampler&) = delete;
  RecallSampler& operator=(const RecallSampler&) = delete;

  // Whether to sample this answer: at random, with probability `rate`. A few nanoseconds; no lock, no
  // allocation.
  bool Chosen() const;
  // Copies what the answer was made of, or drops the sample. Answers that were not searched for (popular
  // items) are passed over. `state` must be what serves, or was until a moment ago.
  void AddRecommend(const std::shared_ptr<const ServingState>& state, const RecommendQuery& query,
                    const UserState& user, const Recommendation& answer) ABSL_LOCKS_EXCLUDED(mu_);
  void AddSimilarItems(const std::shared_ptr<const ServingState>& state, const RecommendQuery& query,
                       uint32_t row, const Recommendation& answer) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the thread after the measurement in progress; samples that wait, and later ones, are dropped. To be
  // called before the last state is handed to the reaper. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Clock = std::chrono::steady_clock;

  // An answer and all that it was made of.
  struct Sample {
    SearchMethod method = SearchMethod::kRecommend;
    std::shared_ptr<const ServingState> state;
    uint32_t k = 0;
    bool exclude_seen = true;
    std::vector<ItemKey> exclude_items, context_items;
    std::vector<std::string> any_of, none_of;
    std::vector<HistoryEvent> history;
    std::vector<float> long_term;
    uint32_t row = 0;  // kSimilarItems
    std::vector<RecommendedItem> answer;
  };

  static Sample Copy(SearchMethod method, const std::shared_ptr<const ServingState>& state,
                     const RecommendQuery& query, const Recommendation& answer);
  // Whether a sample can be taken now; when not, it is counted as dropped.
  bool HasRoom() ABSL_LOCKS_EXCLUDED(mu_);
  void Add(Sample sample) ABSL_LOCKS_EXCLUDED(mu_);
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  void Measure(const Sample& sample);

  const Options options_;
  const uint64_t threshold_;  // rate * 2^32
  const CatalogManager* const catalog_;
  ServerMetrics* const metrics_;

  // Of the sampler's thread.
  Scratch scratch_;
  Recommendation exact_;

  Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Sample> queue_ ABSL_GUARDED_BY(mu_);
  Clock::time_point resting_until_ ABSL_GUARDED_BY(mu_) = {};
  std::thread thread_;  // last: uses the others; none when the rate is 0
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_RECALL_SAMPLER_H_
