// The few messages of the API that the load generator sends and reads, at the cost of their bytes: it must
// not be what limits the load. tests/unit/client/load/wire_test.cc holds them to the generated code.
#ifndef SWIFTLET_CLIENT_LOAD_WIRE_H_
#define SWIFTLET_CLIENT_LOAD_WIRE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace swiftlet::load {

// Each appends to `out`.
// RecommendRequest of a stored user.
void AppendRecommend(std::string_view user_id, int k, std::string& out);
// RecommendRequest with an inline history: AppendInlineEvent fills `history`.
void AppendInlineEvent(std::string_view item_id, std::string_view type, std::string& history);
void AppendRecommendInline(std::string_view history, int k, std::string& out);
// SimilarItemsRequest.
void AppendSimilar(std::string_view item_id, int k, std::string& out);
// One event of a RecordEventsRequest. An empty event_id is left out, and so is a time of 0.
void AppendEvent(std::string_view user_id, std::string_view item_id, std::string_view type,
                 int64_t timestamp_ms, std::string_view event_id, std::string& out);
// One item of an UpsertItemsRequest, without metadata.
void AppendItem(std::string_view item_id, std::span<const float> vector, std::string& out);

// RecommendResponse or SimilarItemsResponse. The ids point into the parsed bytes.
struct RankedAnswer {
  std::vector<std::string_view> item_ids;
  int64_t snapshot_version = 0;
};
// False when the bytes are no message.
bool ParseRanked(std::string_view bytes, RankedAnswer& answer);

// RecordEventsResponse (recorded, duplicates) or UpsertItemsResponse (upserted, 0).
struct CountAnswer {
  int64_t first = 0;
  int64_t second = 0;
};
bool ParseCounts(std::string_view bytes, CountAnswer& answer);

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_WIRE_H_
