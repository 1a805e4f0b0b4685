#include "engine/trainer/user_knn.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

namespace swiftlet {

double UserKnnBytes(const SparseRows& by_user, const UserKnnOptions& options) {
  double entries = 0;
  for (size_t u = 0; u < by_user.num_rows(); ++u) {
    entries +=
        static_cast<double>(std::min<size_t>(by_user.begin[u + 1] - by_user.begin[u], options.items_of_user));
  }
  // A set's items, a row's users and weights, and what a truncated copy has of these.
  constexpr double kBytesOfEntry = 2 * (2 * sizeof(uint32_t) + sizeof(float));
  return kBytesOfEntry * entries + 3.0 * sizeof(uint64_t) * static_cast<double>(by_user.num_rows());
}

FittedNeighbours FitUserKnn(const SparseRows& by_user, size_t num_items, std::span<const int64_t> newest_ms,
                            const UserKnnOptions& options) {
  FittedNeighbours fitted;
  UserSets& users = fitted.users.emplace();
  users.parameters = {.nearest = options.nearest, .shrinkage = options.shrinkage};

  std::vector<uint32_t> order;
  for (uint32_t u = 0; u < by_user.num_rows(); ++u) {
    if (by_user.begin[u + 1] - by_user.begin[u] >= 2) order.push_back(u);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return newest_ms[a] > newest_ms[b]; });
  std::vector<uint64_t> counts(num_items, 0);
  for (const uint32_t u : order) {
    const size_t end = by_user.begin[u + 1];
    const size_t begin = end - std::min<size_t>(end - by_user.begin[u], options.items_of_user);
    const size_t own = users.items.size();
    for (size_t k = begin; k < end; ++k) {
      users.items.push_back(by_user.columns[k]);
      ++counts[by_user.columns[k]];
    }
    std::sort(users.items.begin() + static_cast<ptrdiff_t>(own), users.items.end());
    users.offsets.push_back(users.items.size());
  }

  ItemRows& rows = fitted.rows;
  for (const uint64_t count : counts) {
    rows.offsets.push_back(rows.offsets.back() + std::min<uint64_t>(count, options.row_length));
  }
  rows.rows.resize(rows.offsets.back());
  rows.weights.resize(rows.offsets.back());
  std::vector<uint64_t> next(rows.offsets.begin(), rows.offsets.end() - 1);
  for (uint32_t v = 0; v < order.size(); ++v) {
    for (uint64_t k = users.offsets[v]; k < users.offsets[v + 1]; ++k) {
      const uint32_t item = users.items[k];
      if (next[item] == rows.offsets[item + 1]) continue;
      const uint64_t at = next[item]++;
      rows.rows[at] = v;
      rows.weights[at] = std::pow(static_cast<float>(counts[item]), -options.item_exponent);
    }
  }
  return fitted;
}

void DropUnusedUsers(FittedNeighbours* fitted) {
  UserSets& users = *fitted->users;
  std::vector<uint32_t> number(users.offsets.size() - 1, 0);
  for (const uint32_t v : fitted->rows.rows) number[v] = 1;
  UserSets kept{.parameters = users.parameters};
  for (uint32_t v = 0; v < number.size(); ++v) {
    if (number[v] == 0) continue;
    number[v] = static_cast<uint32_t>(kept.offsets.size() - 1);
    kept.items.insert(kept.items.end(), users.items.begin() + static_cast<ptrdiff_t>(users.offsets[v]),
                      users.items.begin() + static_cast<ptrdiff_t>(users.offsets[v + 1]));
    kept.offsets.push_back(kept.items.size());
  }
  for (uint32_t& v : fitted->rows.rows) v = number[v];
  users = std::move(kept);
}

}  // namespace swiftlet
