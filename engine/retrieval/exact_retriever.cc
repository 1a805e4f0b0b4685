#include "engine/retrieval/exact_retriever.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/kernels/dot.h"

namespace swiftlet {
namespace {

// Rows scored before their scores are looked at: 4 KB of scores stay in the first-level cache.
constexpr size_t kBlockRows = 1024;

constexpr size_t kRowsAtATime = 32;  // of SearchRows: as many are asked for ahead

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
      part.DotRange(query.vector.data(), begin, n, scores);
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
    stats.bytes_read += uint64_t{part.num_items} * part.row_bytes();
  }
  count = SelectTopK(candidates, count, k);
  results.assign(candidates, candidates + count);
  return stats;
}

void ScoreRows(const ItemMatrix& items, const float* query, const uint32_t* rows, size_t n,
               RetrievalScratch& scratch, float* scores) {
  items.DotRowsOf(query, rows, n, scores);
  const auto gather = [&](const float* values, AlignedVector<float>& buffer) -> const float* {
    if (values == nullptr) return nullptr;
    for (size_t i = 0; i < n; ++i) buffer[i] = values[rows[i]];
    return buffer.data();
  };
  const float* const scale = gather(items.scale, scratch.scale);
  ScaleAndShift(scale, gather(items.bias, scratch.bias), n, scores);
}

RetrievalStats SearchRows(const ItemMatrix& items, std::span<const uint32_t> rows,
                          const RetrievalQuery& query, RetrievalScratch& scratch,
                          std::vector<ScoredRow>& results) {
  results.clear();
  RetrievalStats stats;
  stats.proven_exact = true;
  const size_t k = std::min(query.k, rows.size());
  if (k == 0) return stats;
  const SearchDeadline deadline(query);
  const size_t limit = 2 * k + 64;
  if (scratch.candidates.size() < limit + kRowsAtATime) scratch.candidates.resize(limit + kRowsAtATime);
  for (AlignedVector<float>* buffer : {&scratch.scores, &scratch.scale, &scratch.bias}) {
    if (buffer->size() < kRowsAtATime) buffer->resize(kRowsAtATime);
  }
  ScoredRow* const candidates = scratch.candidates.data();
  float threshold = kNoThreshold;
  size_t count = 0, done = 0;
  const auto prefetch = [&](size_t begin, size_t end) {
    for (size_t i = begin; i < std::min(end, rows.size()); ++i) items.Prefetch(rows[i] - items.first_row);
  };
  prefetch(0, kRowsAtATime);
  while (done < rows.size() && !deadline.IsOver(done)) {
    const size_t n = std::min(kRowsAtATime, rows.size() - done);
    prefetch(done + kRowsAtATime, done + 2 * kRowsAtATime);
    uint32_t local[kRowsAtATime];
    for (size_t i = 0; i < n; ++i) local[i] = rows[done + i] - items.first_row;
    float* const scores = scratch.scores.data();
    ScoreRows(items, query.vector.data(), local, n, scratch, scores);
    for (size_t i = 0; i < n; ++i) {
      if (scores[i] >= threshold) candidates[count++] = {rows[done + i], scores[i]};
    }
    done += n;
    if (count <= limit) continue;
    count = PartitionTopK(candidates, count, k);
    threshold = candidates[k - 1].score;
  }
  count = SelectTopK(candidates, count, k);
  results.assign(candidates, candidates + count);
  stats.rows_scanned = stats.rows_scored = done;
  stats.bytes_read = done * items.row_bytes();
  stats.proven_exact = done == rows.size();
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
  // Rows one by one cost several times as much as in a row.
  if (items_.first_row == 0 && query.filter != nullptr &&
      query.filter->CollectAllowed(static_cast<uint32_t>(items_.num_items), items_.num_items / 8,
                                   &scratch.allowed)) {
    return SearchRows(matrix, scratch.allowed, query, scratch, results);
  }
  return SearchExact({&matrix, 1}, query, scratch, results);
}

}  // namespace swiftlet
