// Metrics of ranked lists. R is the list, T the user's targets, rel(r) is 1 when the item at rank r (from 1)
// is in T, else 0, and @k looks at the first k ranks.
//
// Means over the test users of:
//   recall     hits / |T|, hits = sum_(r<=k) rel(r)
//   precision  hits / k (a list that is shorter than k misses the rest)
//   ndcg       sum_(r<=k) rel(r) / log2(r + 1), of the same sum with min(k, |T|) hits at the top
//              (Järvelin and Kekäläinen, TOIS 2002, with binary gains)
//   hr         1 when hits > 0, else 0. With one target, hr = recall
//   mrr        1 / r of the first hit, 0 without one (Voorhees, TREC-8, 1999)
//   map        1 / min(k, |T|) sum_(r<=k) rel(r) precision@r: average precision, cut off at k
//              (Manning, Raghavan and Schütze, Introduction to Information Retrieval, section 8.4)
//   novelty    mean over the list of log2(|U| / |U_i|): the self-information of its items, U_i being the
//              training users of item i (Zhou et al., PNAS 2010; Vargas and Castells, RecSys 2011). An item
//              without any counts as having one
//   diversity  mean over the pairs of the list's first 20 items of 1 - |U_i & U_j| / sqrt(|U_i| |U_j|):
//              intra-list diversity (Ziegler et al., WWW 2005), with the cosine over training users, which
//              does not depend on the model. A list with fewer than two items has 0
// Of all lists together:
//   coverage   distinct items in anyone's first k, of all items that can be recommended (Ge et al., RecSys
//   2010) gini       of the number of times that each of these items is shown: 0 when all are shown alike,
//   near 1
//              when one is shown to everybody (Fleder and Hosanagar, Management Science 2009)
#ifndef SWIFTLET_ENGINE_TRAINER_METRICS_H_
#define SWIFTLET_ENGINE_TRAINER_METRICS_H_

#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/item_key.h"
#include "engine/trainer/dataset.h"

namespace swiftlet {

// One cut-off.
struct MetricsAtK {
  double recall = 0, precision = 0, ndcg = 0, hit_rate = 0, mrr = 0, map = 0;
  double novelty = 0, diversity = 0;
  double coverage = 0, gini = 0;  // not of one list
};

// The names above and where each is; first those that are means over users.
struct MetricField {
  std::string_view name;
  double MetricsAtK::*value;
};
inline constexpr size_t kNumUserMetrics = 8;
inline constexpr std::array<MetricField, 10> kMetricFields = {{{"recall", &MetricsAtK::recall},
                                                               {"precision", &MetricsAtK::precision},
                                                               {"ndcg", &MetricsAtK::ndcg},
                                                               {"hr", &MetricsAtK::hit_rate},
                                                               {"mrr", &MetricsAtK::mrr},
                                                               {"map", &MetricsAtK::map},
                                                               {"novelty", &MetricsAtK::novelty},
                                                               {"diversity", &MetricsAtK::diversity},
                                                               {"coverage", &MetricsAtK::coverage},
                                                               {"gini", &MetricsAtK::gini}}};

// Who had which item in training. Immutable.
class ItemAudience {
 public:
  explicit ItemAudience(const Dataset& train);
  size_t num_users() const { return num_users_; }
  // Ascending; empty for an item that training does not know.
  std::span<const uint32_t> UsersOf(ItemKey item) const;
  double Novelty(std::span<const ItemKey> list) const;    // as above; 0 for an empty list
  double Diversity(std::span<const ItemKey> list) const;  // as above

 private:
  size_t num_users_;
  absl::flat_hash_map<ItemKey, std::vector<uint32_t>> users_;
};

// Metrics of one ranked list. audience may be null: novelty and diversity are then 0; so are coverage and
// gini. Requires k >= 1 and targets that are distinct and not empty.
MetricsAtK MetricsOfList(std::span<const ItemKey> ranked, std::span<const ItemKey> targets, uint32_t k,
                         const ItemAudience* audience = nullptr);

// What a target at `rank` (from 0 on) adds to DCG.
inline double RankGain(size_t rank) { return 1 / std::log2(static_cast<double>(rank) + 2); }
// The largest DCG@k that num_targets can have: that of all of them at the top.
double IdealDcg(size_t num_targets, uint32_t k);

// Gini coefficient of the counts; 0 when they are all 0.
double Gini(std::vector<uint64_t> counts);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_METRICS_H_
