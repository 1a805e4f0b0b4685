// What storage keeps, as plain values, and how each is encoded in RocksDB.
//
// Column families (keys -> values; integers little-endian unless they are keys, which are big-endian to
// sort):
//   users                   user id -> history: u8 format 1, then events of 21 bytes {u64 item_key, i64
//   timestamp_ms,
//                           f32 value, u8 type}, ordered by time, then arrival; merge operand: the same
//                           encoding
//   items                   u64 item_key -> CatalogItem (with id, flags, metadata, vector and its space)
//   item_ids                u64 item_key -> item id
//   events                  u64 arrival -> {u64 arrival_ms, event}; arrival is a strictly increasing sequence
//   number event_ids               event id -> u64 arrival_ms (idempotency window) user_vectors@<version>
//   user id -> f32 [dim] (ingested from the snapshot's SST file) meta                    "format" -> "1";
//   "event_types" -> table; "erased/" + user id -> {u64 erased_ms, u64 arrival};
//                           ...
#ifndef SWIFTLET_STORAGE_RECORDS_H_
#define SWIFTLET_STORAGE_RECORDS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
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

// Encoding. Decoders return DATA_LOSS for bytes that they did not write and never read outside them.
std::string EncodeHistory(std::span<const HistoryEvent> events);
// Appends to `events`.
absl::Status DecodeHistory(std::string_view bytes, std::vector<HistoryEvent>* events);
std::string EncodeEventRecord(int64_t arrival_ms, const EventRecord& event);
absl::Status DecodeEventRecord(std::string_view bytes, int64_t* arrival_ms, EventRecord* event);
std::string EncodeCatalogItem(const CatalogItem& item);
absl::Status DecodeCatalogItem(std::string_view bytes, CatalogItem* item);

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_RECORDS_H_
