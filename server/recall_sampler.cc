#include "server/recall_sampler.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "engine/base/background_jobs.h"
#include "server/request_scope.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
constexpr uint64_t kGamma = 0x9E3779B97F4A7C15u;
uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// Another sequence on each thread.
uint32_t NextRandom() {
  static std::atomic<uint64_t> num_threads{0};
  thread_local uint64_t state = Mix(kGamma * (1 + num_threads.fetch_add(1, std::memory_order_relaxed)));
  state += kGamma;
  return static_cast<uint32_t>(Mix(state) >> 32);
}

}  // namespace

double RecallAtK(std::span<const RecommendedItem> answer, std::span<const RecommendedItem> exact) {
  if (exact.empty()) return 1;
  std::vector<uint32_t> best;
  best.reserve(exact.size());
  for (const RecommendedItem& item : exact) best.push_back(item.row);
  std::sort(best.begin(), best.end());
  const float worst_score = exact.back().score;
  const auto is_hit = [&](const RecommendedItem& item) {
    return item.score == worst_score || std::binary_search(best.begin(), best.end(), item.row);
  };
  const auto num_hits = static_cast<size_t>(std::count_if(answer.begin(), answer.end(), is_hit));
  return static_cast<double>(std::min(num_hits, exact.size())) / static_cast<double>(exact.size());
}

RecallSampler::RecallSampler(Options options, const CatalogManager* catalog, ServerMetrics* metrics)
    : options_(std::move(options)),
      threshold_(static_cast<uint64_t>(options_.rate * 4294967296.0)),
      catalog_(catalog),
      metrics_(metrics) {
  if (threshold_ > 0) thread_ = std::thread([this] { Run(); });
}

RecallSampler::~RecallSampler() { Stop(); }

void RecallSampler::Stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

bool RecallSampler::Chosen() const { return threshold_ > 0 && NextRandom() < threshold_; }

RecallSampler::Sample RecallSampler::Copy(SearchMethod method,
                                          const std::shared_ptr<const ServingState>& state,
                                          const RecommendQuery& query, const Recommendation& answer) {
  Sample sample;
  sample.method = method;
  sample.state = state;
  sample.k = query.k;
  sample.exclude_seen = query.exclude_seen;
  sample.exclude_items.assign(query.exclude_items.begin(), query.exclude_items.end());
  sample.context_items.assign(query.context_items.begin(), query.context_items.end());
  sample.any_of.assign(query.any_of_categories.begin(), query.any_of_categories.end());
  sample.none_of.assign(query.none_of_categories.begin(), query.none_of_categories.end());
  sample.answer = answer.items;
  return sample;
}

void RecallSampler::AddRecommend(const std::shared_ptr<const ServingState>& state,
                                 const RecommendQuery& query, const UserState& user,
                                 const Recommendation& answer) {
  if (answer.source == ItemSource::kPopular || !HasRoom()) return;
  Sample sample = Copy(SearchMethod::kRecommend, state, query, answer);
  sample.history.assign(user.history.begin(), user.history.end());
  sample.long_term.assign(user.long_term.begin(), user.long_term.end());
  Add(std::move(sample));
}

void RecallSampler::AddSimilarItems(const std::shared_ptr<const ServingState>& state,
                                    const RecommendQuery& query, uint32_t row, const Recommendation& answer) {
  if (!HasRoom()) return;
  Sample sample = Copy(SearchMethod::kSimilarItems, state, query, answer);
  sample.row = row;
  Add(std::move(sample));
}

bool RecallSampler::HasRoom() {
  {
    MutexLock lock(mu_);
    if (!stopping_ && queue_.size() < options_.max_queued && Clock::now() >= resting_until_) return true;
  }
  metrics_->CountSampleDrop(SampleDrop::kBusy);
  return false;
}

void RecallSampler::Add(Sample sample) {
  bool added = false;
  {
    // Others may have come in between.
    MutexLock lock(mu_);
    added = !stopping_ && queue_.size() < options_.max_queued;
    if (added) queue_.push_back(std::move(sample));
  }
  if (!added) return metrics_->CountSampleDrop(SampleDrop::kBusy);
  wake_.NotifyOne();
}

void RecallSampler::Run() {
  const RequestScope scope;
  LowerThreadPriority();
  for (;;) {
    Sample sample;
    {
      MutexLock lock(mu_);
      while (queue_.empty() && !stopping_) wake_.Wait(mu_);
      if (stopping_) {
        queue_.clear();
        return;
      }
      sample = std::move(queue_.front());
      queue_.pop_front();
    }
    const Clock::time_point start = Clock::now();
    if (options_.before_measuring) options_.before_measuring();
    Measure(sample);
    sample = {};
    const Clock::time_point end = Clock::now();
    const auto rest = std::chrono::duration<double>(end - start) * (1 / options_.max_share - 1);
    MutexLock lock(mu_);
    resting_until_ = std::max(resting_until_, end) + std::chrono::duration_cast<Clock::duration>(rest);
  }
}

void RecallSampler::Measure(const Sample& sample) {
  const ServingState& state = *sample.state;
  if (const std::shared_ptr<const ServingState> serving = catalog_->Acquire();
      serving == nullptr || serving->snapshot != state.snapshot) {
    return metrics_->CountSampleDrop(SampleDrop::kSwapped);
  }
  const std::vector<std::string_view> any_of(sample.any_of.begin(), sample.any_of.end());
  const std::vector<std::string_view> none_of(sample.none_of.begin(), sample.none_of.end());
  const RecommendQuery query{.k = sample.k,
                             .exclude_items = sample.exclude_items,
                             .context_items = sample.context_items,
                             .any_of_categories = any_of,
                             .none_of_categories = none_of,
                             .exclude_seen = sample.exclude_seen,
                             .search = {.mode = SearchMode::kFullScan}};
  const absl::Status status =
      sample.method == SearchMethod::kRecommend
          ? Recommend(*state.snapshot, *state.view, query,
                      {.history = sample.history, .long_term = sample.long_term}, scratch_, &exact_)
          : SimilarItems(*state.snapshot, *state.view, query, sample.row, scratch_, &exact_);
  if (!status.ok()) {
    // It was answered: a bug.
    return spdlog::error("recall sampling: {}", std::string(status.message()));
  }
  // Nothing could be found, so nothing was missed, which is no news of the index.
  if (exact_.items.empty()) return;
  metrics_->ObserveRecall(sample.method, RecallAtK(sample.answer, exact_.items));
}

}  // namespace swiftlet
