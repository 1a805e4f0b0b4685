#include "engine/trainer/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace swiftlet {
namespace {

using Row = std::array<double, kNumUserMetrics>;

// An index below n (of less than 2^32), nearly uniform: the bias is n / 2^32.
size_t DrawIndex(std::mt19937& random, size_t n) { return static_cast<size_t>(uint64_t{random()} * n >> 32); }

// Means of every replicate, [metrics][replicates], ascending.
std::array<std::vector<double>, kNumUserMetrics> SortedMeans(std::span<const Row> rows,
                                                             const BootstrapOptions& options) {
  std::array<std::vector<double>, kNumUserMetrics> means;
  std::mt19937 random(static_cast<uint32_t>(options.seed ^ options.seed >> 32));
  for (uint32_t b = 0; b < options.replicates; ++b) {
    Row sum{};
    for (size_t i = 0; i < rows.size(); ++i) {
      const Row& row = rows[DrawIndex(random, rows.size())];
      for (size_t m = 0; m < kNumUserMetrics; ++m) sum[m] += row[m];
    }
    for (size_t m = 0; m < kNumUserMetrics; ++m)
      means[m].push_back(sum[m] / static_cast<double>(rows.size()));
  }
  for (std::vector<double>& m : means) std::sort(m.begin(), m.end());
  return means;
}

Interval IntervalOf(const std::vector<double>& sorted, double mean, double confidence) {
  const auto last = static_cast<double>(sorted.size() - 1);
  const double tail = (1 - confidence) / 2;
  return {mean, sorted[static_cast<size_t>(std::floor(tail * last))],
          sorted[static_cast<size_t>(std::ceil((1 - tail) * last))]};
}

}  // namespace

std::array<Interval, kNumUserMetrics> BootstrapMeans(std::span<const MetricsAtK> users,
                                                     const BootstrapOptions& options) {
  std::array<Interval, kNumUserMetrics> intervals;
  if (users.empty()) return intervals;
  std::vector<Row> rows(users.size());
  Row mean{};
  for (size_t u = 0; u < users.size(); ++u) {
    for (size_t m = 0; m < kNumUserMetrics; ++m) mean[m] += rows[u][m] = users[u].*kMetricFields[m].value;
  }
  const auto means = SortedMeans(rows, options);
  for (size_t m = 0; m < kNumUserMetrics; ++m) {
    intervals[m] = IntervalOf(means[m], mean[m] / static_cast<double>(users.size()), options.confidence);
  }
  return intervals;
}

std::array<Difference, kNumUserMetrics> BootstrapDifferences(std::span<const MetricsAtK> a,
                                                             std::span<const MetricsAtK> b,
                                                             const BootstrapOptions& options) {
  std::vector<MetricsAtK> differences(a.size());
  for (size_t u = 0; u < a.size(); ++u) {
    for (const MetricField& field : kMetricFields)
      differences[u].*field.value = a[u].*field.value - b[u].*field.value;
  }
  std::array<Difference, kNumUserMetrics> result;
  if (a.empty()) return result;
  std::vector<Row> rows(a.size());
  Row mean{};
  for (size_t u = 0; u < a.size(); ++u) {
    for (size_t m = 0; m < kNumUserMetrics; ++m)
      mean[m] += rows[u][m] = differences[u].*kMetricFields[m].value;
  }
  const auto means = SortedMeans(rows, options);
  for (size_t m = 0; m < kNumUserMetrics; ++m) {
    const std::vector<double>& sorted = means[m];
    result[m].interval = IntervalOf(sorted, mean[m] / static_cast<double>(a.size()), options.confidence);
    const auto below =
        static_cast<double>(std::upper_bound(sorted.begin(), sorted.end(), 0.0) - sorted.begin());
    const auto above =
        static_cast<double>(sorted.end() - std::lower_bound(sorted.begin(), sorted.end(), 0.0));
    const auto n = static_cast<double>(sorted.size());
    result[m].p_value = std::clamp(2 * std::min(below, above) / n, 1 / n, 1.0);
  }
  return result;
}

}  // namespace swiftlet
