#include "engine/trainer/cohorts.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

constexpr uint32_t kHistoryEdges[] = {0, 1, 5, 10, 20, 50, 100, 200};
constexpr uint32_t kPopularityEdges[] = {0, 1, 5, 20, 100, 500, 2000};

class Buckets {
 public:
  explicit Buckets(std::span<const uint32_t> edges) : edges_(edges) {
    for (size_t i = 0; i < edges.size(); ++i) {
      Cohort cohort;
      cohort.name = i + 1 == edges.size()          ? absl::StrCat(edges[i], "+")
                    : edges[i + 1] == edges[i] + 1 ? absl::StrCat(edges[i])
                                                   : absl::StrCat(edges[i], "-", edges[i + 1] - 1);
      cohorts_.push_back(std::move(cohort));
    }
  }
  void Add(uint32_t size, double recall, double ndcg) {
    const auto at = std::upper_bound(edges_.begin(), edges_.end(), size) - edges_.begin() - 1;
    Cohort& cohort = cohorts_[static_cast<size_t>(at)];
    ++cohort.count;
    cohort.recall += recall;
    cohort.ndcg += ndcg;
  }
  std::vector<Cohort> Finish() {
    std::erase_if(cohorts_, [](const Cohort& c) { return c.count == 0; });
    for (Cohort& c : cohorts_) {
      c.recall /= static_cast<double>(c.count);
      c.ndcg /= static_cast<double>(c.count);
    }
    return std::move(cohorts_);
  }

 private:
  std::span<const uint32_t> edges_;
  std::vector<Cohort> cohorts_;
};

}  // namespace

std::vector<Cohort> CohortsByHistory(const EvaluationResult& result, uint32_t k) {
  Buckets buckets(kHistoryEdges);
  const std::vector<MetricsAtK>& users = result.users.at(k);
  for (size_t u = 0; u < users.size(); ++u) {
    buckets.Add(result.history_lengths[u], users[u].recall, users[u].ndcg);
  }
  return buckets.Finish();
}

std::vector<Cohort> CohortsByPopularity(const EvaluationResult& result, uint32_t k) {
  Buckets buckets(kPopularityEdges);
  for (const TargetRank& target : result.targets) {
    const bool hit = target.rank > 0 && target.rank <= k;
    buckets.Add(target.num_training_users, hit ? 1 : 0, hit ? 1 / std::log2(target.rank + 1.0) : 0);
  }
  return buckets.Finish();
}

}  // namespace swiftlet
