// Scores every row: the oracle that every faster index is held against.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_EXACT_RETRIEVER_H_
#define SWIFTLET_ENGINE_RETRIEVAL_EXACT_RETRIEVER_H_

#include <vector>

#include "engine/retrieval/retriever.h"

namespace swiftlet {

// Scans `items` in one blocked pass: score a block, keep what reaches the k-th best score so far, ask the
// filter only about those. Borrows the matrix, which must outlive this.
class ExactRetriever final : public Retriever {
 public:
  explicit ExactRetriever(const ItemMatrix& items) : items_(items) {}

  RetrievalStats Search(const RetrievalQuery& query, RetrievalScratch& scratch,
                        std::vector<ScoredRow>& results) const override;

 private:
  const ItemMatrix items_;
};

// The same over several matrices (snapshot rows, then overlay rows) as if they were one. `results` is cleared
// first.
RetrievalStats SearchExact(std::span<const ItemMatrix> parts, const RetrievalQuery& query,
                           RetrievalScratch& scratch, std::vector<ScoredRow>& results);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_EXACT_RETRIEVER_H_
