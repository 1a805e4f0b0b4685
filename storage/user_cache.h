// A sharded in-memory cache of users over a UserStore: histories, and the long-term vector of the version
// and generation asked for.
//
// Users are kept packed (some 13 bytes an event of 24; packed_user.h) and unpacked into the caller's
// CachedUser, so that a hit allocates nothing where that is used again. Who leaves when bytes run out is in
// user_shard.h: a scan over many users, known or not, leaves those alone who are asked for again and again.
//
//   thread_local CachedUser user;
//   if (!cache.Find("u", version, &user)) status = cache.Get("u", version, &user);   // Get: on a thread that
//   may block
//
// Read your writes: RecordEvents and DeleteUser update the cache after the commit and before they return;
// fills and writes of one user are ordered, so that a fill never brings back an older history. Thread-safe.
#ifndef SWIFTLET_STORAGE_USER_CACHE_H_
#define SWIFTLET_STORAGE_USER_CACHE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/user_state.h"
#include "storage/database.h"

namespace swiftlet {

// Which long-term vectors a caller wants.
struct UserVectorsId {
  UserVectorsId() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a version that is never reused needs no generation.
  UserVectorsId(int64_t version_in, uint64_t generation_in = 0)
      : version(version_in), generation(generation_in) {}
  friend bool operator==(const UserVectorsId&, const UserVectorsId&) = default;

  int64_t version = 0;      // the store's name for them (ReadLongTerm); 0: none are wanted
  uint64_t generation = 0;  // tells apart what the store held under this version at different times
};

// A copy of what is known about a user at one moment, the caller's own.
struct CachedUser {
  std::vector<HistoryEvent> history;
  std::vector<float> long_term;  // of `vectors`; empty when the user has none
  UserVectorsId vectors;         // where long_term is from; version 0: none was loaded

  UserState State() const { return {.history = history, .long_term = long_term}; }
};

struct UserCacheStats {
  uint64_t hits = 0, misses = 0, evictions = 0;
  uint64_t entries = 0, bytes = 0;
};

class UserCache {
 public:
  struct Options {
    // Of memory, with all that the users take: ids, histories, vectors, tables, what the allocator rounds up.
    int64_t capacity_bytes = int64_t{256} << 20;
    uint32_t max_history_events = 200;  // the store's
    uint32_t num_shards = 64;           // a power of two
  };
  // `store` must outlive this.
  UserCache(UserStore* store, const Options& options);
  ~UserCache();

  // Whether this user is cached with these vectors (version and generation); if so, replaces *user. Version
  // 0: no long-term vector is wanted, and the result has none; pass it for a snapshot without user vectors.
  // Unknown users are cached too. Never blocks on I/O.
  bool Find(std::string_view user_id, UserVectorsId vectors, CachedUser* user);
  // The same, reading the store where needed. Blocks on disk. Concurrent calls for one user share one read. A
  // version that the store does not have gives an empty vector, which is not cached. After an error *user is
  // unspecified.
  absl::Status Get(std::string_view user_id, UserVectorsId vectors, CachedUser* user);

  // Reads vectors that nobody asks for yet, since their snapshot does not serve, for cached users who are
  // asked for again and again, so that the first request after a swap finds them: Find is a hit with the
  // vectors that a user had and with these. Nobody leaves the cache for it. In bursts, with pauses that leave
  // the processor to others; ends when `at_most` has passed. Returns for how many users. Blocks on disk.
  uint64_t ReadAhead(UserVectorsId vectors, absl::Duration at_most);

  // Through to the store, then to the cache. A user whose write failed or whose concurrent writes came back
  // out of order leaves the cache.
  absl::StatusOr<RecordResult> RecordEvents(std::span<const EventRecord> events, int64_t now_ms);
  absl::Status DeleteUser(std::string_view user_id, int64_t now_ms);

  UserCacheStats Stats() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_USER_CACHE_H_
