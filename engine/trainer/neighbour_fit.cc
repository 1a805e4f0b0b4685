#include "engine/trainer/neighbour_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"
#include "engine/retrieval/neighbour_users.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/linear_algebra.h"
#include "engine/trainer/metrics.h"

namespace swiftlet {
namespace {

constexpr size_t kItemsPerPiece = 64;
constexpr size_t kUsersPerPiece = 128;  // of a ranking

struct Entry {
  uint32_t item;
  float value;
};

std::vector<float> UserWeights(const SparseRows& by_user, float exponent) {
  std::vector<float> weights(by_user.num_rows(), 0.0f);
  double sum = 0;
  size_t count = 0;
  for (size_t u = 0; u < weights.size(); ++u) {
    const size_t n = by_user.begin[u + 1] - by_user.begin[u];
    if (n == 0) continue;
    weights[u] = std::pow(static_cast<float>(n), -exponent);
    sum += weights[u];
    ++count;
  }
  for (float& w : weights) w *= static_cast<float>(count / std::max(sum, 1e-30));
  return weights;
}

std::vector<float> Penalties(const SparseRows& by_item, const EaseOptions& options) {
  const size_t n = by_item.num_rows();
  const double mean = std::max(1.0, static_cast<double>(by_item.columns.size()) / static_cast<double>(n));
  std::vector<float> penalties(n);
  for (size_t i = 0; i < n; ++i) {
    const double count = std::max<double>(1, static_cast<double>(by_item.begin[i + 1] - by_item.begin[i]));
    penalties[i] = static_cast<float>(options.lambda * std::pow(count / mean, options.item_exponent));
  }
  return penalties;
}

// Row i of X^T W X, the diagonal apart.
struct CoOccurrences {
  std::vector<std::vector<Entry>> rows;
  std::vector<float> diagonal;
};
CoOccurrences Count(const SparseRows& by_user, const SparseRows& by_item, std::span<const float> user_weights,
                    ThreadPool* pool) {
  const size_t n = by_item.num_rows();
  CoOccurrences counts{std::vector<std::vector<Entry>>(n), std::vector<float>(n, 0.0f)};
  ForPieces(pool, n, kItemsPerPiece * 16, [&](size_t begin, size_t end, size_t) {
    std::vector<float> sums(n, 0.0f);
    std::vector<uint32_t> touched;
    for (size_t i = begin; i < end; ++i) {
      touched.clear();
      for (size_t k = by_item.begin[i]; k < by_item.begin[i + 1]; ++k) {
        const uint32_t u = by_item.columns[k];
        for (size_t l = by_user.begin[u]; l < by_user.begin[u + 1]; ++l) {
          const uint32_t j = by_user.columns[l];
          if (sums[j] == 0) touched.push_back(j);
          sums[j] += user_weights[u];
        }
      }
      counts.rows[i].reserve(touched.size());
      for (const uint32_t j : touched) {
        if (j == i) {
          counts.diagonal[i] = sums[j];
        } else {
          counts.rows[i].push_back({j, sums[j]});
        }
        sums[j] = 0;
      }
    }
  });
  return counts;
}

// By rows from columns: columns[i] holds the entries W[j, i].
ItemRows RowsOfColumns(const std::vector<std::vector<Entry>>& columns) {
  ItemRows result;
  const size_t n = columns.size();
  result.offsets.assign(n + 1, 0);
  for (const auto& column : columns) {
    for (const Entry& e : column) ++result.offsets[e.item + 1];
  }
  std::partial_sum(result.offsets.begin(), result.offsets.end(), result.offsets.begin());
  result.rows.resize(result.offsets.back());
  result.weights.resize(result.offsets.back());
  std::vector<uint64_t> next(result.offsets.begin(), result.offsets.end() - 1);
  for (uint32_t i = 0; i < n; ++i) {
    for (const Entry& e : columns[i]) {
      const uint64_t at = next[e.item]++;
      result.rows[at] = i;
      result.weights[at] = e.value;
    }
  }
  return result;
}

absl::StatusOr<ItemRows> FitFull(const SparseRows& by_user, const SparseRows& by_item,
                                 const EaseOptions& options, std::span<const float> user_weights,
                                 ThreadPool* pool) {
  const size_t n = by_item.num_rows();
  std::vector<float> p(n * n, 0.0f);
  for (size_t u = 0; u < by_user.num_rows(); ++u) {
    for (size_t k = by_user.begin[u]; k < by_user.begin[u + 1]; ++k) {
      float* const row = p.data() + size_t{by_user.columns[k]} * n;
      for (size_t l = by_user.begin[u]; l < by_user.begin[u + 1]; ++l)
        row[by_user.columns[l]] += user_weights[u];
    }
  }
  const std::vector<float> penalties = Penalties(by_item, options);
  for (size_t i = 0; i < n; ++i) p[i * n + i] += penalties[i];
  SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
  {
    const ScopedBlasThreads threads(pool == nullptr ? 1 : static_cast<int>(pool->num_threads()) + 1);
    if (!InvertPositiveDefinite(n, p.data())) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "EASE: the co-occurrences cannot be inverted with lambda %g; a larger one makes that possible",
          options.lambda));
    }
  }
  // The lower triangle holds P. A few thousand of the largest entries of a row are more than ever counts.
  constexpr size_t kMost = 2048;
  ItemRows result;
  std::vector<Entry> row(n);
  for (size_t j = 0; j < n; ++j) {
    for (size_t i = 0; i < n; ++i) {
      const float pij = i <= j ? p[j * n + i] : p[i * n + j];
      row[i] = {static_cast<uint32_t>(i), i == j ? 0.0f : -pij / p[i * n + i]};
    }
    const size_t most = std::min(kMost, n - 1);
    std::vector<Entry> best = row;
    best.erase(best.begin() + static_cast<ptrdiff_t>(j));
    if (most < best.size()) {
      std::nth_element(
          best.begin(), best.begin() + static_cast<ptrdiff_t>(most), best.end(),
          [](const Entry& a, const Entry& b) { return std::fabs(a.value) > std::fabs(b.value); });
      best.resize(most);
      std::sort(best.begin(), best.end(), [](const Entry& a, const Entry& b) { return a.item < b.item; });
    }
    for (const Entry& e : best) {
      result.rows.push_back(e.item);
      result.weights.push_back(e.value);
    }
    result.offsets.push_back(result.rows.size());
  }
  return result;
}

}  // namespace

double EaseBytes(const SparseRows& by_user, size_t num_items, const EaseOptions& options) {
  const auto n = static_cast<double>(num_items);
  if (options.neighbours == 0) return n * n * sizeof(float) + n * std::min(n, 2048.0) * sizeof(Entry);
  double pairs = 0;
  for (size_t u = 0; u < by_user.num_rows(); ++u) {
    const auto count = static_cast<double>(by_user.begin[u + 1] - by_user.begin[u]);
    pairs += count * count;
  }
  return sizeof(Entry) * (std::min(pairs, n * n) + 2 * n * std::min<double>(options.neighbours, n));
}

absl::StatusOr<ItemRows> FitEase(const SparseRows& by_user, size_t num_items, const EaseOptions& options,
                                 double max_bytes, ThreadPool* pool) {
  const double bytes = EaseBytes(by_user, num_items, options);
  if (bytes > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("EASE over %d items needs about %.3g GB, more than the %.3g GB allowed; %s",
                        num_items, bytes / 1e9, max_bytes / 1e9,
                        options.neighbours == 0 ? "give --neighbours, such as 200: each item from those alone"
                                                : "leave out items or users with very many events"));
  }
  const std::vector<float> user_weights = UserWeights(by_user, options.user_exponent);
  const SparseRows by_item = Transpose(by_user, num_items);
  if (options.neighbours == 0) return FitFull(by_user, by_item, options, user_weights, pool);

  const CoOccurrences counts = Count(by_user, by_item, user_weights, pool);
  const std::vector<float> penalties = Penalties(by_item, options);
  std::vector<std::vector<Entry>> columns(num_items);
  absl::Status status = CheckInterrupted();
  const ScopedBlasThreads one(1);
  ForPieces(pool, num_items, kItemsPerPiece, [&](size_t begin, size_t end, size_t) {
    constexpr uint32_t kNone = ~uint32_t{0};
    std::vector<uint32_t> place(num_items, kNone);
    std::vector<float> matrix, solution;
    for (size_t i = begin; i < end; ++i) {
      if (!CheckInterrupted().ok()) return;
      std::vector<Entry> near = counts.rows[i];
      const size_t n = std::min<size_t>(options.neighbours, near.size());
      if (n == 0) continue;
      const auto key = [&](const Entry& e) { return e.value / std::sqrt(counts.diagonal[e.item] + 1); };
      const auto closer = [&](const Entry& a, const Entry& b) {
        return key(a) != key(b) ? key(a) > key(b) : a.item < b.item;
      };
      std::nth_element(near.begin(), near.begin() + static_cast<ptrdiff_t>(n - 1), near.end(), closer);
      near.resize(n);
      std::sort(near.begin(), near.end(), [](const Entry& a, const Entry& b) { return a.item < b.item; });
      for (uint32_t k = 0; k < n; ++k) place[near[k].item] = k;
      matrix.assign(n * n, 0.0f);
      solution.resize(n);
      for (size_t k = 0; k < n; ++k) {
        for (const Entry& e : counts.rows[near[k].item]) {
          if (place[e.item] != kNone) matrix[k * n + place[e.item]] = e.value;
        }
        matrix[k * n + k] = counts.diagonal[near[k].item] + penalties[near[k].item];
        solution[k] = near[k].value;
      }
      for (const Entry& e : near) place[e.item] = kNone;
      // Positive definite by the penalties; if float has no room for that, the item stays without neighbours.
      if (!Cholesky(n, matrix.data())) continue;
      SolveCholesky(n, matrix.data(), solution.data());
      for (size_t k = 0; k < n; ++k) near[k].value = solution[k];
      columns[i] = std::move(near);
    }
  });
  SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
  return RowsOfColumns(columns);
}

absl::StatusOr<ItemRows> FitItemKnn(const SparseRows& by_user, size_t num_items,
                                    const ItemKnnOptions& options, ThreadPool* pool) {
  const SparseRows by_item = Transpose(by_user, num_items);
  const std::vector<float> user_weights = UserWeights(by_user, options.user_exponent);
  CoOccurrences counts = Count(by_user, by_item, user_weights, pool);
  SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
  std::vector<float> root(num_items);
  for (size_t i = 0; i < num_items; ++i) {
    root[i] = std::sqrt(static_cast<float>(by_item.begin[i + 1] - by_item.begin[i]));
  }
  ItemRows result;
  for (size_t j = 0; j < num_items; ++j) {
    std::vector<Entry>& row = counts.rows[j];
    for (Entry& e : row) {
      e.value = std::pow(e.value / (root[j] * root[e.item] + options.shrinkage), options.power);
    }
    const auto better = [](const Entry& a, const Entry& b) {
      return a.value != b.value ? a.value > b.value : a.item < b.item;
    };
    if (row.size() > options.neighbours) {
      std::nth_element(row.begin(), row.begin() + options.neighbours, row.end(), better);
      row.resize(options.neighbours);
    }
    std::sort(row.begin(), row.end(), [](const Entry& a, const Entry& b) { return a.item < b.item; });
    for (const Entry& e : row) {
      result.rows.push_back(e.item);
      result.weights.push_back(e.value);
    }
    result.offsets.push_back(result.rows.size());
    row = {};
  }
  return result;
}

ItemRows Truncate(const ItemRows& rows, uint32_t most) {
  ItemRows result;
  std::vector<Entry> row;
  for (size_t j = 0; j + 1 < rows.offsets.size(); ++j) {
    row.clear();
    for (uint64_t k = rows.offsets[j]; k < rows.offsets[j + 1]; ++k)
      row.push_back({rows.rows[k], rows.weights[k]});
    if (row.size() > most) {
      std::nth_element(row.begin(), row.begin() + most, row.end(), [](const Entry& a, const Entry& b) {
        return std::fabs(a.value) != std::fabs(b.value) ? std::fabs(a.value) > std::fabs(b.value)
                                                        : a.item < b.item;
      });
      row.resize(most);
      std::sort(row.begin(), row.end(), [](const Entry& a, const Entry& b) { return a.item < b.item; });
    }
    for (const Entry& e : row) {
      result.rows.push_back(e.item);
      result.weights.push_back(e.value);
    }
    result.offsets.push_back(result.rows.size());
  }
  return result;
}

double EaseError(const SparseRows& by_user, size_t num_items, const EaseOptions& options,
                 const ItemRows& rows, size_t samples) {
  const SparseRows by_item = Transpose(by_user, num_items);
  const std::vector<float> user_weights = UserWeights(by_user, options.user_exponent);
  const std::vector<float> penalties = Penalties(by_item, options);
  samples = std::min(samples, num_items);
  const auto apply = [&](const std::vector<double>& x, std::vector<double>& y) {
    for (size_t i = 0; i < num_items; ++i) y[i] = double{penalties[i]} * x[i];
    for (size_t u = 0; u < by_user.num_rows(); ++u) {
      double sum = 0;
      for (size_t k = by_user.begin[u]; k < by_user.begin[u + 1]; ++k) sum += x[by_user.columns[k]];
      sum *= double{user_weights[u]};
      for (size_t k = by_user.begin[u]; k < by_user.begin[u + 1]; ++k) y[by_user.columns[k]] += sum;
    }
  };
  std::vector<std::vector<double>> found(samples, std::vector<double>(num_items, 0.0));
  std::vector<size_t> column(samples);
  for (size_t s = 0; s < samples; ++s) column[s] = s * num_items / samples;
  for (size_t j = 0; j < num_items; ++j) {
    for (uint64_t k = rows.offsets[j]; k < rows.offsets[j + 1]; ++k) {
      const auto at = std::lower_bound(column.begin(), column.end(), rows.rows[k]);
      if (at != column.end() && *at == rows.rows[k])
        found[static_cast<size_t>(at - column.begin())][j] = rows.weights[k];
    }
  }
  double total = 0;
  size_t counted = 0;
  for (size_t s = 0; s < samples; ++s) {
    std::vector<double> x(num_items, 0.0), r(num_items, 0.0), p, ap(num_items);
    r[column[s]] = 1;
    p = r;
    double rr = 1;
    for (int step = 0; step < 300 && rr > 1e-12; ++step) {
      apply(p, ap);
      const double alpha = rr / std::inner_product(p.begin(), p.end(), ap.begin(), 0.0);
      double next = 0;
      for (size_t i = 0; i < num_items; ++i) {
        x[i] += alpha * p[i];
        r[i] -= alpha * ap[i];
        next += r[i] * r[i];
      }
      for (size_t i = 0; i < num_items; ++i) p[i] = r[i] + next / rr * p[i];
      rr = next;
    }
    double error = 0, norm = 0;
    for (size_t j = 0; j < num_items; ++j) {
      const double exact = j == column[s] ? 0 : -x[j] / x[column[s]];
      error += (found[s][j] - exact) * (found[s][j] - exact);
      norm += exact * exact;
    }
    if (norm == 0) continue;
    total += std::sqrt(error / norm);
    ++counted;
  }
  return counted == 0 ? 0 : total / static_cast<double>(counted);
}

std::vector<float> PositionWeights(float exponent, float half_life, size_t num_positions) {
  std::vector<float> weights(std::max<size_t>(1, exponent == 0 && half_life == 0 ? 1 : num_positions));
  for (size_t p = 0; p < weights.size(); ++p) {
    const auto position = static_cast<float>(p);
    weights[p] = std::pow(1 + position, -exponent);
    if (half_life > 0) weights[p] *= std::exp2(-position / half_life);
  }
  return weights;
}

double RankingNdcg(const FittedNeighbours& fitted, std::span<const float> position_weights,
                   std::span<const RankingUser> users, uint32_t k, ThreadPool* pool) {
  const NeighbourRows rows{fitted.rows.offsets, fitted.rows.rows, fitted.rows.weights, position_weights};
  NeighbourUsers sets;
  if (fitted.users.has_value()) {
    sets = {.offsets = fitted.users->offsets,
            .items = fitted.users->items,
            .nearest = fitted.users->parameters.nearest,
            .shrinkage = fitted.users->parameters.shrinkage};
  }
  std::vector<double> gains(users.size(), 0.0);
  ForPieces(pool, users.size(), kUsersPerPiece, [&](size_t begin, size_t end, size_t) {
    NeighbourSums sums;
    NearestUserSearch search;
    std::vector<bool> in_history(rows.num_items());
    std::vector<float> scores;
    for (size_t u = begin; u < end; ++u) {
      const RankingUser& user = users[u];
      sums.Reset(rows.num_items());
      if (fitted.users.has_value()) search.Reset(sets);
      for (size_t j = 0; j < user.items.size(); ++j) {
        const float factor = rows.PositionWeight(user.positions[j]) * user.signs[j];
        if (fitted.users.has_value()) {
          search.Add(rows, user.items[j], factor);
        } else {
          sums.Add(rows, user.items[j], factor);
        }
        in_history[user.items[j]] = true;
      }
      if (fitted.users.has_value()) {
        search.Find(sets);
        search.AddVotes(sets, 1, sums);
      }
      scores.clear();
      for (const uint32_t item : sums.rows()) {
        if (!in_history[item]) scores.push_back(sums.At(item));
      }
      for (const uint32_t target : user.targets) {
        const float score = in_history[target] ? 0 : sums.At(target);
        if (score <= 0) continue;
        uint32_t rank = 0;
        for (size_t i = 0; i < scores.size() && rank < k; ++i) rank += scores[i] > score;
        if (rank < k) gains[u] += RankGain(rank);
      }
      gains[u] /= IdealDcg(user.targets.size(), k);
      for (const uint32_t item : user.items) in_history[item] = false;
    }
  });
  const double total = std::accumulate(gains.begin(), gains.end(), 0.0);
  return users.empty() ? 0 : total / static_cast<double>(users.size());
}

}  // namespace swiftlet
