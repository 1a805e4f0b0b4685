// The one interface between the request pipeline and an index over item vectors.
//
//   ItemMatrix items{.vectors = v, .bias = b, .scale = nullptr, .num_items = n, .dim = d, .stride =
//   RowStride(d)}; ExactRetriever retriever(items);                       //
//   engine/retrieval/exact_retriever.h RetrievalScratch scratch;                              // one per
//   thread RetrievalStats stats = retriever.Search({query, k, &filter}, scratch, results);
#ifndef SWIFTLET_ENGINE_RETRIEVAL_RETRIEVER_H_
#define SWIFTLET_ENGINE_RETRIEVAL_RETRIEVER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/kernels/top_k.h"
#include "engine/retrieval/row_filter.h"

namespace swiftlet {

// A borrowed matrix of item vectors: score(q, i) = scale[i] * <q, vectors[i]> + bias[i].
struct ItemMatrix {
  const float* vectors = nullptr;  // [num_items, dim] with row stride `stride`
  const float* bias = nullptr;     // [num_items], or null: 0
  const float* scale = nullptr;    // [num_items], or null: 1 (SimilarItems passes inverse norms: cosine)
  size_t num_items = 0;
  size_t dim = 0;
  size_t stride = 0;
  uint32_t first_row =
      0;  // row number of vectors[0] in results and filters (an overlay starts after the snapshot)
};

struct RetrievalQuery {
  std::span<const float> vector;      // [dim], finite
  size_t k = 0;                       // >= 1
  const RowFilter* filter = nullptr;  // null: every row is allowed
};

// What a search cost, and how far it can be trusted.
struct RetrievalStats {
  uint64_t rows_scored = 0;
  uint64_t bytes_read = 0;
  bool proven_exact = false;  // no row that was left out can be better than the last one returned
};

// Buffers of one thread's searches; grows to what it needs, then allocates no more. One per thread.
struct RetrievalScratch {
  AlignedVector<float> scores;
  std::vector<ScoredRow> candidates;
};

// Immutable and thread-safe once built.
class Retriever {
 public:
  virtual ~Retriever() = default;
  // The best k allowed rows, best first (IsBetter), into `results` (cleared first): k of them whenever k rows
  // are allowed.
  virtual RetrievalStats Search(const RetrievalQuery& query, RetrievalScratch& scratch,
                                std::vector<ScoredRow>& results) const = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_RETRIEVER_H_
