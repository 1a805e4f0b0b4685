// Item vectors and queries that resemble learned ones, the same for the same options.
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_WORKLOAD_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_WORKLOAD_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/aligned_vector.h"

namespace swiftlet::bench {

struct Workload {
  size_t num_items = 0, dim = 0, num_queries = 0;
  AlignedVector<float> items;    // [num_items, dim]: dim is a multiple of 16
  AlignedVector<float> queries;  // [num_queries, dim]
  AlignedVector<float> bias;     // [num_items]

  std::span<const float> query(size_t i) const { return {&queries[i * dim], dim}; }
};

struct FactorModelOptions {
  size_t num_items = 1'000'000, dim = 64, num_queries = 1000;
  double sigma = 0.35;  // of the norms' logarithms
  double within = 0.7;  // deviation inside a cluster over that between clusters
  uint64_t seed = 1;
};
// 1000 clusters of Zipf sizes; coordinate d of centres and of deviations from them is normal with deviation
// (d + 1)^-0.5; directions are normalised and norms are log-normal. A query is the mean of 3 to 8 items of 1
// to 3 clusters, drawn like items are, plus noise of a tenth of its length. Everything is then turned by a
// random rotation, so that no axis is special. Biases are normal with deviation 0.1.
Workload FactorModel(const FactorModelOptions& options);

// The items of a snapshot (item.vectors of its model.safetensors), and means of 3 to 8 of them as queries:
// see above, without clusters.
absl::StatusOr<Workload> FromSnapshot(const std::string& directory, size_t num_queries);

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_WORKLOAD_H_
