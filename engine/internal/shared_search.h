// Search over rows that share vectors: each vector is scored once, however many rows have it.
#ifndef SWIFTLET_ENGINE_INTERNAL_SHARED_SEARCH_H_
#define SWIFTLET_ENGINE_INTERNAL_SHARED_SEARCH_H_

#include <span>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/internal/added_rows.h"
#include "engine/retrieval/retriever.h"

namespace swiftlet {

// Buffers of one thread.
struct SharedSearchScratch {
  AlignedVector<float> scores;
  std::vector<ScoredRow> candidates;
};

// Merges the rows of `parts` (ascending) that query.filter, which is not null, allows into `results`, the
// best of other rows, best first: the best query.k of all are left. vectors: the shared ones, number
// first_row + i of each matrix, as `query` scores them; query.similarity is not looked at, nor are budgets.
RetrievalStats SearchShared(std::span<const ItemMatrix> vectors, std::span<const SharedVectorRows> parts,
                            const RetrievalQuery& query, SharedSearchScratch& scratch,
                            std::vector<ScoredRow>& results);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_INTERNAL_SHARED_SEARCH_H_
