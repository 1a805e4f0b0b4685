// Building a bound index.
//
//   std::optional<BoundIndexData> index = BuildBoundIndex(items, inverse_norms, {});
//   BoundRetriever retriever(items, inverse_norms, index->View());
#ifndef SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_BUILDER_H_
#define SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/base/aligned_vector.h"
#include "engine/retrieval/bound_index.h"
#include "engine/retrieval/retriever.h"

namespace swiftlet {

// The arrays of a BoundIndexView, owned.
struct BoundIndexData {
  size_t dim = 0, stride = 0;
  AlignedVector<float> rotation, centres, boxes;
  AlignedVector<uint32_t> cluster_groups, rows;
  AlignedVector<uint8_t> coarse, fine;
  AlignedVector<GroupFacts> groups;

  BoundIndexView View() const;
};

struct BoundIndexOptions {
  size_t num_threads = 0;   // 0: one for each core
  size_t num_clusters = 0;  // 0: a quarter of the square root of the number of rows where norms differ (by
                            // .3 and more, as the deviation of their logarithms), up to twice it where they
                            // are equal
  uint64_t seed = 1;
};

// An index over items (first_row 0, scale null, all finite) and inverse_norms [num_items] (as in
// ModelSnapshot::inverse_norms). The same on every run on one CPU target. Nothing where an index cannot be:
// no rows, more than 2^31, a dim above kMaxIndexedDim, a norm or bias above kMaxIndexedNorm. Memory besides
// the result: some 20 bytes a row.
std::optional<BoundIndexData> BuildBoundIndex(const ItemMatrix& items, std::span<const float> inverse_norms,
                                              const BoundIndexOptions& options);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_BUILDER_H_
