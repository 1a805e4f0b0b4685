#include "engine/trainer/metrics.h"

#include <algorithm>
#include <cmath>

namespace swiftlet {

ItemAudience::ItemAudience(const Dataset& train) : num_users_(train.num_users()) {
  std::vector<std::vector<uint32_t>> users(train.num_items());
  // Events are in order of users.
  for (const TrainingEvent& e : train.events) {
    if (users[e.item].empty() || users[e.item].back() != e.user) users[e.item].push_back(e.user);
  }
  users_.reserve(users.size());
  for (size_t i = 0; i < users.size(); ++i) users_.emplace(ItemKeyOf(train.item_ids[i]), std::move(users[i]));
}

std::span<const uint32_t> ItemAudience::UsersOf(ItemKey item) const {
  const auto it = users_.find(item);
  if (it == users_.end()) return {};
  return it->second;
}

double ItemAudience::Novelty(std::span<const ItemKey> list) const {
  if (list.empty() || num_users_ == 0) return 0;
  double sum = 0;
  for (const ItemKey item : list) {
    sum += std::log2(static_cast<double>(num_users_) /
                     static_cast<double>(std::max<size_t>(1, UsersOf(item).size())));
  }
  return sum / static_cast<double>(list.size());
}

double ItemAudience::Diversity(std::span<const ItemKey> list) const {
  constexpr size_t kMaxItems = 20;
  list = list.first(std::min(list.size(), kMaxItems));
  if (list.size() < 2) return 0;
  double sum = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::span<const uint32_t> a = UsersOf(list[i]);
    for (size_t j = 0; j < i; ++j) {
      const std::span<const uint32_t> b = UsersOf(list[j]);
      size_t common = 0;
      for (size_t x = 0, y = 0; x < a.size() && y < b.size();) {
        const uint32_t u = a[x], v = b[y];
        common += u == v ? 1 : 0;
        x += u <= v ? 1 : 0;
        y += v <= u ? 1 : 0;
      }
      const double norm = std::sqrt(static_cast<double>(a.size()) * static_cast<double>(b.size()));
      sum += 1 - (common == 0 ? 0 : static_cast<double>(common) / norm);
    }
  }
  return sum / (static_cast<double>(list.size()) * static_cast<double>(list.size() - 1) / 2);
}

MetricsAtK MetricsOfList(std::span<const ItemKey> ranked, std::span<const ItemKey> targets, uint32_t k,
                         const ItemAudience* audience) {
  ranked = ranked.first(std::min<size_t>(k, ranked.size()));
  const double best_hits = static_cast<double>(std::min<size_t>(k, targets.size()));
  MetricsAtK metrics;
  double gain = 0, precisions = 0;
  uint32_t hits = 0;
  for (uint32_t rank = 0; rank < ranked.size(); ++rank) {
    if (std::find(targets.begin(), targets.end(), ranked[rank]) == targets.end()) continue;
    if (++hits == 1) metrics.mrr = 1 / (rank + 1.0);
    precisions += hits / (rank + 1.0);
    gain += RankGain(rank);
  }
  metrics.recall = hits / static_cast<double>(targets.size());
  metrics.precision = static_cast<double>(hits) / k;
  metrics.ndcg = gain / IdealDcg(targets.size(), k);
  metrics.map = precisions / best_hits;
  metrics.hit_rate = hits > 0 ? 1 : 0;
  if (audience != nullptr) {
    metrics.novelty = audience->Novelty(ranked);
    metrics.diversity = audience->Diversity(ranked);
  }
  return metrics;
}

double IdealDcg(size_t num_targets, uint32_t k) {
  double sum = 0;
  for (size_t rank = 0; rank < std::min<size_t>(num_targets, k); ++rank) sum += RankGain(rank);
  return sum;
}

double Gini(std::vector<uint64_t> counts) {
  std::sort(counts.begin(), counts.end());
  double weighted = 0, sum = 0;
  const auto n = static_cast<double>(counts.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    weighted += (2 * static_cast<double>(i + 1) - n - 1) * static_cast<double>(counts[i]);
    sum += static_cast<double>(counts[i]);
  }
  return sum == 0 ? 0 : weighted / (n * sum);
}

}  // namespace swiftlet
