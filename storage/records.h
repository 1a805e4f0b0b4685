// What storage keeps, as plain values, and how each is encoded in RocksDB.
//
// Column families, keys -> values. Integers are little-endian, in keys big-endian (to sort). str: u32 length,
// then the bytes.
//   users       user id -> history: u8 format 1, then events of 21 bytes {u64 item_key, i64 timestamp_ms,
//               f32 value, u8 type}, ordered by time, then arrival. A merge operand has the same encoding.
//   items       u64 item_key -> CatalogItem: u8 format 1, u8 flags (1 deleted, 2 has metadata, 4 has
//   content),
//               str id, str title, u32 count and str of each category, u32 count and f32 of each, str space;
//               with content: u32 count and {str name, str value} of each attribute, u32 count and {str
//               source, u32 count and f32 of each} of each vector
//   item_ids    u64 item_key -> item id
//   events      u64 arrival -> u8 format 1, u64 arrival_ms, i64 timestamp_ms, f32 value, u8 type, str user,
//               str item, str event id. `arrival` is a strictly increasing sequence that carries the time:
//               max(last + 1, arrival_ms << 20), so a range of times is a range of keys
//   event_ids   event id -> u64 arrival_ms (idempotency window)
//   user_vectors@<version>   user id -> f32 [dim] (ingested from the snapshot's SST file)
//   meta        "format" -> "1"
//               "event_types" -> u8 format 1, u32 count, {u8 id, f32 weight, str name} of each
//               "erased/" + user id -> {u64 erased_ms, u64 arrival}
//               "user_vectors/" + u64 version -> {u32 dim, i64 trained_through_ms, u64 file fingerprint}:
//               written after the ingestion, so a family without it is an unfinished one
#ifndef SWIFTLET_STORAGE_RECORDS_H_
#define SWIFTLET_STORAGE_RECORDS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/catalog_item.h"
#include "engine/event_types.h"

namespace swiftlet {

// An event as callers send it and as the event log keeps it.
struct EventRecord {
  std::string user_id;
  std::string item_id;
  std::string event_id;  // may be empty: not idempotent
  int64_t timestamp_ms = 0;
  float value = 0;
  EventTypeId type = 0;

  friend bool operator==(const EventRecord&, const EventRecord&) = default;
};

// "erased/": events with an arrival up to `arrival` are gone, and so are long-term vectors that were trained
// through an earlier time than erased_ms.
struct ErasureRecord {
  int64_t erased_ms = 0;
  uint64_t arrival = 0;

  // Whether the user's long-term vector in a snapshot that was trained through this time is gone.
  bool Masks(int64_t trained_through_ms) const { return erased_ms > trained_through_ms; }
};

// "user_vectors/".
struct UserVectorsRecord {
  uint32_t dim = 0;
  int64_t trained_through_ms = 0;
  uint64_t fingerprint = 0;
};

// Encoding. Decoders return DATA_LOSS for bytes that they did not write and never read outside them.
std::string EncodeHistory(std::span<const HistoryEvent> events);
// Appends to `events`.
absl::Status DecodeHistory(std::string_view bytes, std::vector<HistoryEvent>* events);
std::string EncodeEventRecord(int64_t arrival_ms, const EventRecord& event);
absl::Status DecodeEventRecord(std::string_view bytes, int64_t* arrival_ms, EventRecord* event);
// Whether an encoded event is of this user, without decoding it; false for bytes that are no event.
bool IsEventOf(std::string_view bytes, std::string_view user_id);
std::string EncodeCatalogItem(const CatalogItem& item);
absl::Status DecodeCatalogItem(std::string_view bytes, CatalogItem* item);
std::string EncodeEventTypes(std::span<const EventType> types);
absl::StatusOr<EventTypeTable> DecodeEventTypes(std::string_view bytes);
std::string EncodeErasure(const ErasureRecord& record);
absl::Status DecodeErasure(std::string_view bytes, ErasureRecord* record);
std::string EncodeUserVectors(const UserVectorsRecord& record);
absl::Status DecodeUserVectors(std::string_view bytes, UserVectorsRecord* record);

// Layout of an encoded history, for what works on the bytes as they are.
inline constexpr uint8_t kHistoryFormat = 1;
// In the place of the format: a merge met bytes that are no history. What follows is unspecified.
inline constexpr uint8_t kHistoryDamaged = 0xFF;
inline constexpr size_t kHistoryHeaderBytes = 1;
inline constexpr size_t kHistoryEventBytes = 21;
inline constexpr size_t kHistoryTimestampOffset = 8;  // in an event
// True when `bytes` have the form of an encoded history.
bool IsEncodedHistory(std::string_view bytes);

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_RECORDS_H_
