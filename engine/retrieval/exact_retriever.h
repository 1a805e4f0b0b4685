// Scores every row: the oracle that every faster index is held against.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_EXACT_RETRIEVER_H_
#define SWIFTLET_ENGINE_RETRIEVAL_EXACT_RETRIEVER_H_

#include <vector>

#include "engine/retrieval/retriever.h"

namespace swiftlet {

// Scans `items` in one blocked pass: score a block, keep what reaches the k-th best score so far, ask the
// filter only about those. Borrows the arrays, which must outlive this.
class ExactRetriever final : public Retriever {
 public:
  // items: scale null. inverse_norms: [num_items], or empty: then no search is by cosine.
  explicit ExactRetriever(const ItemMatrix& items, std::span<const float> inverse_norms = {})
      : items_(items), inverse_norms_(inverse_norms) {}

  RetrievalStats Search(const RetrievalQuery& query, RetrievalScratch& scratch,
                        std::vector<ScoredRow>& results) const override;

 private:
  const ItemMatrix items_;
  const std::span<const float> inverse_norms_;
};

// `items` as a search by `similarity` sees them: with their biases, or scaled by inverse_norms.
ItemMatrix MatrixFor(Similarity similarity, const ItemMatrix& items, std::span<const float> inverse_norms);

// The same over several matrices (snapshot rows, then overlay rows) as if they were one. `results` is cleared
// first.
RetrievalStats SearchExact(std::span<const ItemMatrix> parts, const RetrievalQuery& query,
                           RetrievalScratch& scratch, std::vector<ScoredRow>& results);

// The same over the rows of one matrix that are listed (numbers as in results and filters, each once) and
// allowed by the filter; query.filter itself is not asked again. Ends early where a budget is spent.
RetrievalStats SearchRows(const ItemMatrix& items, std::span<const uint32_t> rows,
                          const RetrievalQuery& query, RetrievalScratch& scratch,
                          std::vector<ScoredRow>& results);

// scores[i] = score(query, row rows[i] of the matrix), scale and bias included, i in [0, n). scratch.scale
// and scratch.bias have room for n.
void ScoreRows(const ItemMatrix& items, const float* query, const uint32_t* rows, size_t n,
               RetrievalScratch& scratch, float* scores);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_EXACT_RETRIEVER_H_
