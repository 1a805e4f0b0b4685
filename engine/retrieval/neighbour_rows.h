// A sparse item-item model: with each item of the catalogue the items that it speaks for or against, as EASE
// (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019) and item-kNN (Sarwar et al., WWW
// 2001; Deshpande and Karypis, TOIS 2004) learn it. A user's score of item i is
//
//   s_i = sum_j f_j W[j, i]      f_j = position_weights[min(position_j, P - 1)] * sign_j
//
// over the different items j of the history, each at its newest event. s_i is 0 for all but the few thousand
// items that the rows of the history name, so that a request costs the entries of those rows.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_NEIGHBOUR_ROWS_H_
#define SWIFTLET_ENGINE_RETRIEVAL_NEIGHBOUR_ROWS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace swiftlet {

// Borrowed and immutable. Row j: rows[offsets[j] .. offsets[j + 1]), ascending, with their weights W[j, .].
struct NeighbourRows {
  std::span<const uint64_t> offsets;        // [num_items + 1]
  std::span<const uint32_t> rows;           // each below num_items
  std::span<const float> weights;           // as rows, finite
  std::span<const float> position_weights;  // [P], P >= 1, finite; position 0 is the newest event

  uint32_t num_items() const { return static_cast<uint32_t>(offsets.size() - 1); }
  std::span<const uint32_t> RowsOf(uint32_t row) const {
    return rows.subspan(offsets[row], offsets[row + 1] - offsets[row]);
  }
  std::span<const float> WeightsOf(uint32_t row) const {
    return weights.subspan(offsets[row], offsets[row + 1] - offsets[row]);
  }
  // W[from, to]; 0 where there is no such entry.
  float Weight(uint32_t from, uint32_t to) const;
  float PositionWeight(size_t position) const {
    return position_weights[std::min(position, position_weights.size() - 1)];
  }
};

// The scores of one request. One per thread; may be used with any model. Allocates nothing once it has grown
// to the catalogue's size.
class NeighbourSums {
 public:
  // Forgets all; requires that rows to come are below num_items.
  void Reset(uint32_t num_items);
  // Whether `row` was not marked since Reset; marks it.
  bool MarkSource(uint32_t row);
  // s_i += factor * W[row, i] for all i. Sums beyond float's range end at +-1e30.
  void Add(const NeighbourRows& neighbours, uint32_t row, float factor);
  // s_i += term for all i of `rows`.
  void AddToEach(std::span<const uint32_t> rows, float term);
  // Rows that have a sum, 0 or not, in order of their first entry.
  std::span<const uint32_t> rows() const { return rows_; }
  bool Has(uint32_t row) const { return cells_[row].stamp == stamp_; }
  // s of a row; 0 where it has none.
  float At(uint32_t row) const;

 private:
  // s_i += term_of(k) for i = rows[k].
  template <typename TermOf>
  void AddTerms(std::span<const uint32_t> rows, const TermOf& term_of);

  struct Cell {
    float sum = 0;
    uint32_t stamp = 0;  // of the request that `sum` belongs to
  };
  std::vector<Cell> cells_;
  std::vector<uint32_t> sources_;  // by row: the request that marked it
  std::vector<uint32_t> rows_;
  uint32_t stamp_ = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_NEIGHBOUR_ROWS_H_
