// Exact search through a bound index.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_BOUND_RETRIEVER_H_
#define SWIFTLET_ENGINE_RETRIEVAL_BOUND_RETRIEVER_H_

#include <span>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/retrieval/bound_index.h"
#include "engine/retrieval/retriever.h"

namespace swiftlet {

// Returns what ExactRetriever returns over the same items, rows and scores to the last bit, unless the query
// asks for less. Borrows all arrays, which must outlive this and hold together (CheckBoundIndexStructure and
// CheckBoundIndexValues).
class BoundRetriever final : public Retriever {
 public:
  // items: first_row 0, scale null. inverse_norms: [num_items].
  BoundRetriever(const ItemMatrix& items, std::span<const float> inverse_norms, const BoundIndexView& index);

  RetrievalStats Search(const RetrievalQuery& query, RetrievalScratch& scratch,
                        std::vector<ScoredRow>& results) const override;

 private:
  friend class BoundSearch;

  const ItemMatrix items_;
  const std::span<const float> inverse_norms_;
  const BoundIndexView index_;
  std::vector<float> inverse_tails_;                 // of each cluster: 1 / |tail of its direction|, or 0
  AlignedVector<float> cluster_boxes_[kNumBoxRows];  // of each cluster: upper ends over its groups
  size_t max_cluster_groups_ = 0;
  size_t max_direct_rows_ = 0;  // a filter that allows no more: those are scored, without the index
  float max_abs_bias_ = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_BOUND_RETRIEVER_H_
