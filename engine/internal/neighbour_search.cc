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

// scratch.votes of all nearest users.
void FindVotes(const ModelSnapshot& snapshot, const CatalogView& view, std::span<const uint32_t> slot_rows,
               NeighbourScratch& scratch) {
  const NeighbourRows& rows = *snapshot.neighbours();
  const NeighbourUsers& users = *snapshot.neighbour_users();
  scratch.votes.clear();
  scratch.vote_offsets.assign(1, 0);
  for (const NearestUser& near : scratch.users.nearest()) {
    for (uint32_t j = 0; j < slot_rows.size(); ++j) {
      const float factor = scratch.factors[j];
      if (factor == 0) continue;
      const std::optional<uint32_t> from = SnapshotRowOf(view, snapshot.num_items(), slot_rows[j]);
      const float weight = rows.Weight(*from, near.user);
      if (weight != 0) scratch.votes.push_back({j, factor * weight * near.inverse * users.scale});
    }
    scratch.vote_offsets.push_back(scratch.votes.size());
  }
}

}  // namespace

std::optional<uint32_t> SnapshotRowOf(const CatalogView& view, uint32_t num_items, uint32_t row) {
  if (row < num_items) return row;
  return view.BaseRowOf(row);
}

void SumNeighbours(const ModelSnapshot& snapshot, const CatalogView& view, std::span<const EncoderSlot> slots,
                   std::span<const uint32_t> slot_rows, NeighbourScratch& scratch) {
  scratch.factors.assign(slots.size(), 0.0f);
  scratch.vote_offsets.clear();
  const NeighbourRows* const neighbours = snapshot.neighbours();
  if (neighbours == nullptr) return;
  const NeighbourUsers* const users = snapshot.neighbour_users();
  scratch.sums.Reset(snapshot.num_items());
  if (users != nullptr) scratch.users.Reset(*users);
  const std::vector<EventClass>& classes = snapshot.manifest().event_classes;
  const auto add = [&](size_t j, float factor) {
    const std::optional<uint32_t> row = SnapshotRowOf(view, snapshot.num_items(), slot_rows[j]);
    if (!row.has_value() || !scratch.sums.MarkSource(*row)) return;
    scratch.factors[j] = factor;
    if (users != nullptr) {
      scratch.users.Add(*neighbours, *row, factor);
    } else {
      scratch.sums.Add(*neighbours, *row, factor);
    }
  };
  for (size_t j = 0; j < slots.size(); ++j) {
    if (slots[j].kind == SlotKind::kContext) add(j, neighbours->PositionWeight(0));
  }
  for (size_t j = 0; j < slots.size(); ++j) {
    if (slots[j].kind != SlotKind::kEvent) continue;
    add(j, neighbours->PositionWeight(slots[j].position) * classes[slots[j].event_class].sign);
  }
  if (users == nullptr) return;
  scratch.users.Find(*users);
  scratch.users.AddVotes(*users, users->scale, scratch.sums);
}

void SumNeighboursOf(const ModelSnapshot& snapshot, uint32_t row, NeighbourScratch& scratch) {
  scratch.sums.Reset(snapshot.num_items());
  const NeighbourUsers* const users = snapshot.neighbour_users();
  if (users == nullptr) return scratch.sums.Add(*snapshot.neighbours(), row, 1);
  scratch.users.Reset(*users);
  scratch.users.Add(*snapshot.neighbours(), row, 1);
  scratch.users.Find(*users);
  float total = 0;
  for (const NearestUser& near : scratch.users.nearest()) total += near.similarity;
  if (total > 0) scratch.users.AddVotes(*users, 1 / total, scratch.sums);
}

void NeighbourTerms(const ModelSnapshot& snapshot, const CatalogView& view,
                    std::span<const uint32_t> slot_rows, uint32_t row, NeighbourScratch& scratch) {
  const NeighbourRows& neighbours = *snapshot.neighbours();
  scratch.terms.assign(slot_rows.size(), 0.0f);
  if (const NeighbourUsers* const users = snapshot.neighbour_users(); users != nullptr) {
    if (scratch.vote_offsets.empty()) FindVotes(snapshot, view, slot_rows, scratch);
    const std::span<const NearestUser> nearest = scratch.users.nearest();
    for (size_t n = 0; n < nearest.size(); ++n) {
      const std::span<const uint32_t> items = users->ItemsOf(nearest[n].user);
      if (!std::binary_search(items.begin(), items.end(), row)) continue;
      for (size_t k = scratch.vote_offsets[n]; k < scratch.vote_offsets[n + 1]; ++k) {
        scratch.terms[scratch.votes[k].slot] += scratch.votes[k].term;
      }
    }
    return;
  }
  for (size_t j = 0; j < slot_rows.size(); ++j) {
    if (scratch.factors[j] == 0) continue;
    const std::optional<uint32_t> from = SnapshotRowOf(view, snapshot.num_items(), slot_rows[j]);
    scratch.terms[j] = scratch.factors[j] * neighbours.Weight(*from, row);
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
