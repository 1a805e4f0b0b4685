#include "engine/retrieval/exact_retriever.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/kernels/dot.h"

namespace swiftlet {
namespace {

// Rows scored before their scores are looked at: 4 KB of scores stay in the first-level cache.
constexpr size_t kBlockRows = 1024;

constexpr float kNoThreshold = -std::numeric_limits<float>::infinity();

}  // namespace

RetrievalStats SearchExact(std::span<const ItemMatrix> parts, const RetrievalQuery& query,
                           RetrievalScratch& scratch, std::vector<ScoredRow>& results) {
  results.clear();
  RetrievalStats stats;
  stats.proven_exact = true;
  size_t num_rows = 0;
  bool ascending = true;  // every row number is above all that were scanned before it
  uint64_t next_row = 0;
  for (const ItemMatrix& part : parts) {
    ascending = ascending && part.first_row >= next_row;
    next_row = uint64_t{part.first_row} + part.num_items;
    num_rows += part.num_items;
  }
  const size_t k = std::min(query.k, num_rows);
  if (k == 0) return stats;

  // Candidates are cut back to the best k whenever there are more than `limit`: with room for twice k, the
  // cutting stays rare. A block adds at most kBlockRows.
  const size_t limit = 2 * k + 64;
  if (scratch.scores.size() < kBlockRows) scratch.scores.resize(kBlockRows);
  if (scratch.candidates.size() < limit + kBlockRows) scratch.candidates.resize(limit + kBlockRows);
  float* const scores = scratch.scores.data();
  ScoredRow* const candidates = scratch.candidates.data();

  float threshold = kNoThreshold;
  size_t count = 0;
  for (const ItemMatrix& part : parts) {
    for (size_t begin = 0; begin < part.num_items; begin += kBlockRows) {
      const size_t n = std::min(kBlockRows, part.num_items - begin);
      DotRows(query.vector.data(), part.vectors + begin * part.stride, n, part.dim, part.stride, scores);
      ScaleAndShift(part.scale == nullptr ? nullptr : part.scale + begin,
                    part.bias == nullptr ? nullptr : part.bias + begin, n, scores);
      for (size_t done = 0; done < n;) {
        // Until there is a threshold, every row is a candidate: look at no more of them than it takes to get
        // one.
        const bool has_threshold = threshold != kNoThreshold;
        const size_t step = has_threshold ? n - done : std::min(n - done, limit + 1 - count);
        ScoredRow* const added = candidates + count;
        size_t num_added = CollectAtLeast(scores + done, step, threshold,
                                          static_cast<uint32_t>(part.first_row + begin + done), added);
        done += step;
        if (query.filter != nullptr && num_added > 0) {
          const auto is_out = [&](const ScoredRow& c) { return !query.filter->Allows(c.row); };
          num_added = static_cast<size_t>(std::remove_if(added, added + num_added, is_out) - added);
        }
        count += num_added;
        if (count <= limit) continue;
        count = PartitionTopK(candidates, count, k);
        threshold = candidates[k - 1].score;
        // Equal scores go to the lower row, and all rows to come are higher: they must be better.
        if (ascending) threshold = std::nextafter(threshold, std::numeric_limits<float>::infinity());
      }
    }
    stats.rows_scanned += part.num_items;
    stats.rows_scored += part.num_items;
    stats.bytes_read += uint64_t{part.num_items} * part.dim * sizeof(float);
  }
  count = SelectTopK(candidates, count, k);
  results.assign(candidates, candidates + count);
  return stats;
}

ItemMatrix MatrixFor(Similarity similarity, const ItemMatrix& items, std::span<const float> inverse_norms) {
  ItemMatrix matrix = items;
  if (similarity == Similarity::kCosine) {
    matrix.bias = nullptr;
    matrix.scale = inverse_norms.data();
  }
  return matrix;
}

RetrievalStats ExactRetriever::Search(const RetrievalQuery& query, RetrievalScratch& scratch,
                                      std::vector<ScoredRow>& results) const {
  const ItemMatrix matrix = MatrixFor(query.similarity, items_, inverse_norms_);
  return SearchExact({&matrix, 1}, query, scratch, results);
}

}  // namespace swiftlet
