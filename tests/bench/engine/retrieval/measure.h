// Times one way of answering queries, and holds its answers against the true ones.
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_MEASURE_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_MEASURE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "engine/retrieval/retriever.h"

namespace swiftlet::bench {

struct Measurement {
  double qps = 0;  // of one thread, from the sum of the queries' times
  double p50_us = 0, p99_us = 0;
  double recall = 1;                                         // of all queries' true rows together
  double proven = 0;                                         // fraction of answers
  double rows_scanned = 0, rows_scored = 0, bytes_read = 0;  // means
};

// Answers query i into rows; runs on the calling thread.
using Answer = std::function<RetrievalStats(size_t i, std::vector<uint32_t>* rows)>;

// Asks every query once for recall and to warm up, then `rounds` times for its time: CPU time of this thread,
// of which the median counts, so that other work on the machine counts only as far as it takes cache and
// memory. truth: at least [num_queries], ascending rows each.
Measurement Measure(size_t num_queries, int rounds, const Answer& answer,
                    const std::vector<std::vector<uint32_t>>& truth);

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_MEASURE_H_
