#include "engine/internal/neighbour_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "engine/kernels/dot.h"
#include "engine/kernels/top_k.h"
#include "engine/retrieval/exact_retriever.h"

namespace swiftlet {
namespace {

constexpr size_t kRowsAtATime = 32;

}  // namespace

std::optional<uint32_t> SnapshotRowOf(const CatalogView& view, uint32_t num_items, uint32_t row) {
  if (row < num_items) return row;
  return view.BaseRowOf(row);
}

void SumNeighbours(const ModelSnapshot& snapshot, const CatalogView& view, std::span<const EncoderSlot> slots,
                   std::span<const uint32_t> slot_rows, NeighbourScratch& scratch) {
  scratch.factors.assign(slots.size(), 0.0f);
  const NeighbourRows* const neighbours = snapshot.neighbours();
  if (neighbours == nullptr) return;
  scratch.sums.Reset(snapshot.num_items());
  const std::vector<EventClass>& classes = snapshot.manifest().event_classes;
  const auto add = [&](size_t j, float factor) {
    const std::optional<uint32_t> row = SnapshotRowOf(view, snapshot.num_items(), slot_rows[j]);
    if (!row.has_value() || !scratch.sums.MarkSource(*row)) return;
    scratch.factors[j] = factor;
    scratch.sums.Add(*neighbours, *row, factor);
  };
  for (size_t j = 0; j < slots.size(); ++j) {
    if (slots[j].kind == SlotKind::kContext) add(j, neighbours->PositionWeight(0));
  }
  for (size_t j = 0; j < slots.size(); ++j) {
    if (slots[j].kind != SlotKind::kEvent) continue;
    add(j, neighbours->PositionWeight(slots[j].position) * classes[slots[j].event_class].sign);
  }
}

float NeighbourScore(const ModelSnapshot& snapshot, const CatalogView& view, const NeighbourSums& sums,
                     uint32_t row) {
  const std::optional<uint32_t> base = SnapshotRowOf(view, snapshot.num_items(), row);
  return base.has_value() ? sums.At(*base) : 0.0f;
}

RetrievalStats SearchNeighbours(const ModelSnapshot& snapshot, const CatalogView& view,
                                std::span<const float> user_vector, size_t k, RowFilter& filter,
                                RetrievalScratch& retrieval, NeighbourScratch& scratch) {
  RetrievalStats stats;
  stats.proven_exact = true;
  const NeighbourSums& sums = scratch.sums;
  const size_t limit = 2 * std::min<size_t>(k, snapshot.num_items()) + 64;
  std::vector<ScoredRow>& best = scratch.candidates;
  best.clear();
  float threshold = -std::numeric_limits<float>::infinity();
  const auto offer = [&](uint32_t row, float score) {
    if (!(score >= threshold)) return;  // NaN is left out, as by CollectAtLeast
    best.push_back({row, score});
    if (best.size() <= limit) return;
    best.resize(PartitionTopK(best.data(), best.size(), k));
    threshold = best.back().score;
  };

  // Rows of the snapshot are collected and scored together; those that an added row stands for, one by one.
  scratch.rows.clear();
  for (const uint32_t base : sums.rows()) {
    if (!view.IsMasked(base)) {
      if (!filter.Allows(base)) continue;
      filter.Exclude(base);
      scratch.rows.push_back(base);
      continue;
    }
    const std::optional<uint32_t> row = view.FindRow(snapshot.Key(base));
    if (!row.has_value() || *row == base || !filter.Allows(*row)) continue;
    filter.Exclude(*row);
    float score = 0;
    if (!user_vector.empty()) {
      const VectorView vector = view.ItemVector(*row);
      if (scratch.values.size() < vector.size()) scratch.values.resize(vector.size());
      score = Dot(user_vector.data(), vector.Floats(scratch.values.data()), vector.size()) + view.Bias(*row);
    }
    offer(*row, score + sums.At(base));
    ++stats.rows_scored;
  }
  stats.rows_scanned = sums.rows().size();
  stats.rows_scored += scratch.rows.size();

  if (user_vector.empty()) {
    for (const uint32_t row : scratch.rows) offer(row, sums.At(row));
  } else {
    const ItemMatrix& items = snapshot.items();
    for (AlignedVector<float>* buffer : {&retrieval.scores, &retrieval.scale, &retrieval.bias}) {
      if (buffer->size() < kRowsAtATime) buffer->resize(kRowsAtATime);
    }
    for (size_t done = 0; done < scratch.rows.size(); done += kRowsAtATime) {
      const size_t n = std::min(kRowsAtATime, scratch.rows.size() - done);
      for (size_t ahead = done + kRowsAtATime; ahead < std::min(done + 2 * kRowsAtATime, scratch.rows.size());
           ++ahead) {
        items.Prefetch(scratch.rows[ahead]);
      }
      const uint32_t* const rows = scratch.rows.data() + done;
      ScoreRows(items, user_vector.data(), rows, n, retrieval, retrieval.scores.data());
      for (size_t i = 0; i < n; ++i) offer(rows[i], retrieval.scores[i] + sums.At(rows[i]));
    }
    stats.bytes_read = scratch.rows.size() * items.row_bytes();
  }
  best.resize(SelectTopK(best.data(), best.size(), k));
  return stats;
}

}  // namespace swiftlet
