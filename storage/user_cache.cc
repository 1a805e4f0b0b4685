#include "storage/user_cache.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/mutex.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

// A user id with its hash, computed once a call. Borrows the id.
struct UserKey {
  explicit UserKey(std::string_view id_in) : id(id_in), hash(XXH3_64bits(id_in.data(), id_in.size())) {}
  std::string_view id;
  uint64_t hash;
  absl::string_view absl_id() const { return {id.data(), id.size()}; }
  friend bool operator==(const UserKey& a, const UserKey& b) { return a.hash == b.hash && a.id == b.id; }
};

// A cached user, in the list of its shard from most to least recently used.
struct Entry {
  Entry(const UserKey& key_in, std::shared_ptr<const CachedUser> user_in)
      : user_id(key_in.id), key(user_id), user(std::move(user_in)) {}
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  const std::string user_id;
  const UserKey key;  // of user_id
  std::shared_ptr<const CachedUser> user;
  uint64_t last_arrival = 0;  // of the events that were appended here
  size_t bytes = 0;
  Entry *newer = nullptr, *older = nullptr;
};

struct HashKey {
  using is_transparent = void;
  size_t operator()(const UserKey& key) const { return key.hash; }
  size_t operator()(const std::unique_ptr<Entry>& entry) const { return entry->key.hash; }
};
struct EqualKeys {
  using is_transparent = void;
  static const UserKey& KeyOf(const UserKey& key) { return key; }
  static const UserKey& KeyOf(const std::unique_ptr<Entry>& entry) { return entry->key; }
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    return KeyOf(a) == KeyOf(b);
  }
};

// One read of the store that several callers may wait for.
struct Fill {
  UserVectorsId vectors;
  bool cacheable = true;  // no write of the user overlaps with it
  bool done = false;
  absl::StatusOr<std::shared_ptr<const CachedUser>> result = absl::InternalError("not read");
};

// Per user: what is going on right now.
struct Activity {
  uint32_t writes = 0;                       // that began and did not end
  std::vector<std::shared_ptr<Fill>> fills;  // that a reader may join
};

// What malloc adds to a block, and the hash table's slot with its load factor.
constexpr size_t kMallocOverhead = 16;
constexpr size_t kFixedBytes =
    sizeof(Entry) + sizeof(CachedUser) + 16 /* control block */ + 16 /* slot */ + 4 * kMallocOverhead;

size_t BytesOf(const Entry& e) {
  return kFixedBytes + e.user_id.capacity() + e.user->history.capacity() * sizeof(HistoryEvent) +
         e.user->long_term.capacity() * sizeof(float);
}

// Objects that left a shard, to be freed after its lock.
struct Garbage {
  std::vector<std::unique_ptr<Entry>> entries;
  std::vector<std::shared_ptr<const CachedUser>> users;
};

// `old` with events appended by the rule of the store: by event time, then arrival, the newest `max_events`.
std::vector<HistoryEvent> Append(const std::vector<HistoryEvent>& old, std::span<const HistoryEvent> added,
                                 size_t max_events) {
  std::vector<HistoryEvent> all;
  all.reserve(std::min(old.size() + added.size(), max_events + added.size()));
  // Of the old events the last max_events are enough, whatever is added.
  all.assign(old.end() - static_cast<ptrdiff_t>(std::min(old.size(), max_events)), old.end());
  all.insert(all.end(), added.begin(), added.end());
  const auto earlier = [](const HistoryEvent& a, const HistoryEvent& b) {
    return a.timestamp_ms < b.timestamp_ms;
  };
  if (!std::is_sorted(all.begin(), all.end(), earlier)) std::stable_sort(all.begin(), all.end(), earlier);
  if (all.size() > max_events) all.erase(all.begin(), all.end() - static_cast<ptrdiff_t>(max_events));
  return all;
}

struct Shard {
  mutable Mutex mu;
  CondVar filled;
  absl::flat_hash_set<std::unique_ptr<Entry>, HashKey, EqualKeys> entries ABSL_GUARDED_BY(mu);
  absl::flat_hash_map<std::string, Activity> active ABSL_GUARDED_BY(mu);
  Entry *newest ABSL_GUARDED_BY(mu) = nullptr, *oldest ABSL_GUARDED_BY(mu) = nullptr;
  size_t bytes ABSL_GUARDED_BY(mu) = 0;
  uint64_t hits ABSL_GUARDED_BY(mu) = 0, misses ABSL_GUARDED_BY(mu) = 0, evictions ABSL_GUARDED_BY(mu) = 0;

  Entry* FindEntry(const UserKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    const auto it = entries.find(key);
    return it == entries.end() ? nullptr : it->get();
  }
  void Unlink(Entry* e) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    (e->newer != nullptr ? e->newer->older : newest) = e->older;
    (e->older != nullptr ? e->older->newer : oldest) = e->newer;
    e->newer = e->older = nullptr;
  }
  void LinkNewest(Entry* e) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    e->older = newest;
    (newest != nullptr ? newest->newer : oldest) = e;
    newest = e;
  }
  void Remove(Entry* e, Garbage* garbage) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Unlink(e);
    bytes -= e->bytes;
    auto node = entries.extract(entries.find(e->key));
    garbage->entries.push_back(std::move(node.value()));
  }
  // Shows `user` for the key, as the most recently used one, and makes room.
  void Store(const UserKey& key, std::shared_ptr<const CachedUser> user, uint64_t last_arrival,
             size_t capacity, Garbage* garbage) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Entry* e = FindEntry(key);
    if (e == nullptr) {
      e = entries.insert(std::make_unique<Entry>(key, std::move(user))).first->get();
    } else {
      Unlink(e);
      bytes -= e->bytes;
      garbage->users.push_back(std::exchange(e->user, std::move(user)));
    }
    e->last_arrival = std::max(e->last_arrival, last_arrival);
    e->bytes = BytesOf(*e);
    bytes += e->bytes;
    LinkNewest(e);
    while (bytes > capacity) {
      ++evictions;
      Remove(oldest, garbage);
    }
  }
};

}  // namespace

struct UserCache::Impl {
  Impl(UserStore* store_in, const Options& options_in)
      : store(store_in),
        options(options_in),
        shards(std::bit_ceil(std::max<uint32_t>(1, options_in.num_shards))),
        capacity_per_shard(static_cast<size_t>(std::max<int64_t>(0, options_in.capacity_bytes)) /
                           shards.size()) {}

  Shard& ShardOf(const UserKey& key) { return shards[(key.hash >> 40) & (shards.size() - 1)]; }
  std::shared_ptr<const CachedUser> FindInShard(Shard& shard, const UserKey& key, UserVectorsId vectors)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  absl::StatusOr<std::shared_ptr<const CachedUser>> ReadStore(std::string_view user_id, UserVectorsId vectors,
                                                              const CachedUser* known, bool* cacheable);
  void BeginWrite(const UserKey& key);
  // Applies events that the store has recorded (none: forget the user) and ends the write.
  void EndWrite(const UserKey& key, bool forget, std::span<const HistoryEvent> events,
                std::span<const uint64_t> arrivals);

  UserStore* const store;
  const Options options;
  std::vector<Shard> shards;
  const size_t capacity_per_shard;
};

UserCache::UserCache(UserStore* store, const Options& options)
    : impl_(std::make_unique<Impl>(store, options)) {}
UserCache::~UserCache() = default;

std::shared_ptr<const CachedUser> UserCache::Impl::FindInShard(Shard& shard, const UserKey& key,
                                                               UserVectorsId vectors) {
  Entry* e = shard.FindEntry(key);
  if (e == nullptr || (vectors.version != 0 && e->user->vectors != vectors)) return nullptr;
  if (shard.newest != e) {
    shard.Unlink(e);
    shard.LinkNewest(e);
  }
  ++shard.hits;
  if (vectors.version == e->user->vectors.version) return e->user;
  return std::make_shared<const CachedUser>(
      CachedUser{.history = e->user->history, .long_term = {}, .vectors = {}});
}

std::shared_ptr<const CachedUser> UserCache::Find(std::string_view user_id, UserVectorsId vectors) {
  const UserKey key(user_id);
  Shard& shard = impl_->ShardOf(key);
  MutexLock lock(shard.mu);
  auto user = impl_->FindInShard(shard, key, vectors);
  if (user == nullptr) ++shard.misses;
  return user;
}

absl::StatusOr<std::shared_ptr<const CachedUser>> UserCache::Impl::ReadStore(std::string_view user_id,
                                                                             UserVectorsId vectors,
                                                                             const CachedUser* known,
                                                                             bool* cacheable) {
  auto user = std::make_shared<CachedUser>();
  user->vectors = vectors;
  if (known != nullptr) {
    user->history = known->history;
  } else {
    SWIFTLET_RETURN_IF_ERROR(store->ReadHistory(user_id, &user->history));
    user->history.shrink_to_fit();
  }
  if (vectors.version != 0) {
    absl::Status status = store->ReadLongTerm(vectors.version, user_id, &user->long_term);
    // Damaged vectors: better an answer without than none.
    if (absl::IsNotFound(status) || absl::IsDataLoss(status)) {
      user->long_term.clear();
      *cacheable = false;
    } else if (!status.ok()) {
      return status;
    }
  }
  return std::shared_ptr<const CachedUser>(std::move(user));
}

absl::StatusOr<std::shared_ptr<const CachedUser>> UserCache::Get(std::string_view user_id,
                                                                 UserVectorsId vectors) {
  const UserKey key(user_id);
  Shard& shard = impl_->ShardOf(key);
  auto fill = std::make_shared<Fill>();
  std::shared_ptr<const CachedUser> known;
  {
    MutexLock lock(shard.mu);
    if (auto user = impl_->FindInShard(shard, key, vectors)) return user;
    if (Entry* e = shard.FindEntry(key)) known = e->user;  // other vectors: the history is good
    Activity& activity = shard.active[key.absl_id()];
    for (const std::shared_ptr<Fill>& other : activity.fills) {
      if (other->vectors != vectors) continue;
      const std::shared_ptr<Fill> joined = other;  // `activity` may be gone after the wait
      while (!joined->done) shard.filled.Wait(shard.mu);
      return joined->result;
    }
    fill->vectors = vectors;
    fill->cacheable = activity.writes == 0;
    activity.fills.push_back(fill);
  }
  bool version_exists = true;
  auto result = impl_->ReadStore(user_id, vectors, known.get(), &version_exists);
  Garbage garbage;
  MutexLock lock(shard.mu);
  fill->result = result;
  fill->done = true;
  if (const auto it = shard.active.find(key.absl_id()); it != shard.active.end()) {
    std::erase(it->second.fills, fill);
    if (it->second.fills.empty() && it->second.writes == 0) shard.active.erase(it);
  }
  shard.filled.NotifyAll();
  if (result.ok() && fill->cacheable && version_exists) {
    shard.Store(key, *result, 0, impl_->capacity_per_shard, &garbage);
  }
  return result;
}

void UserCache::Impl::BeginWrite(const UserKey& key) {
  Shard& shard = ShardOf(key);
  MutexLock lock(shard.mu);
  Activity& activity = shard.active[key.absl_id()];
  ++activity.writes;
  for (const std::shared_ptr<Fill>& fill : activity.fills) fill->cacheable = false;
}

void UserCache::Impl::EndWrite(const UserKey& key, bool forget, std::span<const HistoryEvent> events,
                               std::span<const uint64_t> arrivals) {
  Shard& shard = ShardOf(key);
  Garbage garbage;
  MutexLock lock(shard.mu);
  const auto it = shard.active.find(key.absl_id());
  // Reads in progress may not have seen the write: nobody joins them from now on.
  it->second.fills.clear();
  if (--it->second.writes == 0) shard.active.erase(it);
  Entry* e = shard.FindEntry(key);
  if (e == nullptr || (!forget && events.empty())) return;
  // Arrival numbers of a user grow in the order of the store. A smaller one than what is here already means
  // that two writes came back in the other order: read the user again.
  if (forget || arrivals.front() < e->last_arrival) {
    shard.Remove(e, &garbage);
    return;
  }
  auto user = std::make_shared<const CachedUser>(
      CachedUser{.history = Append(e->user->history, events, options.max_history_events),
                 .long_term = e->user->long_term,
                 .vectors = e->user->vectors});
  shard.Store(key, std::move(user), arrivals.back(), capacity_per_shard, &garbage);
}

absl::StatusOr<RecordResult> UserCache::RecordEvents(std::span<const EventRecord> events, int64_t now_ms) {
  struct UserWrite {
    UserKey key;
    std::vector<HistoryEvent> events;
    std::vector<uint64_t> arrivals;
  };
  std::vector<UserWrite> writes;  // one for each user
  std::vector<size_t> write_of(events.size());
  absl::flat_hash_map<absl::string_view, size_t> index;
  for (size_t i = 0; i < events.size(); ++i) {
    const auto [it, added] = index.try_emplace(events[i].user_id, writes.size());
    if (added) writes.push_back({UserKey(events[i].user_id), {}, {}});
    write_of[i] = it->second;
  }
  for (const UserWrite& write : writes) impl_->BeginWrite(write.key);
  absl::StatusOr<RecordResult> result = impl_->store->RecordEvents(events, now_ms);
  if (result.ok()) {
    for (size_t i = 0; i < events.size(); ++i) {
      if (result->arrivals[i] == 0) continue;
      UserWrite& write = writes[write_of[i]];
      write.events.push_back({.item_key = ItemKeyOf(events[i].item_id),
                              .timestamp_ms = events[i].timestamp_ms,
                              .value = events[i].value,
                              .type = events[i].type});
      write.arrivals.push_back(result->arrivals[i]);
    }
  }
  // After an I/O error nobody knows what will be on disk. A bad argument wrote nothing.
  const bool forget = !result.ok() && !absl::IsInvalidArgument(result.status());
  for (const UserWrite& write : writes) impl_->EndWrite(write.key, forget, write.events, write.arrivals);
  return result;
}

absl::Status UserCache::DeleteUser(std::string_view user_id, int64_t now_ms) {
  const UserKey key(user_id);
  impl_->BeginWrite(key);
  absl::Status status = impl_->store->DeleteUser(user_id, now_ms);
  impl_->EndWrite(key, /*forget=*/true, {}, {});
  return status;
}

UserCacheStats UserCache::Stats() const {
  UserCacheStats stats;
  for (const Shard& shard : impl_->shards) {
    MutexLock lock(shard.mu);
    stats.hits += shard.hits;
    stats.misses += shard.misses;
    stats.evictions += shard.evictions;
    stats.entries += shard.entries.size();
    stats.bytes += shard.bytes;
  }
  return stats;
}

}  // namespace swiftlet
