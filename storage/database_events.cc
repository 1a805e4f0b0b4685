// Database: users and events.
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "storage/coding.h"
#include "storage/database_impl.h"
#include "storage/rocksdb_status.h"

namespace swiftlet {
namespace {

constexpr uint64_t kEventIdSeed = 1, kFingerprintSeed = 2;

uint64_t UserQueueKey(std::string_view user_id) { return XXH3_64bits(user_id.data(), user_id.size()); }
uint64_t EventIdQueueKey(std::string_view event_id) {
  return XXH3_64bits_withSeed(event_id.data(), event_id.size(), kEventIdSeed);
}
uint64_t FingerprintOf(std::string_view item_id) {
  return XXH3_64bits_withSeed(item_id.data(), item_id.size(), kFingerprintSeed);
}

absl::Status BadEvent(size_t index, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("events[", index, "].", what));
}

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

KnownItemIds::Answer KnownItemIds::Find(ItemKey key, std::string_view item_id) const {
  const Shard& shard = shards_[key % shards_.size()];
  MutexLock lock(shard.mu);
  const auto it = shard.hashes.find(key);
  if (it == shard.hashes.end()) return Answer::kUnknown;
  return it->second == FingerprintOf(item_id) ? Answer::kSame : Answer::kOther;
}

void KnownItemIds::Add(ItemKey key, std::string_view item_id) {
  Shard& shard = shards_[key % shards_.size()];
  MutexLock lock(shard.mu);
  if (shard.hashes.size() >= kMaxKeysPerShard) shard.hashes.clear();
  shard.hashes[key] = FingerprintOf(item_id);
}

absl::Status Database::Impl::RegisterItemId(std::string_view item_id, rocksdb::WriteBatch* batch,
                                            absl::flat_hash_map<ItemKey, std::string_view>* new_ids) {
  const ItemKey key = ItemKeyOf(item_id);
  const auto collides = [&](std::string_view other) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Absl(item_id), "\" and the known item", other.empty() ? "" : " \"", Absl(other),
                     other.empty() ? "" : "\"", " have the same 64-bit key ", key));
  };
  switch (known_items.Find(key, item_id)) {
    case KnownItemIds::Answer::kSame:
      return absl::OkStatus();
    case KnownItemIds::Answer::kOther:
      return collides("");
    case KnownItemIds::Answer::kUnknown:
      break;
  }
  const auto [it, added] = new_ids->try_emplace(key, item_id);
  if (!added) return it->second == item_id ? absl::OkStatus() : collides(it->second);
  const std::string encoded_key = EncodeKey64(key);
  rocksdb::PinnableSlice stored;
  const rocksdb::Status status = db->Get({}, item_ids, encoded_key, &stored);
  if (status.IsNotFound()) {
    batch->Put(item_ids, encoded_key, ToSlice(item_id));
    return absl::OkStatus();
  }
  SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot read an item id"));
  return FromSlice(stored) == item_id ? absl::OkStatus() : collides(FromSlice(stored));
}

absl::StatusOr<RecordResult> Database::RecordEvents(std::span<const EventRecord> events, int64_t now_ms) {
  Impl& s = *impl_;
  SWIFTLET_RETURN_IF_ERROR(s.CheckNow(now_ms));
  RecordResult result;
  result.arrivals.assign(events.size(), 0);
  if (events.empty()) return result;
  std::vector<uint64_t> queue_keys;
  queue_keys.reserve(2 * events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    const EventRecord& e = events[i];
    if (!IsValidId(e.user_id)) return BadEvent(i, "user_id: not 1 to 256 bytes of UTF-8");
    if (!IsValidId(e.item_id)) return BadEvent(i, "item_id: not 1 to 256 bytes of UTF-8");
    if (!e.event_id.empty() && !IsValidId(e.event_id))
      return BadEvent(i, "event_id: not up to 256 bytes of UTF-8");
    if (e.timestamp_ms < 0)
      return BadEvent(i, absl::StrCat("timestamp_ms: ", e.timestamp_ms, " is negative"));
    if (!std::isfinite(e.value)) return BadEvent(i, absl::StrCat("value: ", e.value, " is not finite"));
    if (!s.known_types[e.type])
      return BadEvent(i, absl::StrCat("type: ", int{e.type}, " is not an event type"));
    queue_keys.push_back(UserQueueKey(e.user_id));
    if (!e.event_id.empty()) queue_keys.push_back(EventIdQueueKey(e.event_id));
  }

  // From here to the end no other call writes these users or event ids: a concurrent duplicate waits for this
  // call's outcome, and a user's events are applied in the order of their arrival numbers. Unrelated calls
  // share the fsync.
  const KeyQueue::Turn turn(s.queue, std::move(queue_keys));

  std::vector<bool> duplicate(events.size(), false);
  absl::flat_hash_set<absl::string_view> ids_in_batch;
  std::string stored;
  for (size_t i = 0; i < events.size(); ++i) {
    const std::string& id = events[i].event_id;
    if (id.empty()) continue;
    if (!ids_in_batch.insert(id).second) {
      duplicate[i] = true;
      continue;
    }
    const rocksdb::Status status = s.db->Get({}, s.event_ids, id, &stored);
    if (status.IsNotFound()) continue;
    SWIFTLET_RETURN_IF_ERROR(s.Error(status, "cannot read an event id"));
    if (stored.size() != sizeof(int64_t)) {
      return absl::DataLossError(absl::StrCat(s.options.path, ": event id \"", id, "\": malformed record of ",
                                              stored.size(), " bytes"));
    }
    duplicate[i] = LoadFixed<int64_t>(stored.data()) > now_ms - s.options.idempotency_window_ms;
  }
  result.num_duplicates = static_cast<uint32_t>(std::count(duplicate.begin(), duplicate.end(), true));
  result.num_recorded = static_cast<uint32_t>(events.size()) - result.num_duplicates;
  if (result.num_recorded == 0) return result;

  rocksdb::WriteBatch batch;
  absl::flat_hash_map<ItemKey, std::string_view> new_ids;
  std::vector<uint32_t> recorded;
  recorded.reserve(result.num_recorded);
  std::string arrival_value;
  PutFixed<int64_t>(now_ms, &arrival_value);
  uint64_t arrival = s.NextArrivals(now_ms, result.num_recorded);
  for (size_t i = 0; i < events.size(); ++i) {
    if (duplicate[i]) continue;
    const EventRecord& e = events[i];
    if (absl::Status status = s.RegisterItemId(e.item_id, &batch, &new_ids); !status.ok()) {
      return absl::IsInvalidArgument(status)
                 ? BadEvent(i, absl::StrCat("item_id: ", std::string(status.message())))
                 : status;
    }
    batch.Put(s.events, EncodeKey64(arrival), EncodeEventRecord(now_ms, e));
    if (!e.event_id.empty()) batch.Put(s.event_ids, e.event_id, arrival_value);
    recorded.push_back(static_cast<uint32_t>(i));
    result.arrivals[i] = arrival++;
  }
  // One operand for each user, its events ordered by time, then arrival.
  std::sort(recorded.begin(), recorded.end(), [&](uint32_t a, uint32_t b) {
    const EventRecord &x = events[a], &y = events[b];
    if (const int order = x.user_id.compare(y.user_id); order != 0) return order < 0;
    return x.timestamp_ms != y.timestamp_ms ? x.timestamp_ms < y.timestamp_ms : a < b;
  });
  std::vector<HistoryEvent> history;
  for (size_t i = 0; i < recorded.size(); ++i) {
    const EventRecord& e = events[recorded[i]];
    history.push_back(
        {.item_key = ItemKeyOf(e.item_id), .timestamp_ms = e.timestamp_ms, .value = e.value, .type = e.type});
    if (i + 1 < recorded.size() && events[recorded[i + 1]].user_id == e.user_id) continue;
    batch.Merge(s.users, e.user_id, EncodeHistory(history));
    history.clear();
  }
  SWIFTLET_RETURN_IF_ERROR(s.Write(&batch, "cannot record events"));
  for (const auto& [key, item_id] : new_ids) s.known_items.Add(key, item_id);
  return result;
}

absl::Status Database::ReadHistory(std::string_view user_id, std::vector<HistoryEvent>* history) {
  Impl& s = *impl_;
  history->clear();
  rocksdb::PinnableSlice value;
  const rocksdb::Status status = s.db->Get({}, s.users, ToSlice(user_id), &value);
  if (status.IsNotFound()) return absl::OkStatus();
  SWIFTLET_RETURN_IF_ERROR(s.Error(status, "cannot read a user"));
  if (absl::Status decoded = DecodeHistory(FromSlice(value), history); !decoded.ok()) {
    return absl::DataLossError(
        absl::StrCat(s.options.path, ": user \"", Absl(user_id), "\": ", decoded.message()));
  }
  // The limit may be smaller now than when the events were merged.
  if (history->size() > s.options.max_history_events) {
    history->erase(history->begin(), history->end() - s.options.max_history_events);
  }
  return absl::OkStatus();
}

absl::Status Database::DeleteUser(std::string_view user_id, int64_t now_ms) {
  Impl& s = *impl_;
  SWIFTLET_RETURN_IF_ERROR(s.CheckNow(now_ms));
  if (!IsValidId(user_id)) return absl::InvalidArgumentError("user_id: not 1 to 256 bytes of UTF-8");
  // Ordered against the user's events: what is written before has a smaller arrival number, what comes later
  // a larger one.
  const KeyQueue::Turn turn(s.queue, {UserQueueKey(user_id)});
  // A millisecond of its own among the arrivals: the arrival of the newest event that a snapshot was trained
  // on tells whether the snapshot is older than the erasure, also when the clock was set back. The lock is
  // held over the write, so that a trainer that sees a later arrival, of any user, sees the erasure too.
  MutexLock lock(s.arrival_mu);
  int64_t erased_ms = std::max(now_ms, static_cast<int64_t>(s.last_arrival >> kArrivalBits) + 1);
  s.last_arrival = FirstArrivalAt(erased_ms);
  // What is here already was trained before, whatever the clock of its trainer says.
  erased_ms = std::max(erased_ms, s.erase_through_ms.load() + 1);
  {
    MutexLock vectors_lock(s.vectors_mu);
    for (const auto& [version, vectors] : s.vectors) {
      erased_ms = std::max(erased_ms, vectors->record.trained_through_ms + 1);
    }
  }
  rocksdb::WriteBatch batch;
  batch.Put(s.meta, ErasedKey(user_id), EncodeErasure({.erased_ms = erased_ms, .arrival = s.last_arrival}));
  batch.Delete(s.users, ToSlice(user_id));
  return s.Write(&batch, "cannot erase a user");
}

void Database::EraseThrough(int64_t trained_through_ms) {
  std::atomic<int64_t>& latest = impl_->erase_through_ms;
  for (int64_t seen = latest.load(); seen < trained_through_ms;) {
    if (latest.compare_exchange_weak(seen, trained_through_ms)) return;
  }
}

}  // namespace swiftlet
