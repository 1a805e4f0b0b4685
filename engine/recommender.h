// The request pipeline over one snapshot: pure functions of their arguments, with per-thread scratch and no
// allocation in the steady state. No locks, no clock, no I/O.
#ifndef SWIFTLET_ENGINE_RECOMMENDER_H_
#define SWIFTLET_ENGINE_RECOMMENDER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/catalog_view.h"
#include "engine/encoders/encoder.h"
#include "engine/internal/neighbour_search.h"
#include "engine/internal/shared_search.h"
#include "engine/internal/user_vector_memo.h"
#include "engine/retrieval/retriever.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/user_state.h"

namespace swiftlet {

enum class SearchMode : uint8_t {
  kExact,        // by the snapshot's index where it has one: the rows and scores of a full scan
  kApproximate,  // by the index with the scales that the trainer calibrated; as kExact without them
  kFullScan,     // every row: the oracle
};

struct SearchOptions {
  SearchMode mode = SearchMode::kExact;
  // Budgets of an index: RetrievalQuery::max_rows and max_us. 0: no limit.
  uint32_t max_rows = 0;
  uint32_t max_us = 0;
};

struct RecommendQuery {
  uint32_t k = 0;                                            // >= 1
  std::span<const ItemKey> exclude_items = {};               // unknown keys are ignored
  std::span<const ItemKey> context_items = {};               // unknown keys are ignored
  std::span<const std::string_view> any_of_categories = {};  // empty: no restriction
  std::span<const std::string_view> none_of_categories = {};
  bool exclude_seen = true;  // leave out the items of UserState::history and context_items
  bool explain = false;
  bool reuse_user_vector = true;  // with Scratch::user_vectors: false where nobody will ask this again
  SearchOptions search = {};
};

enum class ItemSource : uint8_t { kHistory, kLongTerm, kContext, kPopular };

// kHistory: all that is known about the user at once, where the encoder's user vector is no sum over slots.
enum class ContributionKind : uint8_t { kEvent, kLongTerm, kContext, kItemBias, kPopularity, kHistory };

// One term of a score; the terms of an item add up to its score within 1e-4 relative to the largest |term|.
struct Contribution {
  ContributionKind kind = ContributionKind::kEvent;
  uint32_t row = 0;            // kEvent, kContext: row of the item that caused it (CatalogView::ItemId)
  uint32_t history_index = 0;  // kEvent: index into UserState::history
  float weight = 0;            // of the slot: UserEncoder::Encode's
  float score = 0;
};

struct RecommendedItem {
  uint32_t row = 0;  // CatalogView::ItemId(row)
  float score = 0;
  uint32_t explanation_begin = 0, explanation_end = 0;  // into Recommendation::contributions
};

// Reused between requests: clear() keeps the capacity.
struct Recommendation {
  std::vector<RecommendedItem> items;        // best first
  std::vector<Contribution> contributions;   // per item, largest score first; empty unless asked for
  ItemSource source = ItemSource::kPopular;  // of all items: one answer has one source
  uint32_t num_history_events_used = 0;
  bool user_vector_reused = false;  // it was in Scratch::user_vectors
  RetrievalStats retrieval;

  std::span<const Contribution> ExplanationOf(const RecommendedItem& item) const {
    return {contributions.data() + item.explanation_begin, item.explanation_end - item.explanation_begin};
  }
};

// Buffers of one thread. One per thread; may be used with any snapshot.
struct Scratch {
  std::vector<EncoderSlot> slots;
  std::vector<uint32_t> slot_rows, slot_history;  // per slot: item row, index into the history
  std::vector<EncoderTerm> terms;                 // per slot, when terms_known: for explanations
  bool terms_known = false;
  std::vector<const float*> term_vectors;
  EncoderScratch encoder;
  AlignedVector<float> slot_values;  // rows of the slots' vectors that are stored as bf16, as float32
  AlignedVector<float> item_values;  // the same of one item
  AlignedVector<float> user_vector, weights, signs, dots;
  std::vector<uint32_t> category_ids, none_of_ids;
  std::vector<ItemKey> keys;
  std::vector<uint32_t> seen_rows;  // of the history, where seen items are left out
  RowFilter filter;
  // Off unless it is configured: for those who answer the same users again and again (Recommend only).
  UserVectorMemo user_vectors;
  RetrievalScratch retrieval;
  SharedSearchScratch shared_search;
  NeighbourScratch neighbours;
  std::vector<ScoredRow> results, added_results;
};

// The k best items for a user. The user vector is made of the newest encoder().max_events() events whose item
// and class are known (in this order, newest first; ages count from the newest of them), the long-term vector
// and the context's items. Deleted items do not appear in answers, but still count as history and context.
// With no slot at all, the most popular allowed items, scored by popularity. Where the snapshot has
// neighbours, items or users, their sum is part of the score, and with neighbours alone, without vectors:
// items that no neighbour of the history names have score 0 and come in order of popularity after those with
// more, and a history that has no neighbours is answered as an empty one. `result` is cleared first.
// INVALID_ARGUMENT for k == 0 or a long-term vector of another size. `view` must have been built for
// `snapshot`.
absl::Status Recommend(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                       const UserState& user, Scratch& scratch, Recommendation* result);

// Scores of `rows` (masked rows are scored too) in that order: the same numbers as Recommend's, to the last
// bit while retrieval is exact. query.k, filters and exclude_seen are not looked at. INVALID_ARGUMENT for a
// row that is not below view.num_rows().
absl::Status ScoreItems(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                        const UserState& user, std::span<const uint32_t> rows, Scratch& scratch,
                        Recommendation* result);

// The k rows with the largest cosine to `row`, which is left out itself. Where the snapshot has no vectors,
// the row's neighbours by their weights, which are clamped to [-1, 1], or, where neighbours are users, by the
// share of the row's nearest users that had them: there may be fewer than k. Filters of `query` apply
// (exclude_seen does not); scores are cosines, in [-1, 1]. A zero vector has cosine 0 to everything. `source`
// says nothing here, and `explain` is ignored. INVALID_ARGUMENT for k == 0 or row >= view.num_rows().
absl::Status SimilarItems(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                          uint32_t row, Scratch& scratch, Recommendation* result);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RECOMMENDER_H_
