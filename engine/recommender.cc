#include "engine/recommender.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "engine/kernels/dot.h"
#include "engine/retrieval/exact_retriever.h"

namespace swiftlet {
namespace {

void Clear(Recommendation* result) {
  result->items.clear();
  result->contributions.clear();
  result->source = ItemSource::kPopular;
  result->num_history_events_used = 0;
  result->user_vector_reused = false;
  result->retrieval = {};
}

absl::Status CheckK(const RecommendQuery& query) {
  if (query.k == 0) return absl::InvalidArgumentError("k is 0, expected at least 1");
  return absl::OkStatus();
}

// The filter of a query, without what the history excludes.
void BuildFilter(const CatalogView& view, const RecommendQuery& query, Scratch& scratch) {
  RowFilter& filter = scratch.filter;
  filter.Reset(view.num_rows(), view.masked_rows());
  for (const ItemKey key : query.exclude_items) {
    if (const std::optional<uint32_t> row = view.FindRow(key); row.has_value()) filter.Exclude(*row);
  }
  const auto find_ids = [&](std::span<const std::string_view> names, std::vector<uint32_t>& ids) {
    ids.clear();
    for (const std::string_view name : names) {
      if (const std::optional<uint32_t> id = view.FindCategory(name); id.has_value()) ids.push_back(*id);
    }
  };
  find_ids(query.any_of_categories, scratch.category_ids);
  find_ids(query.none_of_categories, scratch.none_of_ids);
  filter.SetCategories(&view, scratch.category_ids, !query.any_of_categories.empty(), scratch.none_of_ids);
}

// later - earlier, at least 0, at most the largest int64.
int64_t Age(int64_t later, int64_t earlier) {
  int64_t age;
  if (__builtin_sub_overflow(later, earlier, &age)) {
    return later > earlier ? std::numeric_limits<int64_t>::max() : 0;
  }
  return std::max<int64_t>(age, 0);
}

// An item's vector as float32, until the next call.
std::span<const float> ItemFloats(const CatalogView& view, uint32_t row, Scratch& scratch) {
  const VectorView vector = view.ItemVector(row);
  if (scratch.item_values.size() < vector.size()) scratch.item_values.resize(vector.size());
  return {vector.Floats(scratch.item_values.data()), vector.size()};
}

void AddSlot(Scratch& scratch, const EncoderSlot& slot, uint32_t row, uint32_t history_index) {
  scratch.slots.push_back(slot);
  scratch.slot_rows.push_back(row);
  scratch.slot_history.push_back(history_index);
}

// Fills the slots, and with exclude_seen excludes the history's and the context's items in scratch.filter;
// the history's are in scratch.seen_rows, too. Sets source and num_history_events_used.
void BuildSlots(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                const UserState& user, bool exclude_seen, Scratch& scratch, Recommendation* result) {
  scratch.slots.clear();
  scratch.slot_rows.clear();
  scratch.slot_history.clear();
  scratch.seen_rows.clear();
  const uint32_t max_events = snapshot.encoder().max_events();
  // A vector of bf16 is widened into the slot's row of slot_values, which must not move any more.
  const size_t row_floats = snapshot.row_type() == RowType::kBf16 ? snapshot.stride() : 0;
  const size_t max_slots = std::min<size_t>(max_events, user.history.size()) + 1 + query.context_items.size();
  if (scratch.slot_values.size() < max_slots * row_floats) scratch.slot_values.resize(max_slots * row_floats);
  const auto input_vector = [&](uint32_t row) {
    return view.InputVector(row).Floats(scratch.slot_values.data() + scratch.slots.size() * row_floats);
  };
  scratch.keys.clear();
  for (size_t i = user.history.size(); i-- > 0;) {
    if (scratch.keys.size() == max_events && !exclude_seen) break;
    scratch.keys.push_back(user.history[i].item_key);
  }
  snapshot.Prefetch(scratch.keys, max_events);
  uint32_t num_events = 0;
  int64_t newest_ms = 0;
  for (size_t i = user.history.size(); i-- > 0;) {
    if (num_events == max_events && !exclude_seen) break;
    const HistoryEvent& event = user.history[i];
    const std::optional<uint32_t> row = view.FindRow(event.item_key);
    if (!row.has_value()) continue;
    if (exclude_seen) {
      scratch.filter.Exclude(*row);
      scratch.seen_rows.push_back(*row);
    }
    if (num_events == max_events) continue;
    const std::optional<uint32_t> event_class = snapshot.ClassOf(event.type, event.value);
    if (!event_class.has_value()) continue;
    if (num_events == 0) newest_ms = event.timestamp_ms;
    AddSlot(scratch,
            {.kind = SlotKind::kEvent,
             .event_class = *event_class,
             .position = num_events,
             .age_ms = Age(newest_ms, event.timestamp_ms),
             .item_logit = view.AttentionLogit(*row),
             .vector = input_vector(*row),
             .row = *row},
            *row, static_cast<uint32_t>(i));
    ++num_events;
  }
  if (!user.long_term.empty()) {
    AddSlot(scratch, {.kind = SlotKind::kLongTerm, .vector = user.long_term.data()}, 0, 0);
  }
  for (const ItemKey key : query.context_items) {
    if (const std::optional<uint32_t> row = view.FindRow(key); row.has_value()) {
      if (exclude_seen) scratch.filter.Exclude(*row);
      AddSlot(scratch, {.kind = SlotKind::kContext, .vector = input_vector(*row), .row = *row}, *row, 0);
    }
  }
  result->num_history_events_used = num_events;
  if (num_events > 0) {
    result->source = ItemSource::kHistory;
  } else if (!user.long_term.empty()) {
    result->source = ItemSource::kLongTerm;
  } else if (!scratch.slots.empty()) {
    result->source = ItemSource::kContext;
  } else {
    result->source = ItemSource::kPopular;
  }
}

// Shares of slots in a sum of f_j times something.
void ShareByFactors(std::span<const float> factors, std::span<float> weights, std::span<float> signs) {
  float sum = 0;
  for (const float factor : factors) sum += std::fabs(factor);
  if (!(sum > 0 && std::isfinite(sum))) sum = 1;
  for (size_t j = 0; j < factors.size(); ++j) {
    weights[j] = std::fabs(factors[j]) / sum;
    signs[j] = factors[j] < 0 ? -1.0f : 1.0f;
  }
}

// scratch.user_vector, weights and signs from the slots, of which there is at least one, and the sums of
// neighbours; with `explain` the terms, too. Where only neighbours score and none has any, there are no slots
// left, and the source is kPopular.
void Encode(const ModelSnapshot& snapshot, const CatalogView& view, bool explain, Scratch& scratch,
            Recommendation* result) {
  scratch.user_vector.resize(snapshot.dim());
  scratch.weights.resize(scratch.slots.size());
  scratch.signs.resize(scratch.slots.size());
  snapshot.encoder().Encode(scratch.slots, scratch.encoder, scratch.user_vector, scratch.weights,
                            scratch.signs);
  if (snapshot.neighbours() != nullptr) {
    SumNeighbours(snapshot, view, scratch.slots, scratch.slot_rows, scratch.neighbours);
    if (!snapshot.has_vectors()) {
      if (scratch.neighbours.sums.rows().empty()) {
        scratch.slots.clear();
        result->source = ItemSource::kPopular;
        return;
      }
      ShareByFactors(scratch.neighbours.factors, scratch.weights, scratch.signs);
    }
  }
  if (!explain) return;
  scratch.terms.resize(scratch.slots.size());
  scratch.terms_known =
      snapshot.encoder().Terms(scratch.slots, scratch.weights, scratch.signs, scratch.encoder, scratch.terms);
  scratch.term_vectors.clear();
  for (const EncoderTerm& term : scratch.terms) scratch.term_vectors.push_back(term.vector);
}

// Makes scratch.user_vector and what is known from the slots, and excludes what was seen. False where there
// is no slot: popular items are the answer.
bool MakeUserVector(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                    const UserState& user, Scratch& scratch, Recommendation* result) {
  BuildSlots(snapshot, view, query, user, query.exclude_seen, scratch, result);
  if (!scratch.slots.empty()) Encode(snapshot, view, query.explain, scratch, result);
  return !scratch.slots.empty();
}

// The same from the memo, where it has the user vector, which is kept there where it has not. Explanations
// and neighbours need the slots themselves, and what is looked at now is not worth keeping.
bool FindOrMakeUserVector(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                          const UserState& user, Scratch& scratch, Recommendation* result) {
  UserVectorMemo& memo = scratch.user_vectors;
  if (!memo.enabled() || !query.reuse_user_vector || query.explain || !query.context_items.empty() ||
      snapshot.neighbours() != nullptr || (user.history.empty() && user.long_term.empty())) {
    return MakeUserVector(snapshot, view, query, user, scratch, result);
  }
  const UserVectorMemo::Key key = memo.KeyOf(view.serial(), query.exclude_seen, user);
  if (UserVectorMemo::Entry entry; memo.Find(key, snapshot.dim(), &entry)) {
    scratch.user_vector.assign(entry.user_vector.begin(), entry.user_vector.end());
    for (const uint32_t row : entry.excluded_rows) scratch.filter.Exclude(row);
    result->source = static_cast<ItemSource>(entry.source);
    result->num_history_events_used = entry.num_events;
    result->user_vector_reused = true;
    return true;
  }
  if (!MakeUserVector(snapshot, view, query, user, scratch, result)) return false;
  memo.Put(key, {.user_vector = scratch.user_vector,
                 .excluded_rows = scratch.seen_rows,
                 .num_events = result->num_history_events_used,
                 .source = static_cast<uint32_t>(result->source)});
  return true;
}

absl::Status CheckLongTerm(const ModelSnapshot& snapshot, const UserState& user) {
  if (!user.long_term.empty() && user.long_term.size() != snapshot.dim()) {
    return absl::InvalidArgumentError(absl::StrCat("the long-term vector has ", user.long_term.size(),
                                                   " values, the snapshot's dim is ", snapshot.dim()));
  }
  return absl::OkStatus();
}

// The best k of scratch.results and the results of other rows, into scratch.results.
void MergeResults(std::span<const ScoredRow> more, size_t k, Scratch& scratch) {
  if (more.empty()) return;
  scratch.results.insert(scratch.results.end(), more.begin(), more.end());
  scratch.results.resize(SelectTopK(scratch.results.data(), scratch.results.size(), k));
}

void AddStats(const RetrievalStats& more, RetrievalStats* stats) {
  stats->rows_scanned += more.rows_scanned;
  stats->rows_scored += more.rows_scored;
  stats->bytes_read += more.bytes_read;
  stats->proven_exact = stats->proven_exact && more.proven_exact;
}

// The best query.k rows for scratch.user_vector that scratch.filter allows, into scratch.results.
void Search(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
            Similarity similarity, Scratch& scratch, RetrievalStats* stats) {
  RetrievalQuery search{.vector = scratch.user_vector,
                        .k = query.k,
                        .filter = &scratch.filter,
                        .similarity = similarity,
                        .max_rows = query.search.max_rows,
                        .max_us = query.search.max_us};
  if (query.search.mode == SearchMode::kApproximate)
    search.bound_scale = snapshot.approximate_scale(similarity);
  if (query.search.mode == SearchMode::kFullScan) {
    const ItemMatrix items = MatrixFor(similarity, snapshot.items(), snapshot.inverse_norms());
    *stats = SearchExact({&items, 1}, search, scratch.retrieval, scratch.results);
  } else {
    *stats = snapshot.retriever().Search(search, scratch.retrieval, scratch.results);
  }
  const bool by_cosine = similarity == Similarity::kCosine;
  AddStats(SearchExact(by_cosine ? view.added_items_by_cosine() : view.added_items(), search,
                       scratch.retrieval, scratch.added_results),
           stats);
  MergeResults(scratch.added_results, query.k, scratch);
  AddStats(SearchShared(by_cosine ? view.shared_vectors_by_cosine() : view.shared_vectors(),
                        view.rows_of_shared_vectors(), search, scratch.shared_search, scratch.results),
           stats);
}

void AddPopularItems(const ModelSnapshot& snapshot, const CatalogView& view, uint32_t k,
                     const RowFilter& filter, Recommendation* result) {
  const uint32_t num_base_rows = snapshot.num_items();
  const auto add = [&](uint32_t row) {
    if (filter.Allows(row)) result->items.push_back({.row = row, .score = view.Popularity(row)});
  };
  for (const uint32_t base_row : snapshot.popularity_order()) {
    if (result->items.size() == k) return;
    ++result->retrieval.rows_scanned;
    ++result->retrieval.rows_scored;
    uint32_t row = base_row;
    if (view.IsMasked(base_row)) {
      // Deleted, or replaced by an added row that takes its place in the order.
      const std::optional<uint32_t> now = view.FindRow(snapshot.Key(base_row));
      if (!now.has_value() || *now == base_row) continue;
      row = *now;
    }
    add(row);
  }
  // New items have no popularity yet; no item of the snapshot has less.
  for (uint32_t row = num_base_rows; row < view.num_rows() && result->items.size() < k; ++row) {
    ++result->retrieval.rows_scanned;
    ++result->retrieval.rows_scored;
    if (!view.BaseRowOf(row).has_value()) add(row);
  }
}

// The answer of a snapshot that has neighbours and no vectors: items with a sum above 0, then those without
// one by popularity, then the others.
void AddBestNeighbours(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                       Scratch& scratch, Recommendation* result) {
  result->retrieval =
      SearchNeighbours(snapshot, view, {}, query.k, scratch.filter, scratch.retrieval, scratch.neighbours);
  const std::span<const ScoredRow> found = scratch.neighbours.candidates;
  size_t next = 0;
  for (; next < found.size() && found[next].score > 0; ++next) {
    result->items.push_back({.row = found[next].row, .score = found[next].score});
  }
  const size_t num_positive = result->items.size();
  AddPopularItems(snapshot, view, query.k, scratch.filter, result);
  for (size_t i = num_positive; i < result->items.size(); ++i) result->items[i].score = 0;
  for (; next < found.size() && result->items.size() < query.k; ++next) {
    result->items.push_back({.row = found[next].row, .score = found[next].score});
  }
}

ContributionKind KindOf(SlotKind kind) {
  switch (kind) {
    case SlotKind::kEvent:
      return ContributionKind::kEvent;
    case SlotKind::kLongTerm:
      return ContributionKind::kLongTerm;
    case SlotKind::kContext:
      return ContributionKind::kContext;
  }
  return ContributionKind::kEvent;
}

// Newest event first among equals. Terms of absurd vectors may overflow to NaN, which counts as the least.
bool ComesBefore(const Contribution& a, const Contribution& b) {
  const auto order = [](float score) {
    return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
  };
  return std::tuple(-order(a.score), a.kind, b.history_index, a.row) <
         std::tuple(-order(b.score), b.kind, a.history_index, b.row);
}

// Appends the terms of one item's score, largest first.
void Explain(const ModelSnapshot& snapshot, const CatalogView& view, Scratch& scratch, RecommendedItem& item,
             Recommendation* result) {
  std::vector<Contribution>& all = result->contributions;
  const size_t begin = all.size();
  if (result->source == ItemSource::kPopular) {
    all.push_back({.kind = ContributionKind::kPopularity, .score = item.score});
  } else {
    const float bias = snapshot.has_vectors() ? view.Bias(item.row) : 0.0f;
    const std::optional<uint32_t> base = SnapshotRowOf(view, snapshot.num_items(), item.row);
    const bool by_neighbours = snapshot.neighbours() != nullptr && base.has_value();
    const bool by_slot = scratch.terms_known || by_neighbours;
    if (by_neighbours) NeighbourTerms(snapshot, view, scratch.slot_rows, *base, scratch.neighbours);
    if (scratch.terms_known) {
      const std::span<const float> vector = ItemFloats(view, item.row, scratch);
      scratch.dots.resize(scratch.slots.size());
      DotPointers(vector.data(), scratch.term_vectors.data(), scratch.slots.size(), vector.size(),
                  scratch.dots.data());
    }
    float of_neighbours = 0;
    for (size_t j = 0; by_slot && j < scratch.slots.size(); ++j) {
      float score = scratch.terms_known ? scratch.terms[j].factor * scratch.dots[j] : 0.0f;
      if (by_neighbours) {
        of_neighbours += scratch.neighbours.terms[j];
        score += scratch.neighbours.terms[j];
      }
      all.push_back({.kind = KindOf(scratch.slots[j].kind),
                     .row = scratch.slot_rows[j],
                     .history_index = scratch.slot_history[j],
                     .weight = scratch.weights[j],
                     .score = score});
    }
    if (!scratch.terms_known) {
      all.push_back(
          {.kind = ContributionKind::kHistory, .weight = 1, .score = item.score - bias - of_neighbours});
    }
    if (bias != 0) all.push_back({.kind = ContributionKind::kItemBias, .score = bias});
    std::sort(all.begin() + static_cast<ptrdiff_t>(begin), all.end(), ComesBefore);
  }
  item.explanation_begin = static_cast<uint32_t>(begin);
  item.explanation_end = static_cast<uint32_t>(all.size());
}

}  // namespace

absl::Status Recommend(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                       const UserState& user, Scratch& scratch, Recommendation* result) {
  Clear(result);
  if (absl::Status status = CheckK(query); !status.ok()) return status;
  if (absl::Status status = CheckLongTerm(snapshot, user); !status.ok()) return status;
  BuildFilter(view, query, scratch);
  if (!FindOrMakeUserVector(snapshot, view, query, user, scratch, result)) {
    result->retrieval.proven_exact = true;
    AddPopularItems(snapshot, view, query.k, scratch.filter, result);
  } else if (!snapshot.has_vectors()) {
    AddBestNeighbours(snapshot, view, query, scratch, result);
  } else {
    RetrievalStats of_neighbours;
    if (snapshot.neighbours() != nullptr) {
      of_neighbours = SearchNeighbours(snapshot, view, scratch.user_vector, query.k, scratch.filter,
                                       scratch.retrieval, scratch.neighbours);
    }
    Search(snapshot, view, query, Similarity::kDot, scratch, &result->retrieval);
    if (snapshot.neighbours() != nullptr) {
      AddStats(of_neighbours, &result->retrieval);
      MergeResults(scratch.neighbours.candidates, query.k, scratch);
    }
    for (const ScoredRow& best : scratch.results) {
      result->items.push_back({.row = best.row, .score = best.score});
    }
  }
  if (query.explain) {
    for (RecommendedItem& item : result->items) Explain(snapshot, view, scratch, item, result);
  }
  return absl::OkStatus();
}

absl::Status ScoreItems(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                        const UserState& user, std::span<const uint32_t> rows, Scratch& scratch,
                        Recommendation* result) {
  Clear(result);
  if (absl::Status status = CheckLongTerm(snapshot, user); !status.ok()) return status;
  for (const uint32_t row : rows) {
    if (row >= view.num_rows()) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", row, " is not in the catalogue of ", view.num_rows(), " rows"));
    }
  }
  BuildSlots(snapshot, view, query, user, /*exclude_seen=*/false, scratch, result);
  if (!scratch.slots.empty()) Encode(snapshot, view, query.explain, scratch, result);
  for (const uint32_t row : rows) {
    float score = view.Popularity(row);
    if (!scratch.slots.empty()) {
      score = 0;
      if (snapshot.has_vectors()) {
        const float* const vector = ItemFloats(view, row, scratch).data();
        score = Dot(scratch.user_vector.data(), vector, snapshot.dim()) + view.Bias(row);
      }
      if (snapshot.neighbours() != nullptr) {
        score += NeighbourScore(snapshot, view, scratch.neighbours.sums, row);
      }
    }
    result->items.push_back({.row = row, .score = score});
  }
  result->retrieval.rows_scanned = result->retrieval.rows_scored = rows.size();
  result->retrieval.proven_exact = true;
  if (query.explain) {
    for (RecommendedItem& item : result->items) Explain(snapshot, view, scratch, item, result);
  }
  return absl::OkStatus();
}

absl::Status SimilarItems(const ModelSnapshot& snapshot, const CatalogView& view, const RecommendQuery& query,
                          uint32_t row, Scratch& scratch, Recommendation* result) {
  Clear(result);
  if (absl::Status status = CheckK(query); !status.ok()) return status;
  if (row >= view.num_rows()) {
    return absl::InvalidArgumentError(
        absl::StrCat("row ", row, " is not in the catalogue of ", view.num_rows(), " rows"));
  }
  BuildFilter(view, query, scratch);
  scratch.filter.Exclude(row);
  if (!snapshot.has_vectors()) {
    const std::optional<uint32_t> base = SnapshotRowOf(view, snapshot.num_items(), row);
    if (base.has_value()) {
      SumNeighboursOf(snapshot, *base, scratch.neighbours);
    } else {
      scratch.neighbours.sums.Reset(snapshot.num_items());
    }
    result->retrieval =
        SearchNeighbours(snapshot, view, {}, query.k, scratch.filter, scratch.retrieval, scratch.neighbours);
    for (const ScoredRow& best : scratch.neighbours.candidates) {
      result->items.push_back({.row = best.row, .score = std::clamp(best.score, -1.0f, 1.0f)});
    }
    return absl::OkStatus();
  }
  const std::span<const float> vector = ItemFloats(view, row, scratch);
  scratch.user_vector.assign(vector.size(), 0.0f);
  AddScaled(view.InverseNorm(row), vector.data(), vector.size(), scratch.user_vector.data());
  Search(snapshot, view, query, Similarity::kCosine, scratch, &result->retrieval);
  for (const ScoredRow& best : scratch.results) {
    result->items.push_back({.row = best.row, .score = std::clamp(best.score, -1.0f, 1.0f)});
  }
  return absl::OkStatus();
}

}  // namespace swiftlet
