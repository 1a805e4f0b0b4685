// Whether an index is worth having for the vectors it was built for, by measurement.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_TRIAL_H_
#define SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_TRIAL_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/retrieval/bound_index.h"
#include "engine/retrieval/retriever.h"

namespace swiftlet {

// Means over the trial's queries.
struct BoundIndexTrial {
  size_t num_queries = 0;
  double recall = 0;        // of the full scan's best ten; below 1 only by a mistake
  double rows_scanned = 0;  // as fractions of a full scan's
  double bytes_read = 0;

  // A full scan streams through memory, an index jumps: it must read much less to be faster.
  bool IsWorthIt() const { return bytes_read < 0.5; }
};

// Searches the ten best for item vectors (as "similar items" asks) and for means of four of them, through the
// index and by a full scan.
BoundIndexTrial TryBoundIndex(const ItemMatrix& items, std::span<const float> inverse_norms,
                              const BoundIndexView& index, size_t num_queries, uint64_t seed);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_TRIAL_H_
