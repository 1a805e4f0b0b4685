// Selection of the best scores out of a stream of scored rows.
#ifndef SWIFTLET_ENGINE_KERNELS_TOP_K_H_
#define SWIFTLET_ENGINE_KERNELS_TOP_K_H_

#include <cstddef>
#include <cstdint>

namespace swiftlet {

// A row of the item matrix and its score for a query. Better: higher score, then lower row, so that every
// answer is reproducible.
struct ScoredRow {
  uint32_t row = 0;
  float score = 0;

  friend bool operator==(const ScoredRow&, const ScoredRow&) = default;
};

inline bool IsBetter(const ScoredRow& a, const ScoredRow& b) {
  return a.score != b.score ? a.score > b.score : a.row < b.row;
}

// Appends {first_row + i, scores[i]} for every scores[i] >= threshold, in order of i, and returns how many.
// scores: [n]. out: room for n. threshold may be -infinity. NaN scores are left out. SIMD compare and
// compress.
size_t CollectAtLeast(const float* scores, size_t n, float threshold, uint32_t first_row, ScoredRow* out);

// The largest of scores[0, n); -infinity for n = 0. No score is NaN. SIMD.
float LargestOf(const float* scores, size_t n);

// Moves the best min(k, n) of rows[0, n) to the front, best first, and returns min(k, n). No score is NaN
// (CollectAtLeast drops them); no row number occurs twice, so that the order is total.
size_t SelectTopK(ScoredRow* rows, size_t n, size_t k);

// The same without the sorting: the best min(k, n) in any order, but the worst of them last.
size_t PartitionTopK(ScoredRow* rows, size_t n, size_t k);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_TOP_K_H_
