// A workload as files for numpy.load, for peers that live in Python (tests/bench/peers.py).
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_EXPORT_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_EXPORT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/bench/engine/retrieval/workload.h"

namespace swiftlet::bench {

// Writes items.npy [num_items, dim] and queries.npy [num_queries, dim], and for each k truth-<k>.npy
// [num_queries, k], int32: the best rows without any filter, best first, -1 where there are no more.
// with_bias: the bias is one more column of the items, for which queries have a 1. Makes the directory where
// it is missing.
absl::Status ExportWorkload(const Workload& w, bool with_bias, const std::vector<size_t>& ks,
                            const std::string& directory);

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_EXPORT_H_
