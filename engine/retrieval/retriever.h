// The one interface between the request pipeline and an index over item vectors.
//
// clang-format off
//   ItemMatrix items{.vectors = v, .bias = b, .num_items = n, .dim = d, .stride = RowStride(d)};
//   ExactRetriever retriever(items, inverse_norms);  // exact_retriever.h, or bound_retriever.h
//   RetrievalScratch scratch;                        // one per thread
//   RetrievalStats stats = retriever.Search({query, k, &filter}, scratch, results);
// clang-format on
#ifndef SWIFTLET_ENGINE_RETRIEVAL_RETRIEVER_H_
#define SWIFTLET_ENGINE_RETRIEVAL_RETRIEVER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/kernels/top_k.h"
#include "engine/retrieval/item_matrix.h"
#include "engine/retrieval/row_filter.h"

namespace swiftlet {

enum class Similarity : uint8_t {
  kDot,     // <q, v> + bias
  kCosine,  // <q, v> / |v|, without bias: the cosine where |q| = 1
};

// How much is counted of the parts of a bound that hold for the worst case only: of a box's r y, and of a
// code's r_t y_t (bound_index.h). 1 and 1: the bounds are proven. Below: fewer rows are looked at, and the
// answer is not proven. Each in (0, 1].
struct BoundScale {
  float box = 1, code = 1;

  bool IsExact() const { return box >= 1 && code >= 1; }
  friend bool operator==(const BoundScale&, const BoundScale&) = default;
};

struct RetrievalQuery {
  std::span<const float> vector;      // [dim], finite
  size_t k = 0;                       // >= 1
  const RowFilter* filter = nullptr;  // null: every row is allowed
  Similarity similarity = Similarity::kDot;
  // Budgets. An index stops once it has looked at this many rows, or after this time, with the best found so
  // far, and the answer is not proven. 0: no limit. They are looked at after a few hundred rows each time. A
  // full scan looks at all rows all the same.
  size_t max_rows = 0;
  uint32_t max_us = 0;
  BoundScale bound_scale = {};
};

// Whether the budgets of a query are spent.
class SearchDeadline {
 public:
  // The time counts from now.
  explicit SearchDeadline(const RetrievalQuery& query)
      : max_rows_(query.max_rows), has_end_(query.max_us != 0) {
    if (has_end_) end_ = Clock::now() + std::chrono::microseconds(query.max_us);
  }
  bool IsOver(uint64_t rows_scanned) const {
    return (max_rows_ != 0 && rows_scanned >= max_rows_) || (has_end_ && Clock::now() >= end_);
  }

 private:
  using Clock = std::chrono::steady_clock;
  const uint64_t max_rows_;
  const bool has_end_;
  Clock::time_point end_;
};

// What a search cost, and how far it can be trusted.
struct RetrievalStats {
  uint64_t rows_scanned = 0;  // rows of which anything was read, be it a few bytes
  uint64_t rows_scored = 0;   // rows scored from their full vectors
  uint64_t bytes_read = 0;    // of rows, their codes and bounds
  bool proven_exact = false;  // no row that was left out can be better than the last one returned
};

// Buffers of one thread's searches; grows to what it needs, then allocates no more. One per thread.
struct RetrievalScratch {
  AlignedVector<float> scores;
  std::vector<ScoredRow> candidates;
  // Of an index.
  AlignedVector<float> rotated, along, across, bounds, expected, scale, bias;
  std::vector<ScoredRow> clusters;  // with what is expected of them, or their bounds
  std::vector<uint32_t> groups, slots, rows, sums;
  std::vector<int32_t> limits;
  std::vector<ScoredRow> pending;  // rows with upper bounds of their scores
  std::vector<uint16_t> masks;
  std::vector<uint32_t> allowed;  // rows of a filter that allows few
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
