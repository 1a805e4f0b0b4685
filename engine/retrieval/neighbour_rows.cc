#include "engine/retrieval/neighbour_rows.h"

#include <cmath>

namespace swiftlet {

float NeighbourRows::Weight(uint32_t from, uint32_t to) const {
  const std::span<const uint32_t> row = RowsOf(from);
  const auto at = std::lower_bound(row.begin(), row.end(), to);
  return at == row.end() || *at != to ? 0.0f : WeightsOf(from)[static_cast<size_t>(at - row.begin())];
}

void NeighbourSums::Reset(uint32_t num_items) {
  rows_.clear();
  if (cells_.size() < num_items) {
    cells_.resize(num_items);
    sources_.resize(num_items);
    rows_.reserve(num_items);
  }
  if (++stamp_ != 0) return;
  // After 2^32 requests, stamps of old ones would count again.
  std::fill(cells_.begin(), cells_.end(), Cell());
  std::fill(sources_.begin(), sources_.end(), 0);
  stamp_ = 1;
}

bool NeighbourSums::MarkSource(uint32_t row) {
  if (sources_[row] == stamp_) return false;
  sources_[row] = stamp_;
  return true;
}

template <typename TermOf>
void NeighbourSums::AddTerms(std::span<const uint32_t> rows, const TermOf& term_of) {
  constexpr size_t kAhead = 16;
  for (size_t k = 0; k < rows.size(); ++k) {
    if (k + kAhead < rows.size()) __builtin_prefetch(&cells_[rows[k + kAhead]], 1);
    Cell& cell = cells_[rows[k]];
    const float term = term_of(k);
    if (cell.stamp == stamp_) {
      cell.sum += term;
    } else {
      cell = {term, stamp_};
      rows_.push_back(rows[k]);
    }
  }
}

void NeighbourSums::Add(const NeighbourRows& neighbours, uint32_t row, float factor) {
  const std::span<const float> weights = neighbours.WeightsOf(row);
  AddTerms(neighbours.RowsOf(row), [&](size_t k) { return factor * weights[k]; });
}

void NeighbourSums::AddToEach(std::span<const uint32_t> rows, float term) {
  AddTerms(rows, [&](size_t) { return term; });
}

float NeighbourSums::At(uint32_t row) const {
  constexpr float kMax = 1e30f;
  const Cell& cell = cells_[row];
  if (cell.stamp != stamp_ || std::isnan(cell.sum)) return 0;
  return std::clamp(cell.sum, -kMax, kMax);
}

}  // namespace swiftlet
