#include "storage/user_cache.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/clock.h"
#include "engine/base/mutex.h"
#include "engine/base/status_macros.h"
#include "storage/packed_user.h"
#include "storage/user_shard.h"

namespace swiftlet {
namespace {

// One read of the store that several callers may wait for.
struct Fill {
  std::string user_id;
  UserVectorsId vectors;
  bool cacheable = true;  // no write of the user overlaps with it
  bool done = false;
  absl::Status status;
  CachedUser user;
};

// Per user: what is going on right now.
struct Activity {
  uint32_t writes = 0;                       // that began and did not end
  std::vector<std::shared_ptr<Fill>> fills;  // that a reader may join
};

// Events of one user in a call. Borrows the id.
struct UserEvents {
  explicit UserEvents(const UserKey& key_in) : key(key_in) {}
  UserKey key;
  std::span<const HistoryEvent> events = {};  // that were stored
  uint64_t first_arrival = 0, last_arrival = 0;
};

// Appends events to a history by the rule of the store: by event time, then arrival, the newest `max_events`.
void Append(std::span<const HistoryEvent> added, size_t max_events, std::vector<HistoryEvent>* history) {
  // Of the old events the last max_events are enough, whatever is added.
  if (history->size() > max_events) {
    history->erase(history->begin(), history->end() - static_cast<ptrdiff_t>(max_events));
  }
  history->insert(history->end(), added.begin(), added.end());
  const auto earlier = [](const HistoryEvent& a, const HistoryEvent& b) {
    return a.timestamp_ms < b.timestamp_ms;
  };
  if (!std::is_sorted(history->begin(), history->end(), earlier)) {
    std::stable_sort(history->begin(), history->end(), earlier);
  }
  if (history->size() > max_events) {
    history->erase(history->begin(), history->end() - static_cast<ptrdiff_t>(max_events));
  }
}

struct Shard {
  explicit Shard(size_t capacity_bytes) : users(capacity_bytes) {}

  mutable Mutex mu;
  CondVar filled;
  UserShard users ABSL_GUARDED_BY(mu);
  absl::flat_hash_map<uint64_t, Activity> active ABSL_GUARDED_BY(mu);  // by hash of the user id
  uint64_t hits ABSL_GUARDED_BY(mu) = 0, misses ABSL_GUARDED_BY(mu) = 0;

  bool Find(const UserKey& key, UserVectorsId vectors, CachedUser* user) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    PackedUser* const packed = users.Find(key);
    if (packed == nullptr) return false;
    if (vectors.version != 0 && packed->vectors() != vectors) return FindAhead(key, packed, vectors, user);
    UserShard::CountUse(packed);
    ++hits;
    packed->ReadHistory(&user->history);
    user->long_term.clear();
    if (vectors.version != 0) packed->ReadLongTerm(&user->long_term);
    user->vectors = vectors;
    return true;
  }

  // The first one to ask for vectors that were read ahead: they take the place of those before.
  bool FindAhead(const UserKey& key, PackedUser* packed, UserVectorsId vectors, CachedUser* user)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    if (packed->links.next == nullptr || packed->links.next->vectors != vectors) return false;
    UserShard::CountUse(packed);
    ++hits;
    packed->ReadHistory(&user->history);
    user->long_term = packed->links.next->values;
    user->vectors = vectors;
    users.Put(PackedUser::Create(key, user->history, user->long_term, vectors), 0);
    return true;
  }

  // Ends a read of the store: from here on nobody joins it.
  void EndFill(const UserKey& key, const std::shared_ptr<Fill>& fill) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    const auto it = active.find(key.hash);
    if (it == active.end()) return;
    std::erase(it->second.fills, fill);
    if (it->second.fills.empty() && it->second.writes == 0) active.erase(it);
  }
};

}  // namespace

struct UserCache::Impl {
  Impl(UserStore* store_in, const Options& options_in) : store(store_in), options(options_in) {
    const size_t num_shards = std::bit_ceil(std::max<uint32_t>(1, options.num_shards));
    const auto capacity = static_cast<size_t>(std::max<int64_t>(0, options.capacity_bytes));
    for (size_t i = 0; i < num_shards; ++i) shards.emplace_back(capacity / num_shards);
  }

  Shard& ShardOf(const UserKey& key) { return shards[(key.hash >> 40) & (shards.size() - 1)]; }
  // known_history: user->history is good, only the vector is missing. *cacheable becomes false when the
  // result must not be kept.
  absl::Status ReadStore(std::string_view user_id, UserVectorsId vectors, bool known_history,
                         CachedUser* user, bool* cacheable);
  // One user of ReadAhead; false when the cache is full. NOT_FOUND when there are no such vectors.
  absl::StatusOr<bool> ReadAhead(std::string_view user_id, UserVectorsId vectors);
  void BeginWrite(const UserKey& key);
  // Applies events that the store has recorded (none: `forget` says whether to forget the user) and ends the
  // write.
  void EndWrite(const UserEvents& write, bool forget);

  UserStore* const store;
  const Options options;
  std::deque<Shard> shards;  // constant in number; shards do not move
};

UserCache::UserCache(UserStore* store, const Options& options)
    : impl_(std::make_unique<Impl>(store, options)) {}
UserCache::~UserCache() = default;

bool UserCache::Find(std::string_view user_id, UserVectorsId vectors, CachedUser* user) {
  const UserKey key(user_id);
  Shard& shard = impl_->ShardOf(key);
  MutexLock lock(shard.mu);
  if (shard.Find(key, vectors, user)) return true;
  ++shard.misses;
  return false;
}

absl::Status UserCache::Impl::ReadStore(std::string_view user_id, UserVectorsId vectors, bool known_history,
                                        CachedUser* user, bool* cacheable) {
  user->vectors = vectors;
  if (!known_history) SWIFTLET_RETURN_IF_ERROR(store->ReadHistory(user_id, &user->history));
  if (vectors.version == 0) return absl::OkStatus();
  absl::Status status = store->ReadLongTerm(vectors.version, user_id, &user->long_term);
  // Damaged vectors: better an answer without than none.
  if (absl::IsNotFound(status) || absl::IsDataLoss(status)) {
    user->long_term.clear();
    *cacheable = false;
    return absl::OkStatus();
  }
  return status;
}

absl::Status UserCache::Get(std::string_view user_id, UserVectorsId vectors, CachedUser* user) {
  const UserKey key(user_id);
  Shard& shard = impl_->ShardOf(key);
  const auto fill = std::make_shared<Fill>();
  bool known_history = false;
  {
    MutexLock lock(shard.mu);
    if (shard.Find(key, vectors, user)) return absl::OkStatus();
    Activity& activity = shard.active[key.hash];
    for (const std::shared_ptr<Fill>& other : activity.fills) {
      if (other->vectors != vectors || other->user_id != user_id) continue;
      const std::shared_ptr<Fill> joined = other;  // `activity` may be gone after the wait
      while (!joined->done) shard.filled.Wait(shard.mu);
      *user = joined->user;
      return joined->status;
    }
    if (const PackedUser* packed = shard.users.Find(key); packed != nullptr) {
      packed->ReadHistory(&fill->user.history);  // with other vectors: the history is good
      known_history = true;
    }
    fill->user_id = user_id;
    fill->vectors = vectors;
    fill->cacheable = activity.writes == 0;
    activity.fills.push_back(fill);
  }
  CachedUser read{.history = std::move(fill->user.history), .long_term = {}, .vectors = {}};
  bool version_exists = true;
  const absl::Status status = impl_->ReadStore(user_id, vectors, known_history, &read, &version_exists);
  PackedUser::Ptr packed;
  if (status.ok() && version_exists) packed = PackedUser::Create(key, read.history, read.long_term, vectors);
  *user = read;
  MutexLock lock(shard.mu);
  fill->user = std::move(read);
  fill->status = status;
  fill->done = true;
  shard.EndFill(key, fill);
  shard.filled.NotifyAll();
  if (packed != nullptr && fill->cacheable) shard.users.Put(std::move(packed), 0);
  return status;
}

absl::StatusOr<bool> UserCache::Impl::ReadAhead(std::string_view user_id, UserVectorsId vectors) {
  const UserKey key(user_id);
  Shard& shard = ShardOf(key);
  const auto fill = std::make_shared<Fill>();  // of no user: nobody joins it, but a write makes it void
  {
    MutexLock lock(shard.mu);
    const PackedUser* packed = shard.users.Find(key);
    if (packed == nullptr || packed->vectors() == vectors) return true;
    Activity& activity = shard.active[key.hash];
    fill->cacheable = activity.writes == 0;
    activity.fills.push_back(fill);
  }
  NextVector next{.vectors = vectors, .values = {}};
  const absl::Status status = store->ReadLongTerm(vectors.version, user_id, &next.values);
  MutexLock lock(shard.mu);
  shard.EndFill(key, fill);
  SWIFTLET_RETURN_IF_ERROR(status);
  PackedUser* const packed = shard.users.Find(key);
  if (packed == nullptr || packed->vectors() == vectors || !fill->cacheable) return true;
  return shard.users.SetNext(packed, std::move(next));
}

uint64_t UserCache::ReadAhead(UserVectorsId vectors, absl::Duration at_most) {
  constexpr size_t kMaxUsersOfShard = 2048;  // as many as can be listed without holding requests up
  constexpr uint64_t kBurst = 32;
  if (vectors.version == 0) return 0;
  const absl::Time deadline = absl::Now() + at_most;
  uint64_t num_users = 0;
  for (Shard& shard : impl_->shards) {
    std::vector<std::string> ids;
    {
      MutexLock lock(shard.mu);
      ids = shard.users.HotUsers(kMaxUsersOfShard);
    }
    absl::Time burst = absl::Now();
    for (const std::string& id : ids) {
      const absl::StatusOr<bool> room = impl_->ReadAhead(id, vectors);
      if (!room.ok()) return num_users;  // requests will meet it, and say so
      if (!*room) break;
      if (++num_users % kBurst != 0) continue;
      const absl::Time now = absl::Now();
      if (now >= deadline) return num_users;
      absl::SleepFor(now - burst);
      burst = absl::Now();
    }
  }
  return num_users;
}

void UserCache::Impl::BeginWrite(const UserKey& key) {
  Shard& shard = ShardOf(key);
  MutexLock lock(shard.mu);
  Activity& activity = shard.active[key.hash];
  ++activity.writes;
  for (const std::shared_ptr<Fill>& fill : activity.fills) fill->cacheable = false;
}

void UserCache::Impl::EndWrite(const UserEvents& write, bool forget) {
  thread_local CachedUser user;
  Shard& shard = ShardOf(write.key);
  MutexLock lock(shard.mu);
  const auto it = shard.active.find(write.key.hash);
  // Reads in progress may not have seen the write: nobody joins them from now on.
  it->second.fills.clear();
  if (--it->second.writes == 0) shard.active.erase(it);
  PackedUser* const packed = shard.users.Find(write.key);
  if (packed == nullptr || (!forget && write.events.empty())) return;
  // Arrival numbers of a user grow in the order of the store. A smaller one than what is here already means
  // that two writes came back in the other order: read the user again.
  if (forget || write.first_arrival < packed->links.last_arrival) return shard.users.Remove(packed);
  packed->ReadHistory(&user.history);
  packed->ReadLongTerm(&user.long_term);
  Append(write.events, options.max_history_events, &user.history);
  shard.users.Put(PackedUser::Create(write.key, user.history, user.long_term, packed->vectors()),
                  write.last_arrival);
}

absl::StatusOr<RecordResult> UserCache::RecordEvents(std::span<const EventRecord> events, int64_t now_ms) {
  std::vector<std::pair<UserKey, size_t>> by_user;  // with the index of the event
  by_user.reserve(events.size());
  for (size_t i = 0; i < events.size(); ++i) by_user.emplace_back(UserKey(events[i].user_id), i);
  std::stable_sort(by_user.begin(), by_user.end(), [](const auto& a, const auto& b) {
    return a.first.hash != b.first.hash ? a.first.hash < b.first.hash : a.first.id < b.first.id;
  });
  std::vector<UserEvents> writes;  // one for each user
  for (const auto& [key, i] : by_user) {
    if (writes.empty() || !(writes.back().key == key)) writes.emplace_back(key);
  }
  for (const UserEvents& write : writes) impl_->BeginWrite(write.key);
  absl::StatusOr<RecordResult> result = impl_->store->RecordEvents(events, now_ms);
  std::vector<HistoryEvent> stored;  // in the order of by_user
  if (result.ok()) {
    stored.reserve(events.size());
    auto write = writes.begin();
    for (const auto& [key, i] : by_user) {
      if (!(write->key == key)) ++write;
      const uint64_t arrival = result->arrivals[i];
      if (arrival == 0) continue;
      stored.push_back({.item_key = ItemKeyOf(events[i].item_id),
                        .timestamp_ms = events[i].timestamp_ms,
                        .value = events[i].value,
                        .type = events[i].type});
      if (write->events.empty()) write->first_arrival = arrival;
      write->last_arrival = arrival;
      write->events = std::span(&stored.back() - write->events.size(), write->events.size() + 1);
    }
  }
  // After an I/O error nobody knows what will be on disk. A bad argument wrote nothing.
  const bool forget = !result.ok() && !absl::IsInvalidArgument(result.status());
  for (const UserEvents& write : writes) impl_->EndWrite(write, forget);
  return result;
}

absl::Status UserCache::DeleteUser(std::string_view user_id, int64_t now_ms) {
  const UserKey key(user_id);
  impl_->BeginWrite(key);
  absl::Status status = impl_->store->DeleteUser(user_id, now_ms);
  impl_->EndWrite(UserEvents(key), /*forget=*/true);
  return status;
}

UserCacheStats UserCache::Stats() const {
  UserCacheStats stats;
  for (const Shard& shard : impl_->shards) {
    MutexLock lock(shard.mu);
    stats.hits += shard.hits;
    stats.misses += shard.misses;
    stats.evictions += shard.users.num_evictions();
    stats.entries += shard.users.num_users();
    stats.bytes += shard.users.bytes();
  }
  return stats;
}

}  // namespace swiftlet
