#include "engine/trainer/stale_prefixes.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace swiftlet {

std::vector<uint32_t> DrawStaleness(size_t count, double mean, uint64_t seed) {
  std::vector<uint32_t> staleness(count, 0);
  if (mean <= 0) return staleness;
  std::mt19937_64 random(seed);
  std::geometric_distribution<uint32_t> events(1 / (1 + mean));
  for (uint32_t& s : staleness) s = events(random);
  return staleness;
}

MatrixF FoldInStalePrefixes(const Dataset& data, std::span<const EventClass> classes, const MatrixF& items,
                            const AlsOptions& als, std::span<const FitExample> examples,
                            std::span<const uint32_t> staleness, ThreadPool* pool) {
  // The examples that see as much, in the order that FoldInPrefixes wants.
  std::vector<FitExample> stale(examples.begin(), examples.end());
  for (size_t e = 0; e < stale.size(); ++e) {
    const size_t known = stale[e].event - data.user_begin[stale[e].user];
    if (known > 0) stale[e].event -= std::min<size_t>(staleness[e], known - 1);
  }
  std::vector<size_t> order(stale.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (stale[a].user != stale[b].user) return stale[a].user < stale[b].user;
    return stale[a].event != stale[b].event ? stale[a].event < stale[b].event : a < b;
  });
  std::vector<FitExample> sorted;
  sorted.reserve(order.size());
  for (const size_t e : order) sorted.push_back(stale[e]);
  const MatrixF vectors = FoldInPrefixes(data, classes, items, als, sorted, pool);
  MatrixF result(vectors.rows(), vectors.cols());
  for (size_t k = 0; k < order.size(); ++k) {
    result.row(static_cast<Eigen::Index>(order[k])) = vectors.row(static_cast<Eigen::Index>(k));
  }
  return result;
}

}  // namespace swiftlet
