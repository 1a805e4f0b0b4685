#include "storage/records.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "storage/coding.h"

namespace swiftlet {
namespace {

constexpr uint8_t kRecordFormat = 1;
constexpr uint8_t kDeletedFlag = 1;
constexpr uint8_t kMetadataFlag = 2;
constexpr uint8_t kContentFlag = 4;

absl::Status Malformed(const char* what, std::string_view bytes) {
  return absl::DataLossError(absl::StrCat(what, ": malformed record of ", bytes.size(), " bytes, first byte ",
                                          bytes.empty() ? -1 : static_cast<unsigned char>(bytes[0])));
}

}  // namespace

std::string EncodeHistory(std::span<const HistoryEvent> events) {
  std::string out;
  out.reserve(kHistoryHeaderBytes + events.size() * kHistoryEventBytes);
  PutFixed<uint8_t>(kHistoryFormat, &out);
  for (const HistoryEvent& e : events) {
    PutFixed<uint64_t>(e.item_key, &out);
    PutFixed<int64_t>(e.timestamp_ms, &out);
    PutFixed<float>(e.value, &out);
    PutFixed<uint8_t>(e.type, &out);
  }
  return out;
}

bool IsEncodedHistory(std::string_view bytes) {
  return bytes.size() >= kHistoryHeaderBytes && static_cast<uint8_t>(bytes[0]) == kHistoryFormat &&
         (bytes.size() - kHistoryHeaderBytes) % kHistoryEventBytes == 0;
}

absl::Status DecodeHistory(std::string_view bytes, std::vector<HistoryEvent>* events) {
  if (!IsEncodedHistory(bytes)) return Malformed("user history", bytes);
  const size_t n = (bytes.size() - kHistoryHeaderBytes) / kHistoryEventBytes;
  events->reserve(events->size() + n);
  const char* p = bytes.data() + kHistoryHeaderBytes;
  for (size_t i = 0; i < n; ++i, p += kHistoryEventBytes) {
    events->push_back({.item_key = LoadFixed<uint64_t>(p),
                       .timestamp_ms = LoadFixed<int64_t>(p + 8),
                       .value = LoadFixed<float>(p + 16),
                       .type = LoadFixed<uint8_t>(p + 20)});
  }
  return absl::OkStatus();
}

std::string EncodeEventRecord(int64_t arrival_ms, const EventRecord& event) {
  std::string out;
  out.reserve(34 + event.user_id.size() + event.item_id.size() + event.event_id.size());
  PutFixed<uint8_t>(kRecordFormat, &out);
  PutFixed<int64_t>(arrival_ms, &out);
  PutFixed<int64_t>(event.timestamp_ms, &out);
  PutFixed<float>(event.value, &out);
  PutFixed<uint8_t>(event.type, &out);
  PutString(event.user_id, &out);
  PutString(event.item_id, &out);
  PutString(event.event_id, &out);
  return out;
}

absl::Status DecodeEventRecord(std::string_view bytes, int64_t* arrival_ms, EventRecord* event) {
  ByteReader reader(bytes);
  uint8_t format = 0;
  if (!reader.Get(&format) || format != kRecordFormat) return Malformed("logged event", bytes);
  reader.Get(arrival_ms);
  reader.Get(&event->timestamp_ms);
  reader.Get(&event->value);
  reader.Get(&event->type);
  reader.GetString(&event->user_id);
  reader.GetString(&event->item_id);
  reader.GetString(&event->event_id);
  if (!reader.AtEnd()) return Malformed("logged event", bytes);
  return absl::OkStatus();
}

bool IsEventOf(std::string_view bytes, std::string_view user_id) {
  // Format, arrival, timestamp, value and type stand before the user's length and id.
  constexpr size_t kUserOffset = sizeof(uint8_t) + 2 * sizeof(int64_t) + sizeof(float) + sizeof(EventTypeId);
  constexpr size_t kIdOffset = kUserOffset + sizeof(uint32_t);
  return bytes.size() >= kIdOffset + user_id.size() && static_cast<uint8_t>(bytes[0]) == kRecordFormat &&
         LoadFixed<uint32_t>(bytes.data() + kUserOffset) == user_id.size() &&
         bytes.substr(kIdOffset, user_id.size()) == user_id;
}

std::string EncodeCatalogItem(const CatalogItem& item) {
  const bool has_content = !item.attributes.empty() || !item.content_vectors.empty();
  std::string out;
  PutFixed<uint8_t>(kRecordFormat, &out);
  PutFixed<uint8_t>(
      static_cast<uint8_t>((item.deleted ? kDeletedFlag : 0) | (item.has_metadata ? kMetadataFlag : 0) |
                           (has_content ? kContentFlag : 0)),
      &out);
  PutString(item.item_id, &out);
  PutString(item.title, &out);
  PutFixed<uint32_t>(static_cast<uint32_t>(item.categories.size()), &out);
  for (const std::string& category : item.categories) PutString(category, &out);
  PutFixed<uint32_t>(static_cast<uint32_t>(item.vector.size()), &out);
  for (const float x : item.vector) PutFixed<float>(x, &out);
  PutString(item.space, &out);
  if (!has_content) return out;
  PutFixed<uint32_t>(static_cast<uint32_t>(item.attributes.size()), &out);
  for (const auto& [name, value] : item.attributes) {
    PutString(name, &out);
    PutString(value, &out);
  }
  PutFixed<uint32_t>(static_cast<uint32_t>(item.content_vectors.size()), &out);
  for (const auto& [source, values] : item.content_vectors) {
    PutString(source, &out);
    PutFixed<uint32_t>(static_cast<uint32_t>(values.size()), &out);
    for (const float x : values) PutFixed<float>(x, &out);
  }
  return out;
}

absl::Status DecodeCatalogItem(std::string_view bytes, CatalogItem* item) {
  *item = CatalogItem();
  ByteReader reader(bytes);
  uint8_t format = 0, flags = 0;
  if (!reader.Get(&format) || format != kRecordFormat) return Malformed("item", bytes);
  if (!reader.Get(&flags) || (flags & ~(kDeletedFlag | kMetadataFlag | kContentFlag)) != 0) {
    return Malformed("item", bytes);
  }
  item->deleted = (flags & kDeletedFlag) != 0;
  item->has_metadata = (flags & kMetadataFlag) != 0;
  reader.GetString(&item->item_id);
  reader.GetString(&item->title);
  uint32_t count = 0;
  reader.Get(&count);
  if (!reader.Has(uint64_t{count} * sizeof(uint32_t))) return Malformed("item", bytes);
  item->categories.resize(count);
  for (std::string& category : item->categories) reader.GetString(&category);
  count = 0;
  reader.Get(&count);
  if (!reader.Has(uint64_t{count} * sizeof(float))) return Malformed("item", bytes);
  item->vector.resize(count);
  for (float& x : item->vector) reader.Get(&x);
  reader.GetString(&item->space);
  if ((flags & kContentFlag) != 0) {
    count = 0;
    reader.Get(&count);
    if (!reader.Has(uint64_t{count} * 2 * sizeof(uint32_t))) return Malformed("item", bytes);
    item->attributes.resize(count);
    for (auto& [name, value] : item->attributes) {
      reader.GetString(&name);
      reader.GetString(&value);
    }
    count = 0;
    reader.Get(&count);
    if (!reader.Has(uint64_t{count} * 2 * sizeof(uint32_t))) return Malformed("item", bytes);
    item->content_vectors.resize(count);
    for (auto& [source, values] : item->content_vectors) {
      reader.GetString(&source);
      count = 0;
      reader.Get(&count);
      if (!reader.Has(uint64_t{count} * sizeof(float))) return Malformed("item", bytes);
      values.resize(count);
      for (float& x : values) reader.Get(&x);
    }
  }
  if (!reader.AtEnd()) return Malformed("item", bytes);
  return absl::OkStatus();
}

std::string EncodeEventTypes(std::span<const EventType> types) {
  std::string out;
  PutFixed<uint8_t>(kRecordFormat, &out);
  PutFixed<uint32_t>(static_cast<uint32_t>(types.size()), &out);
  for (const EventType& t : types) {
    PutFixed<uint8_t>(t.id, &out);
    PutFixed<float>(t.weight, &out);
    PutString(t.name, &out);
  }
  return out;
}

absl::StatusOr<EventTypeTable> DecodeEventTypes(std::string_view bytes) {
  ByteReader reader(bytes);
  uint8_t format = 0;
  uint32_t count = 0;
  if (!reader.Get(&format) || format != kRecordFormat || !reader.Get(&count) || count > 255) {
    return Malformed("event types", bytes);
  }
  std::vector<EventType> types(count);
  for (EventType& t : types) {
    reader.Get(&t.id);
    reader.Get(&t.weight);
    reader.GetString(&t.name);
  }
  if (!reader.AtEnd()) return Malformed("event types", bytes);
  absl::StatusOr<EventTypeTable> table = EventTypeTable::Create(std::move(types));
  if (!table.ok()) return absl::DataLossError(absl::StrCat("stored ", table.status().message()));
  return table;
}

std::string EncodeErasure(const ErasureRecord& record) {
  std::string out;
  PutFixed<int64_t>(record.erased_ms, &out);
  PutFixed<uint64_t>(record.arrival, &out);
  return out;
}

absl::Status DecodeErasure(std::string_view bytes, ErasureRecord* record) {
  ByteReader reader(bytes);
  reader.Get(&record->erased_ms);
  reader.Get(&record->arrival);
  return reader.AtEnd() ? absl::OkStatus() : Malformed("erasure", bytes);
}

std::string EncodeUserVectors(const UserVectorsRecord& record) {
  std::string out;
  PutFixed<uint32_t>(record.dim, &out);
  PutFixed<int64_t>(record.trained_through_ms, &out);
  PutFixed<uint64_t>(record.fingerprint, &out);
  return out;
}

absl::Status DecodeUserVectors(std::string_view bytes, UserVectorsRecord* record) {
  ByteReader reader(bytes);
  reader.Get(&record->dim);
  reader.Get(&record->trained_through_ms);
  reader.Get(&record->fingerprint);
  return reader.AtEnd() && record->dim > 0 ? absl::OkStatus() : Malformed("user vectors", bytes);
}

}  // namespace swiftlet
