#include "engine/trainer/rating_knn.h"

#include <algorithm>
#include <cmath>

#include "engine/base/status_macros.h"
#include "engine/trainer/interrupt.h"

namespace swiftlet {
namespace {

constexpr size_t kItemsPerPiece = 16;

// Sums over the users who rated two items.
struct PairSums {
  uint32_t count = 0;
  float xy = 0, xx = 0, yy = 0;
};

float Similarity(const PairSums& s, float shrinkage) {
  const float product = s.xx * s.yy;
  if (s.count < 2 || !(product > 0)) return 0;
  const auto n = static_cast<float>(s.count - 1);
  return n / (n + shrinkage) * s.xy / std::sqrt(product);
}

struct Neighbour {
  float similarity = 0, residual = 0;
};

}  // namespace

absl::StatusOr<std::vector<std::vector<float>>> PredictByNeighbours(const RatingSet& train,
                                                                    const RatingFit& baseline,
                                                                    std::span<const RatingKnnOptions> options,
                                                                    const std::vector<Rating>& wanted,
                                                                    ThreadPool* pool) {
  // Residuals.
  RatingSet residuals = train;
  for (Rating& r : residuals.ratings) r.value -= baseline.Predict(r.user, r.item);
  const RatingRows by_user = RatingsByUser(residuals), by_item = RatingsByItem(residuals);
  std::vector<std::vector<uint32_t>> wanted_of_item(train.num_items);
  for (size_t w = 0; w < wanted.size(); ++w) {
    wanted_of_item[wanted[w].item].push_back(static_cast<uint32_t>(w));
  }
  std::vector<std::vector<float>> predictions(options.size(), std::vector<float>(wanted.size()));
  ForPieces(pool, train.num_items, kItemsPerPiece, [&](size_t begin, size_t end, size_t) {
    if (!CheckInterrupted().ok()) return;
    std::vector<PairSums> sums(train.num_items);
    std::vector<uint32_t> touched;
    std::vector<Neighbour> neighbours;
    for (size_t i = begin; i < end; ++i) {
      if (wanted_of_item[i].empty()) continue;
      for (const uint32_t j : touched) sums[j] = {};
      touched.clear();
      for (size_t k = by_item.begin[i]; k < by_item.begin[i + 1]; ++k) {
        const uint32_t u = by_item.other[k];
        const float x = by_item.values[k];
        for (size_t m = by_user.begin[u]; m < by_user.begin[u + 1]; ++m) {
          PairSums& s = sums[by_user.other[m]];
          if (s.count++ == 0) touched.push_back(by_user.other[m]);
          const float y = by_user.values[m];
          s.xy += x * y;
          s.xx += x * x;
          s.yy += y * y;
        }
      }
      for (const uint32_t w : wanted_of_item[i]) {
        const uint32_t u = wanted[w].user;
        const float start = baseline.Predict(u, static_cast<uint32_t>(i));
        for (size_t o = 0; o < options.size(); ++o) {
          neighbours.clear();
          for (size_t m = by_user.begin[u]; m < by_user.begin[u + 1]; ++m) {
            if (by_user.other[m] == i) continue;
            const float similarity = Similarity(sums[by_user.other[m]], options[o].shrinkage);
            if (similarity > 0) neighbours.push_back({similarity, by_user.values[m]});
          }
          const size_t k = std::min<size_t>(options[o].neighbours, neighbours.size());
          std::partial_sort(
              neighbours.begin(), neighbours.begin() + static_cast<ptrdiff_t>(k), neighbours.end(),
              [](const Neighbour& a, const Neighbour& b) { return a.similarity > b.similarity; });
          float weighted = 0, weights = 0;
          for (size_t m = 0; m < k; ++m) {
            weighted += neighbours[m].similarity * neighbours[m].residual;
            weights += neighbours[m].similarity;
          }
          predictions[o][w] = start + (weights > 0 ? weighted / weights : 0.0f);
        }
      }
    }
  });
  SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
  return predictions;
}

}  // namespace swiftlet
