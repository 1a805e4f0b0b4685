#include "tests/bench/engine/retrieval/measure.h"

#include <time.h>

#include <algorithm>

namespace swiftlet::bench {
namespace {

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Measurement Measure(size_t num_queries, int rounds, const Answer& answer,
                    const std::vector<std::vector<uint32_t>>& truth) {
  Measurement m;
  std::vector<uint32_t> rows;
  double hits = 0, wanted = 0;
  for (size_t i = 0; i < num_queries; ++i) {
    const RetrievalStats stats = answer(i, &rows);
    m.proven += stats.proven_exact ? 1 : 0;
    m.rows_scanned += static_cast<double>(stats.rows_scanned);
    m.rows_scored += static_cast<double>(stats.rows_scored);
    m.bytes_read += static_cast<double>(stats.bytes_read);
    for (const uint32_t row : rows) {
      hits += std::binary_search(truth[i].begin(), truth[i].end(), row) ? 1 : 0;
    }
    wanted += static_cast<double>(truth[i].size());
  }
  std::vector<std::vector<double>> times(num_queries);
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < num_queries; ++i) {
      const double begin = ThreadSeconds();
      answer(i, &rows);
      times[i].push_back(ThreadSeconds() - begin);
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& t : times) medians.push_back(Median(t));
  std::sort(medians.begin(), medians.end());
  double total = 0;
  for (const double t : medians) total += t;
  const auto q = static_cast<double>(num_queries);
  const auto at = [&](double p) {
    return 1e6 * medians[std::min(num_queries - 1, static_cast<size_t>(p * q))];
  };
  m.qps = q / total;
  m.p50_us = at(.5);
  m.p99_us = at(.99);
  m.recall = wanted > 0 ? hits / wanted : 1;
  m.proven /= q;
  m.rows_scanned /= q;
  m.rows_scored /= q;
  m.bytes_read /= q;
  return m;
}

}  // namespace swiftlet::bench
