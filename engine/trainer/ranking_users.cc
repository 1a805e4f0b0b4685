#include "engine/trainer/ranking_users.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "engine/base/item_key.h"
#include "engine/trainer/linear_algebra.h"
#include "engine/trainer/metrics.h"

namespace swiftlet {

std::vector<RankingUser> MakeRankingUsers(const Dataset& data, std::span<const EventClass> classes,
                                          std::span<const TestUser> users, size_t most) {
  absl::flat_hash_map<ItemKey, uint32_t> rows;
  for (uint32_t i = 0; i < data.num_items(); ++i) rows.emplace(ItemKeyOf(data.item_ids[i]), i);
  std::vector<RankingUser> result;
  const size_t count = std::min(most, users.size());
  std::vector<bool> seen(data.num_items());
  for (size_t k = 0; k < count; ++k) {
    const TestUser& user = users[k * users.size() / count];
    RankingUser made;
    uint32_t position = 0;
    for (size_t e = user.history.size(); e-- > 0;) {
      const auto at = rows.find(user.history[e].item_key);
      if (at == rows.end()) continue;
      const uint32_t own = position++;
      if (seen[at->second]) continue;
      seen[at->second] = true;
      made.items.push_back(at->second);
      made.positions.push_back(own);
      const EventType* const type = data.event_types.FindById(user.history[e].type);
      made.weights.push_back(type == nullptr ? 1.0f : std::fabs(type->weight));
      made.signs.push_back(classes[ClassOfEvent(classes, user.history[e].type, user.history[e].value)].sign);
    }
    for (const uint32_t item : made.items) seen[item] = false;
    for (const ItemKey key : user.targets) {
      if (const auto at = rows.find(key); at != rows.end()) made.targets.push_back(at->second);
    }
    // Targets that training has never seen are lost for every model.
    if (!made.targets.empty()) result.push_back(std::move(made));
  }
  return result;
}

double RankingNdcg(const MatrixF& items, const std::function<MatrixF(size_t begin, size_t count)>& vectors_of,
                   std::span<const RankingUser> users, ThreadPool* pool) {
  constexpr size_t kBlock = 256;
  constexpr uint32_t kCutoff = 10;
  const MatrixF by_column = items.transpose();
  double total = 0;
  for (size_t begin = 0; begin < users.size(); begin += kBlock) {
    const std::span<const RankingUser> block = users.subspan(begin, std::min(kBlock, users.size() - begin));
    MatrixF scores = Multiply(vectors_of(begin, block.size()), by_column, pool);
    for (size_t r = 0; r < block.size(); ++r) {
      auto own = scores.row(static_cast<Eigen::Index>(r));
      for (const uint32_t item : block[r].items) own[item] = -std::numeric_limits<float>::infinity();
      double gain = 0;
      for (const uint32_t target : block[r].targets) {
        const auto rank = static_cast<size_t>((own.array() > own[target]).count());
        if (rank < kCutoff) gain += RankGain(rank);
      }
      total += gain / IdealDcg(block[r].targets.size(), kCutoff);
    }
  }
  return users.empty() ? 0 : total / static_cast<double>(users.size());
}

}  // namespace swiftlet
