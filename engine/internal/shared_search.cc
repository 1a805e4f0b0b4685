#include "engine/internal/shared_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/kernels/dot.h"
#include "engine/kernels/top_k.h"

namespace swiftlet {

RetrievalStats SearchShared(std::span<const ItemMatrix> vectors, std::span<const SharedVectorRows> parts,
                            const RetrievalQuery& query, SharedSearchScratch& scratch,
                            std::vector<ScoredRow>& results) {
  RetrievalStats stats;
  stats.proven_exact = true;
  if (parts.empty() || vectors.empty()) return stats;
  const size_t num_vectors = vectors.back().first_row + vectors.back().num_items;
  if (scratch.scores.size() < num_vectors) scratch.scores.resize(num_vectors);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float threshold = results.size() < query.k ? -kInfinity : results[query.k - 1].score;
  bool any = false;
  for (const ItemMatrix& matrix : vectors) {
    float* const scores = scratch.scores.data() + matrix.first_row;
    matrix.DotRange(query.vector.data(), 0, matrix.num_items, scores);
    ScaleAndShift(matrix.scale, matrix.bias, matrix.num_items, scores);
    any = any || std::any_of(scores, scores + matrix.num_items, [&](float s) { return s >= threshold; });
    stats.bytes_read += uint64_t{matrix.num_items} * matrix.row_bytes();
  }
  stats.rows_scanned = stats.rows_scored = num_vectors;
  // A mean is seldom better than the best items: mostly this is all.
  if (!any) return stats;

  std::vector<ScoredRow>& candidates = scratch.candidates;
  candidates.clear();
  const size_t limit = 2 * query.k + 64;
  for (const SharedVectorRows& part : parts) {
    for (size_t i = 0; i < part.numbers.size(); ++i) {
      const ScoredRow row = {static_cast<uint32_t>(part.first_row + i), scratch.scores[part.numbers[i]]};
      if (!(row.score >= threshold) || !query.filter->Allows(row.row)) continue;
      candidates.push_back(row);
      if (candidates.size() <= limit) continue;
      candidates.resize(PartitionTopK(candidates.data(), candidates.size(), query.k));
      // Rows to come are higher: they must be better.
      threshold = std::nextafter(candidates.back().score, kInfinity);
    }
    stats.rows_scanned += part.numbers.size();
    stats.bytes_read += part.numbers.size() * sizeof(uint32_t);
  }
  if (candidates.empty()) return stats;
  results.insert(results.end(), candidates.begin(), candidates.end());
  results.resize(SelectTopK(results.data(), results.size(), query.k));
  return stats;
}

}  // namespace swiftlet
