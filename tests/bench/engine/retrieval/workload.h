// Item vectors and queries that resemble learned ones, or are learned ones, the same for the same options.
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_WORKLOAD_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_WORKLOAD_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/aligned_vector.h"

namespace swiftlet::bench {

struct Workload {
  size_t num_items = 0, dim = 0, num_queries = 0;
  AlignedVector<float> items;    // [num_items, dim]: dim is a multiple of 16
  AlignedVector<float> queries;  // [num_queries, dim]
  AlignedVector<float> bias;     // [num_items]
  // More vectors like the queries, but others: what an approximate search may be calibrated on.
  AlignedVector<float> held_out;  // [any, dim]
  // Rows that the user of a query has seen: [num_queries], or empty where there are no users.
  std::vector<std::vector<uint32_t>> seen;

  std::span<const float> query(size_t i) const { return {&queries[i * dim], dim}; }
};

struct FactorModelOptions {
  size_t num_items = 1'000'000, dim = 64, num_queries = 1000, num_held_out = 400;
  double sigma = 0.35;  // of the norms' logarithms
  double within = 0.7;  // deviation inside a cluster over that between clusters
  uint64_t seed = 1;
};
// 1000 clusters of Zipf sizes; coordinate d of centres and of deviations from them is normal with deviation
// (d + 1)^-0.5; directions are normalised and norms are log-normal. A query is the mean of 3 to 8 items of 1
// to 3 clusters, drawn like items are, plus noise of a tenth of its length. Everything is then turned by a
// random rotation, so that no axis is special. Biases are normal with deviation 0.1. Memory besides the
// result: 8 bytes an item.
Workload FactorModel(const FactorModelOptions& options);

struct SnapshotWorkloadOptions {
  std::string snapshot;  // directory
  // CSV or TSV of the events that the model was trained on. Queries are then the vectors that the engine
  // makes of users (their newest 200 events and their long-term vector), every user with the same
  // probability; `seen` are the rows of those events. Empty: queries are means of 3 to 8 random items.
  std::string events;
  size_t num_queries = 1000, num_held_out = 400;
};
// The items of a snapshot (item.vectors of its model.safetensors, and their biases).
absl::StatusOr<Workload> FromSnapshot(const SnapshotWorkloadOptions& options);

// Grows `w` to num_items items (no fewer than it has), whose norms and clusters are those of the given ones;
// queries stay as they are. The given items are the first rows. Each further one is drawn by a smoothed
// bootstrap (Silverman and Young 1987) with residuals of neighbours instead of a kernel, akin to SMOTE
// (Chawla et al. 2002), so that noise has the local covariance: b, a random given item; i and j, two of its
// ten nearest by cosine; u_x = x / |x|:
//
//     direction = unit(u_b + (u_i - u_j) / sqrt 2)
//     log norm  = log |b| + (log |i| - log |j|) / sqrt 2, brought to mean and deviation of the given log
//     norms bias      = that of b
//
// The fractal expansions of Belletti et al. 2019 ("Scaling up collaborative filtering data sets through
// randomized fractal expansions") take Kronecker products of interaction matrices. Factors of such a product
// are Kronecker products too: dims multiply, which is why vectors are drawn here and not events.
void Expand(size_t num_items, uint64_t seed, Workload* w);

// What says whether two workloads are alike.
struct WorkloadFacts {
  double log_norm_deviation = 0;
  double nearest_cosine = 0;    // of items to their nearest other item, mean over a sample
  double hundredth_cosine = 0;  // of items to their hundredth nearest
};
WorkloadFacts FactsOf(const Workload& w);

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_WORKLOAD_H_
