// A RecommendRequest as the engine takes it, and the engine's answer as a RecommendResponse.
#ifndef SWIFTLET_SERVER_RECOMMEND_QUERY_H_
#define SWIFTLET_SERVER_RECOMMEND_QUERY_H_

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/catalog_view.h"
#include "engine/event_types.h"
#include "engine/recommender.h"
#include "server/wire_writer.h"
#include "swiftlet/v1/recommendation.pb.h"

namespace swiftlet {

// What a query borrows; used again by every request of a thread.
struct QueryBuffers {
  std::vector<ItemKey> exclude_items, context_items;
  std::vector<std::string_view> any_of, none_of;
};

// The server's options with what the request says: any mode, and budgets where they are smaller.
SearchOptions SearchOf(const SearchOptions& server, const v1::Search& request);

// Keys of `ids` in `keys`, and the result over them.
template <typename Ids>
std::span<const ItemKey> KeysOf(const Ids& ids, std::vector<ItemKey>& keys) {
  keys.clear();
  for (const auto& id : ids) keys.push_back(ItemKeyOf(id));
  return keys;
}

void SetFilter(const v1::ItemFilter& filter, QueryBuffers& buffers, RecommendQuery& query);

// A valid request. The query borrows from both.
RecommendQuery QueryOf(const v1::RecommendRequest& request, const SearchOptions& server,
                       QueryBuffers& buffers);

// The events of a session as a history in `history`: ordered by time, then by position; the newest that a
// stored history would keep. Their types must be known.
std::span<const HistoryEvent> InlineEvents(const v1::InlineHistory& from, const EventTypeTable& types,
                                           size_t max_events, int64_t now_ms,
                                           std::vector<HistoryEvent>& history);

// The fields of a v1::RecommendResponse, into an empty writer. history: of the user.
void WriteRecommendation(const v1::RecommendRequest& request, std::string_view request_id,
                         int64_t snapshot_version, const CatalogView& view, const EventTypeTable& event_types,
                         const Recommendation& result, std::span<const HistoryEvent> history,
                         WireWriter* response);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_RECOMMEND_QUERY_H_
