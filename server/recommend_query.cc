#include "server/recommend_query.h"

#include <algorithm>

#include "server/response_builder.h"

namespace swiftlet {
namespace {

template <typename Names>
std::span<const std::string_view> Views(const Names& names, std::vector<std::string_view>& views) {
  views.clear();
  for (const std::string& name : names) views.emplace_back(name);
  return views;
}

}  // namespace

SearchOptions SearchOf(const SearchOptions& server, const v1::Search& request) {
  SearchOptions search = server;
  if (request.mode() == v1::Search::MODE_EXACT) search.mode = SearchMode::kExact;
  if (request.mode() == v1::Search::MODE_APPROXIMATE) search.mode = SearchMode::kApproximate;
  const auto tighten = [](int32_t asked, uint32_t& budget) {
    if (asked > 0 && (budget == 0 || static_cast<uint32_t>(asked) < budget)) {
      budget = static_cast<uint32_t>(asked);
    }
  };
  tighten(request.budget_rows(), search.max_rows);
  tighten(request.budget_us(), search.max_us);
  return search;
}

void SetFilter(const v1::ItemFilter& filter, QueryBuffers& buffers, RecommendQuery& query) {
  query.exclude_items = KeysOf(filter.exclude_item_ids(), buffers.exclude_items);
  query.any_of_categories = Views(filter.any_of_categories(), buffers.any_of);
  query.none_of_categories = Views(filter.none_of_categories(), buffers.none_of);
}

RecommendQuery QueryOf(const v1::RecommendRequest& request, const SearchOptions& server,
                       QueryBuffers& buffers) {
  RecommendQuery query;
  query.k = static_cast<uint32_t>(request.k());
  SetFilter(request.filter(), buffers, query);
  query.context_items = KeysOf(request.context().item_ids(), buffers.context_items);
  query.exclude_seen = request.has_exclude_seen() ? request.exclude_seen() : true;
  query.explain = request.explain();
  query.search = SearchOf(server, request.search());
  return query;
}

std::span<const HistoryEvent> InlineEvents(const v1::InlineHistory& from, const EventTypeTable& types,
                                           size_t max_events, int64_t now_ms,
                                           std::vector<HistoryEvent>& history) {
  history.clear();
  for (const v1::Event& event : from.events()) {
    history.push_back({.item_key = ItemKeyOf(event.item_id()),
                       .timestamp_ms = event.timestamp_ms() == 0 ? now_ms : event.timestamp_ms(),
                       .value = event.value(),
                       .type = types.FindByName(event.type())->id});
  }
  auto older = [](const HistoryEvent& a, const HistoryEvent& b) { return a.timestamp_ms < b.timestamp_ms; };
  // stable_sort allocates; sessions come in order.
  if (!std::is_sorted(history.begin(), history.end(), older)) {
    std::stable_sort(history.begin(), history.end(), older);
  }
  std::span<const HistoryEvent> events = history;
  return events.size() > max_events ? events.last(max_events) : events;
}

void WriteRecommendation(const v1::RecommendRequest& request, std::string_view request_id,
                         int64_t snapshot_version, const CatalogView& view, const EventTypeTable& event_types,
                         const Recommendation& result, std::span<const HistoryEvent> history,
                         WireWriter* response) {
  using Response = v1::RecommendResponse;  // the writer wants the last field first
  response->AddVarint(Response::kProvenExactFieldNumber, result.retrieval.proven_exact);
  response->AddVarint(Response::kNumHistoryEventsUsedFieldNumber, result.num_history_events_used);
  response->AddString(Response::kRequestIdFieldNumber, request_id);
  response->AddVarint(Response::kSnapshotVersionFieldNumber, static_cast<uint64_t>(snapshot_version));
  AddItems(view, event_types, result, history,
           {.explain = request.explain(), .include_metadata = request.include_metadata()},
           Response::kItemsFieldNumber, response);
}

}  // namespace swiftlet
