// What neighbours (engine/retrieval/neighbour_rows.h, neighbour_users.h) add to the scores of a request, and
// the search for the best items by the sum: <q, v_i> + b_i + s_i.
#ifndef SWIFTLET_ENGINE_INTERNAL_NEIGHBOUR_SEARCH_H_
#define SWIFTLET_ENGINE_INTERNAL_NEIGHBOUR_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/catalog_view.h"
#include "engine/encoders/encoder.h"
#include "engine/retrieval/neighbour_rows.h"
#include "engine/retrieval/neighbour_users.h"
#include "engine/retrieval/retriever.h"
#include "engine/snapshot/model_snapshot.h"

namespace swiftlet {

// Of one of the nearest users: what a slot adds to the score of every item that this user had.
struct NeighbourVote {
  uint32_t slot = 0;
  float term = 0;
};

// Buffers of one thread.
struct NeighbourScratch {
  NeighbourSums sums;
  NearestUserSearch users;  // where neighbours are users
  std::vector<float>
      factors;  // per slot: f_j; 0 for older events of an item, and where there are no neighbours
  std::vector<float> terms;  // per slot, of NeighbourTerms
  // Of user n of users.nearest(): votes[vote_offsets[n] .. vote_offsets[n + 1]); empty until they are needed.
  std::vector<size_t> vote_offsets;
  std::vector<NeighbourVote> votes;
  std::vector<uint32_t> rows;
  AlignedVector<float> values;
  std::vector<ScoredRow> candidates;
};

// The snapshot row that `row` stands for; nothing for an item that the snapshot does not have.
std::optional<uint32_t> SnapshotRowOf(const CatalogView& view, uint32_t num_items, uint32_t row);

// Sets scratch.sums, users and factors from the slots, whose items are `slot_rows`: events, newest first,
// then others. A context item counts as the newest event does, and goes before events of the same item. A
// snapshot without neighbours has no sums.
void SumNeighbours(const ModelSnapshot& snapshot, const CatalogView& view, std::span<const EncoderSlot> slots,
                   std::span<const uint32_t> slot_rows, NeighbourScratch& scratch);

// scratch.sums of a history that is `row` of the snapshot alone. Where neighbours are users: the share of the
// nearest users, by their similarity, that had an item, in [0, 1].
void SumNeighboursOf(const ModelSnapshot& snapshot, uint32_t row, NeighbourScratch& scratch);

// After SumNeighbours, sets scratch.terms to what each slot adds to s of a row of the snapshot: they add up
// to it.
void NeighbourTerms(const ModelSnapshot& snapshot, const CatalogView& view,
                    std::span<const uint32_t> slot_rows, uint32_t row, NeighbourScratch& scratch);

// s of any row of the view.
float NeighbourScore(const ModelSnapshot& snapshot, const CatalogView& view, const NeighbourSums& sums,
                     uint32_t row);

// Of all rows that have a sum and that `filter` allows, the best k by the whole score, best first, into
// scratch.candidates. Those rows are then excluded in `filter`, so that a search of the others by
// <q, v_i> + b_i, which is all of their score, completes the answer. user_vector: [dim], or empty where the
// snapshot has no vectors: then scores are the sums alone.
RetrievalStats SearchNeighbours(const ModelSnapshot& snapshot, const CatalogView& view,
                                std::span<const float> user_vector, size_t k, RowFilter& filter,
                                RetrievalScratch& retrieval, NeighbourScratch& scratch);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_INTERNAL_NEIGHBOUR_SEARCH_H_
