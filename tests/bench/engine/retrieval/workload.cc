#include "tests/bench/engine/retrieval/workload.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/base/thread_pool.h"
#include "engine/kernels/dot.h"
#include "tests/bench/engine/retrieval/random.h"

namespace swiftlet::bench {
namespace {

constexpr size_t kClusters = 1000;

double Norm(const float* x, size_t dim) { return std::sqrt(double{Dot(x, x, dim)}); }

void AddNoise(Random& random, size_t dim, float* x) {
  const double deviation = 0.1 * Norm(x, dim) / std::sqrt(static_cast<double>(dim));
  for (size_t j = 0; j < dim; ++j) x[j] += static_cast<float>(deviation * random.Normal());
}

// Rows of a random orthonormal matrix (Gram-Schmidt).
AlignedVector<float> RandomRotation(Random& random, size_t dim) {
  AlignedVector<float> rotation(dim * dim);
  for (size_t a = 0; a < dim; ++a) {
    float* const row = &rotation[a * dim];
    for (size_t j = 0; j < dim; ++j) row[j] = static_cast<float>(random.Normal());
    for (int pass = 0; pass < 2; ++pass) {
      for (size_t b = 0; b < a; ++b)
        AddScaled(-Dot(row, &rotation[b * dim], dim), &rotation[b * dim], dim, row);
    }
    const auto inverse = static_cast<float>(1 / Norm(row, dim));
    for (size_t j = 0; j < dim; ++j) row[j] *= inverse;
  }
  return rotation;
}

void RotateAll(const AlignedVector<float>& rotation, size_t dim, ThreadPool& pool,
               AlignedVector<float>& rows) {
  pool.ParallelFor(rows.size() / dim, 4096, [&](size_t begin, size_t end, size_t) {
    AlignedVector<float> turned(dim);
    for (size_t i = begin; i < end; ++i) {
      DotRows(&rows[i * dim], rotation.data(), dim, dim, dim, turned.data());
      std::copy(turned.begin(), turned.end(), &rows[i * dim]);
    }
  });
}

}  // namespace

Workload FactorModel(const FactorModelOptions& options) {
  const size_t n = options.num_items, dim = options.dim;
  Workload w;
  w.num_items = n;
  w.dim = dim;
  w.num_queries = options.num_queries;
  Random random(options.seed);
  std::vector<double> deviation(dim);
  for (size_t j = 0; j < dim; ++j) deviation[j] = std::pow(static_cast<double>(j + 1), -0.5);
  std::vector<double> centres(kClusters * dim), cumulated(kClusters);
  for (size_t i = 0; i < centres.size(); ++i) centres[i] = random.Normal() * deviation[i % dim];
  double total = 0;
  for (size_t c = 0; c < kClusters; ++c) cumulated[c] = total += 1.0 / static_cast<double>(c + 1);
  const auto draw_cluster = [&](Random& from) {
    const auto it = std::lower_bound(cumulated.begin(), cumulated.end(), from.Uniform() * total);
    return std::min(static_cast<size_t>(it - cumulated.begin()), kClusters - 1);
  };
  std::vector<uint32_t> cluster_of(n);
  std::vector<std::vector<uint32_t>> members(kClusters);
  for (size_t i = 0; i < n; ++i) {
    cluster_of[i] = static_cast<uint32_t>(draw_cluster(random));
    members[cluster_of[i]].push_back(static_cast<uint32_t>(i));
  }
  ThreadPool pool(0);
  w.items.resize(n * dim);
  constexpr size_t kBlock = 4096;
  pool.ParallelFor((n + kBlock - 1) / kBlock, 1, [&](size_t begin_block, size_t end_block, size_t) {
    for (size_t block = begin_block; block < end_block; ++block) {
      Random own(options.seed * 1'000'003 + block + 1);
      for (size_t i = block * kBlock; i < std::min(n, (block + 1) * kBlock); ++i) {
        float* const x = &w.items[i * dim];
        for (size_t j = 0; j < dim; ++j) {
          x[j] = static_cast<float>(centres[cluster_of[i] * dim + j] +
                                    options.within * own.Normal() * deviation[j]);
        }
        const auto factor = static_cast<float>(std::exp(options.sigma * own.Normal()) / Norm(x, dim));
        for (size_t j = 0; j < dim; ++j) x[j] *= factor;
      }
    }
  });
  Random query_random(options.seed + 77);  // of its own: the number of queries does not change the items
  w.queries.resize(options.num_queries * dim);
  w.held_out.resize(options.num_held_out * dim);
  for (size_t q = 0; q < options.num_queries + options.num_held_out; ++q) {
    float* const x =
        q < options.num_queries ? &w.queries[q * dim] : &w.held_out[(q - options.num_queries) * dim];
    const size_t num_parts = 3 + query_random.Next() % 6, num_clusters = 1 + query_random.Next() % 3;
    std::vector<size_t> clusters;
    while (clusters.size() < num_clusters) {
      const size_t c = draw_cluster(query_random);
      if (!members[c].empty()) clusters.push_back(c);
    }
    for (size_t p = 0; p < num_parts; ++p) {
      const std::vector<uint32_t>& from = members[clusters[p % num_clusters]];
      AddScaled(1.0f / static_cast<float>(num_parts), &w.items[from[query_random.Below(from.size())] * dim],
                dim, x);
    }
    AddNoise(query_random, dim, x);
  }
  const AlignedVector<float> rotation = RandomRotation(random, dim);
  RotateAll(rotation, dim, pool, w.items);
  RotateAll(rotation, dim, pool, w.queries);
  RotateAll(rotation, dim, pool, w.held_out);
  w.bias.resize(n);
  for (float& b : w.bias) b = static_cast<float>(0.1 * random.Normal());
  return w;
}

}  // namespace swiftlet::bench
