#include "engine/retrieval/bound_index_trial.h"

#include <algorithm>
#include <random>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/kernels/dot.h"
#include "engine/retrieval/bound_retriever.h"
#include "engine/retrieval/exact_retriever.h"

namespace swiftlet {

BoundIndexTrial TryBoundIndex(const ItemMatrix& items, std::span<const float> inverse_norms,
                              const BoundIndexView& index, size_t num_queries, uint64_t seed) {
  const BoundRetriever fast(items, inverse_norms, index);
  const ExactRetriever exact(items, inverse_norms);
  std::mt19937_64 random(seed);
  BoundIndexTrial trial{.num_queries = num_queries};
  RetrievalScratch scratch;
  std::vector<ScoredRow> got, want;
  AlignedVector<float> vector(items.dim);
  size_t hits = 0, wanted = 0;
  for (size_t i = 0; i < num_queries; ++i) {
    const size_t num_parts = i % 2 == 0 ? 1 : 4;
    std::fill(vector.begin(), vector.end(), 0.0f);
    for (size_t part = 0; part < num_parts; ++part) {
      AddScaled(1.0f / static_cast<float>(num_parts),
                items.vectors + random() % items.num_items * items.stride, items.dim, vector.data());
    }
    const RetrievalQuery query{.vector = vector, .k = 10};
    const RetrievalStats stats = fast.Search(query, scratch, got);
    const RetrievalStats full = exact.Search(query, scratch, want);
    for (const ScoredRow& row : want) hits += std::find(got.begin(), got.end(), row) != got.end() ? 1 : 0;
    wanted += want.size();
    const auto n = static_cast<double>(num_queries);
    trial.rows_scanned +=
        static_cast<double>(stats.rows_scanned) / static_cast<double>(full.rows_scanned) / n;
    trial.bytes_read += static_cast<double>(stats.bytes_read) / static_cast<double>(full.bytes_read) / n;
  }
  trial.recall = wanted == 0 ? 1.0 : static_cast<double>(hits) / static_cast<double>(wanted);
  return trial;
}

}  // namespace swiftlet
