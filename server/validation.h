// What a request may hold: the one place that decides. Every function returns INVALID_ARGUMENT with a message
// that names the field and its value ("k: 0 is not in [1, 1000]", "events[3].item_id: ..."), long values cut
// short. Pure; thread-safe.
#ifndef SWIFTLET_SERVER_VALIDATION_H_
#define SWIFTLET_SERVER_VALIDATION_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "engine/event_types.h"
#include "server/config.h"
#include "swiftlet/v1/admin.pb.h"
#include "swiftlet/v1/catalog.pb.h"
#include "swiftlet/v1/event.pb.h"
#include "swiftlet/v1/recommendation.pb.h"
#include "swiftlet/v1/user.pb.h"

namespace swiftlet {

class RequestValidator {
 public:
  RequestValidator(const RequestLimits& limits, const EventTypeTable& event_types)
      : limits_(limits), event_types_(event_types) {}

  // now_ms: the server's clock; timestamps may be a day ahead of it.
  absl::Status Check(const v1::RecommendRequest& request, int64_t now_ms) const;
  absl::Status Check(const v1::ScoreItemsRequest& request, int64_t now_ms) const;
  absl::Status Check(const v1::PredictRequest& request, int64_t now_ms) const;
  absl::Status Check(const v1::SimilarItemsRequest& request) const;
  absl::Status Check(const v1::RecordEventsRequest& request, int64_t now_ms) const;
  absl::Status Check(const v1::UpsertItemsRequest& request) const;
  absl::Status Check(const v1::DeleteItemsRequest& request) const;
  absl::Status Check(const v1::GetItemsRequest& request) const;
  absl::Status Check(const v1::GetUserRequest& request) const;
  absl::Status Check(const v1::DeleteUserRequest& request) const;
  absl::Status Check(const v1::ExportUserRequest& request) const;
  absl::Status Check(const v1::LoadSnapshotRequest& request) const;
  absl::Status Check(const v1::PreviewSnapshotRequest& request, int64_t now_ms) const;

 private:
  struct Path;
  absl::Status CheckId(const Path& path, const std::string& id) const;
  absl::Status CheckRequestId(const std::string& id) const;
  absl::Status CheckK(int32_t k) const;
  absl::Status CheckFilter(const v1::ItemFilter& filter) const;
  absl::Status CheckSearch(const v1::Search& search) const;
  absl::Status CheckContext(const v1::Context& context) const;
  absl::Status CheckHistory(const v1::InlineHistory& history, int64_t now_ms) const;
  absl::Status CheckEvent(const char* list, int index, const v1::Event& event, int64_t now_ms) const;
  template <typename Ids>
  absl::Status CheckItemIds(const Ids& ids) const;
  absl::Status CheckBatch(const char* field, int size, int max) const;
  template <typename Request>
  absl::Status CheckUser(const Request& request, int64_t now_ms) const;

  const RequestLimits limits_;
  const EventTypeTable event_types_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_VALIDATION_H_
