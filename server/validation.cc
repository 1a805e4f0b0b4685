#include "server/validation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/item_key.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

constexpr int kMaxExcludedItems = 10000;
constexpr int kMaxFilterCategories = 1000;
constexpr int kMaxInlineEvents = 1000;
constexpr int kMaxContextItems = 50;
constexpr int kMaxContextFeatures = 64;
constexpr int kMaxScoredItems = 10000;
constexpr size_t kMaxTitleBytes = 1024;
constexpr int kMaxItemCategories = 64;
constexpr int kMaxAttributes = 64;
constexpr int kMaxContentVectors = 16;
constexpr size_t kMaxCategoryBytes = 128;
constexpr int kMaxVectorSize = 4096;
constexpr float kMaxVectorValue = 1e6f;  // scores of any such vectors are finite
constexpr int64_t kDayMs = int64_t{24} * 3600 * 1000;

absl::Status NotInRange(const std::string& field, int64_t value, int64_t min, int64_t max) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", value, " is not in [", min, ", ", max, "]"));
}

}  // namespace

// Where a value stands, put into words only when it is wrong: "list[index].leaf".
struct RequestValidator::Path {
  const char* list;
  int index = -1;
  const char* leaf = nullptr;

  std::string ToString() const {
    std::string text = list;
    if (index >= 0) absl::StrAppend(&text, "[", index, "]");
    if (leaf != nullptr) absl::StrAppend(&text, ".", leaf);
    return text;
  }
};

absl::Status RequestValidator::CheckId(const Path& path, const std::string& id) const {
  if (IsValidId(id)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path.ToString(), ": ", Quoted(id), " is not 1 to ",
                                                 kMaxIdBytes, " bytes of UTF-8 without NUL"));
}

absl::Status RequestValidator::CheckRequestId(const std::string& id) const {
  return id.empty() ? absl::OkStatus() : CheckId({"request_id"}, id);
}

absl::Status RequestValidator::CheckK(int32_t k) const {
  return k >= 1 && k <= limits_.max_k ? absl::OkStatus() : NotInRange("k", k, 1, limits_.max_k);
}

absl::Status RequestValidator::CheckFilter(const v1::ItemFilter& filter) const {
  if (filter.exclude_item_ids_size() > kMaxExcludedItems) {
    return absl::InvalidArgumentError(
        absl::StrCat("filter.exclude_item_ids: ", filter.exclude_item_ids_size(), " ids, at most ",
                     kMaxExcludedItems, " are allowed"));
  }
  for (int i = 0; i < filter.exclude_item_ids_size(); ++i) {
    SWIFTLET_RETURN_IF_ERROR(CheckId({"filter.exclude_item_ids", i}, filter.exclude_item_ids(i)));
  }
  for (const auto& [name, size] : {std::pair{"any_of_categories", filter.any_of_categories_size()},
                                   std::pair{"none_of_categories", filter.none_of_categories_size()}}) {
    if (size > kMaxFilterCategories) {
      return absl::InvalidArgumentError(absl::StrCat("filter.", name, ": ", size, " names, at most ",
                                                     kMaxFilterCategories, " are allowed"));
    }
  }
  return absl::OkStatus();
}

absl::Status RequestValidator::CheckSearch(const v1::Search& search) const {
  if (!v1::Search::Mode_IsValid(search.mode())) {
    return absl::InvalidArgumentError(absl::StrCat("search.mode: ", int{search.mode()}, " is not a mode"));
  }
  if (search.budget_rows() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("search.budget_rows: ", search.budget_rows(), " is negative"));
  }
  if (search.budget_us() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("search.budget_us: ", search.budget_us(), " is negative"));
  }
  return absl::OkStatus();
}

absl::Status RequestValidator::CheckContext(const v1::Context& context) const {
  if (context.item_ids_size() > kMaxContextItems) {
    return absl::InvalidArgumentError(absl::StrCat("context.item_ids: ", context.item_ids_size(),
                                                   " ids, at most ", kMaxContextItems, " are allowed"));
  }
  for (int i = 0; i < context.item_ids_size(); ++i) {
    SWIFTLET_RETURN_IF_ERROR(CheckId({"context.item_ids", i}, context.item_ids(i)));
  }
  if (context.features_size() > kMaxContextFeatures) {
    return absl::InvalidArgumentError(absl::StrCat("context.features: ", context.features_size(),
                                                   " entries, at most ", kMaxContextFeatures,
                                                   " are allowed"));
  }
  for (const auto& [key, value] : context.features()) {
    if (key.empty() || key.size() > kMaxIdBytes || value.size() > kMaxIdBytes) {
      return absl::InvalidArgumentError(absl::StrCat("context.features[", Quoted(key), "]: ", Quoted(value),
                                                     ": a key has 1 to ", kMaxIdBytes,
                                                     " bytes, a value at most ", kMaxIdBytes));
    }
  }
  return absl::OkStatus();
}

absl::Status RequestValidator::CheckEvent(const char* list, int index, const v1::Event& event,
                                          int64_t now_ms) const {
  SWIFTLET_RETURN_IF_ERROR(CheckId({list, index, "item_id"}, event.item_id()));
  if (event_types_.FindByName(event.type()) == nullptr) {
    std::string known;
    for (const EventType& type : event_types_.types()) {
      absl::StrAppend(&known, known.empty() ? "" : ", ", type.name);
    }
    return absl::InvalidArgumentError(absl::StrCat(Path{list, index, "type"}.ToString(), ": ",
                                                   Quoted(event.type()),
                                                   " is not an event type; known: ", known));
  }
  if (!std::isfinite(event.value())) {
    return absl::InvalidArgumentError(
        absl::StrCat(Path{list, index, "value"}.ToString(), ": ", event.value(), " is not a finite number"));
  }
  if (event.timestamp_ms() < 0 || event.timestamp_ms() > now_ms + kDayMs) {
    return absl::InvalidArgumentError(
        absl::StrCat(Path{list, index, "timestamp_ms"}.ToString(), ": ", event.timestamp_ms(),
                     event.timestamp_ms() < 0
                         ? " is negative"
                         : absl::StrCat(" is more than a day ahead of the server's clock (", now_ms, ")")));
  }
  return absl::OkStatus();
}

absl::Status RequestValidator::CheckHistory(const v1::InlineHistory& history, int64_t now_ms) const {
  if (history.events_size() > kMaxInlineEvents) {
    return absl::InvalidArgumentError(absl::StrCat("history.events: ", history.events_size(),
                                                   " events, at most ", kMaxInlineEvents, " are allowed"));
  }
  for (int i = 0; i < history.events_size(); ++i) {
    SWIFTLET_RETURN_IF_ERROR(CheckEvent("history.events", i, history.events(i), now_ms));
  }
  return absl::OkStatus();
}

absl::Status RequestValidator::CheckBatch(const char* field, int size, int max) const {
  if (size >= 1 && size <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", size, " entries, 1 to ", max, " are allowed"));
}

template <typename Request>
absl::Status RequestValidator::CheckUser(const Request& request, int64_t now_ms) const {
  switch (request.user_case()) {
    case Request::kUserId:
      return CheckId({"user_id"}, request.user_id());
    case Request::kHistory:
      return CheckHistory(request.history(), now_ms);
    case Request::USER_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("user: neither user_id nor history is set");
}

absl::Status RequestValidator::Check(const v1::RecommendRequest& request, int64_t now_ms) const {
  SWIFTLET_RETURN_IF_ERROR(CheckUser(request, now_ms));
  SWIFTLET_RETURN_IF_ERROR(CheckK(request.k()));
  SWIFTLET_RETURN_IF_ERROR(CheckFilter(request.filter()));
  SWIFTLET_RETURN_IF_ERROR(CheckContext(request.context()));
  SWIFTLET_RETURN_IF_ERROR(CheckSearch(request.search()));
  return CheckRequestId(request.request_id());
}

template <typename Ids>
absl::Status RequestValidator::CheckItemIds(const Ids& ids) const {
  SWIFTLET_RETURN_IF_ERROR(CheckBatch("item_ids", ids.size(), kMaxScoredItems));
  for (int i = 0; i < ids.size(); ++i) SWIFTLET_RETURN_IF_ERROR(CheckId({"item_ids", i}, ids[i]));
  return absl::OkStatus();
}

absl::Status RequestValidator::Check(const v1::ScoreItemsRequest& request, int64_t now_ms) const {
  SWIFTLET_RETURN_IF_ERROR(CheckUser(request, now_ms));
  SWIFTLET_RETURN_IF_ERROR(CheckItemIds(request.item_ids()));
  SWIFTLET_RETURN_IF_ERROR(CheckContext(request.context()));
  return CheckRequestId(request.request_id());
}

absl::Status RequestValidator::Check(const v1::PredictRequest& request, int64_t now_ms) const {
  SWIFTLET_RETURN_IF_ERROR(CheckUser(request, now_ms));
  SWIFTLET_RETURN_IF_ERROR(CheckItemIds(request.item_ids()));
  return CheckRequestId(request.request_id());
}

absl::Status RequestValidator::Check(const v1::SimilarItemsRequest& request) const {
  SWIFTLET_RETURN_IF_ERROR(CheckId({"item_id"}, request.item_id()));
  SWIFTLET_RETURN_IF_ERROR(CheckK(request.k()));
  SWIFTLET_RETURN_IF_ERROR(CheckFilter(request.filter()));
  SWIFTLET_RETURN_IF_ERROR(CheckSearch(request.search()));
  return CheckRequestId(request.request_id());
}

absl::Status RequestValidator::Check(const v1::RecordEventsRequest& request, int64_t now_ms) const {
  SWIFTLET_RETURN_IF_ERROR(CheckBatch("events", request.events_size(), limits_.max_batch_size));
  for (int i = 0; i < request.events_size(); ++i) {
    const v1::Event& event = request.events(i);
    SWIFTLET_RETURN_IF_ERROR(CheckId({"events", i, "user_id"}, event.user_id()));
    SWIFTLET_RETURN_IF_ERROR(CheckEvent("events", i, event, now_ms));
    if (!event.event_id().empty()) {
      SWIFTLET_RETURN_IF_ERROR(CheckId({"events", i, "event_id"}, event.event_id()));
    }
  }
  return absl::OkStatus();
}

namespace {

// What a content tower reads, of items[i].
absl::Status CheckContent(int i, const v1::Item& item) {
  const auto fail = [&](const auto&... what) {
    return absl::InvalidArgumentError(absl::StrCat("items[", i, "].", what...));
  };
  if (item.metadata().attributes_size() > kMaxAttributes) {
    return fail("metadata.attributes: ", item.metadata().attributes_size(), " attributes, at most ",
                kMaxAttributes, " are allowed");
  }
  for (const auto& [name, value] : item.metadata().attributes()) {
    if (!IsValidId(name) || name.size() > kMaxCategoryBytes) {
      return fail("metadata.attributes: the name ", Quoted(name), " is not 1 to ", kMaxCategoryBytes,
                  " bytes of UTF-8 without NUL");
    }
    if (value.size() > kMaxTitleBytes) {
      return fail("metadata.attributes[", Quoted(name), "]: ", Quoted(value), ", at most ", kMaxTitleBytes,
                  " bytes are allowed");
    }
  }
  if (item.content_vectors_size() > kMaxContentVectors) {
    return fail("content_vectors: ", item.content_vectors_size(), " vectors, at most ", kMaxContentVectors,
                " are allowed");
  }
  for (int v = 0; v < item.content_vectors_size(); ++v) {
    const v1::ContentVector& vector = item.content_vectors(v);
    if (!IsValidId(vector.source()) || vector.source().size() > kMaxCategoryBytes) {
      return fail("content_vectors[", v, "].source: ", Quoted(vector.source()), " is not 1 to ",
                  kMaxCategoryBytes, " bytes of UTF-8 without NUL");
    }
    for (int w = 0; w < v; ++w) {
      if (item.content_vectors(w).source() == vector.source()) {
        return fail("content_vectors[", v, "].source: ", Quoted(vector.source()), " is there twice");
      }
    }
    if (vector.values_size() < 1 || vector.values_size() > kMaxVectorSize) {
      return fail("content_vectors[", v, "].values: ", vector.values_size(), " numbers, expected 1 to ",
                  kMaxVectorSize);
    }
    for (int d = 0; d < vector.values_size(); ++d) {
      // False for NaN too.
      if (!(std::abs(vector.values(d)) <= kMaxVectorValue)) {
        return fail("content_vectors[", v, "].values[", d, "]: ", vector.values(d), " is not in [-1e6, 1e6]");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RequestValidator::Check(const v1::UpsertItemsRequest& request) const {
  SWIFTLET_RETURN_IF_ERROR(CheckBatch("items", request.items_size(), limits_.max_batch_size));
  absl::flat_hash_set<absl::string_view> seen;
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::Item& item = request.items(i);
    SWIFTLET_RETURN_IF_ERROR(CheckId({"items", i, "item_id"}, item.item_id()));
    if (!seen.insert(item.item_id()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("items[", i, "].item_id: ", Quoted(item.item_id()), " is in the batch twice"));
    }
    const v1::ItemMetadata& metadata = item.metadata();
    if (metadata.title().size() > kMaxTitleBytes) {
      return absl::InvalidArgumentError(absl::StrCat("items[", i,
                                                     "].metadata.title: ", Quoted(metadata.title()),
                                                     ", at most ", kMaxTitleBytes, " bytes are allowed"));
    }
    if (metadata.categories_size() > kMaxItemCategories) {
      return absl::InvalidArgumentError(
          absl::StrCat("items[", i, "].metadata.categories: ", metadata.categories_size(),
                       " categories, at most ", kMaxItemCategories, " are allowed"));
    }
    for (int c = 0; c < metadata.categories_size(); ++c) {
      const std::string& name = metadata.categories(c);
      // As a snapshot's writer wants them: items that the trainer reads from the store must not stop it.
      if (!IsValidId(name) || name.size() > kMaxCategoryBytes) {
        return absl::InvalidArgumentError(absl::StrCat("items[", i, "].metadata.categories[", c,
                                                       "]: ", Quoted(name), " is not 1 to ",
                                                       kMaxCategoryBytes, " bytes of UTF-8 without NUL"));
      }
    }
    SWIFTLET_RETURN_IF_ERROR(CheckContent(i, item));
    if (item.vector_size() > kMaxVectorSize) {
      return absl::InvalidArgumentError(absl::StrCat("items[", i, "].vector: ", item.vector_size(),
                                                     " numbers, at most ", kMaxVectorSize, " are allowed"));
    }
    for (int d = 0; d < item.vector_size(); ++d) {
      // False for NaN too.
      if (!(std::abs(item.vector(d)) <= kMaxVectorValue)) {
        return absl::InvalidArgumentError(
            absl::StrCat("items[", i, "].vector[", d, "]: ", item.vector(d), " is not in [-1e6, 1e6]"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status RequestValidator::Check(const v1::DeleteItemsRequest& request) const {
  SWIFTLET_RETURN_IF_ERROR(CheckBatch("item_ids", request.item_ids_size(), limits_.max_batch_size));
  for (int i = 0; i < request.item_ids_size(); ++i) {
    SWIFTLET_RETURN_IF_ERROR(CheckId({"item_ids", i}, request.item_ids(i)));
  }
  return absl::OkStatus();
}

absl::Status RequestValidator::Check(const v1::GetItemsRequest& request) const {
  SWIFTLET_RETURN_IF_ERROR(CheckBatch("item_ids", request.item_ids_size(), limits_.max_batch_size));
  for (int i = 0; i < request.item_ids_size(); ++i) {
    SWIFTLET_RETURN_IF_ERROR(CheckId({"item_ids", i}, request.item_ids(i)));
  }
  return absl::OkStatus();
}

absl::Status RequestValidator::Check(const v1::GetUserRequest& request) const {
  SWIFTLET_RETURN_IF_ERROR(CheckId({"user_id"}, request.user_id()));
  if (request.max_events() >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("max_events: ", request.max_events(), " is negative"));
}

absl::Status RequestValidator::Check(const v1::DeleteUserRequest& request) const {
  return CheckId({"user_id"}, request.user_id());
}

absl::Status RequestValidator::Check(const v1::ExportUserRequest& request) const {
  return CheckId({"user_id"}, request.user_id());
}

absl::Status RequestValidator::Check(const v1::LoadSnapshotRequest& request) const {
  if (request.version() >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("version: ", request.version(), " is negative"));
}

absl::Status RequestValidator::Check(const v1::PreviewSnapshotRequest& request, int64_t now_ms) const {
  if (request.version() <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("version: ", request.version(), " is not positive"));
  }
  const absl::Status status = Check(request.request(), now_ms);
  return status.ok() ? status : absl::Status(status.code(), absl::StrCat("request.", status.message()));
}

}  // namespace swiftlet
