// The users of one shard of the cache, and which of them leave when bytes run out. Private to storage/.
//
// S3-FIFO (Yang, Zhang, Qiu, Yue, Vinayak: "FIFO Queues are All You Need for Cache Eviction", SOSP 2023). A
// new user goes to a small queue with a tenth of the bytes; who was not asked for twice there leaves at its
// end, and is remembered by hash for a while. Who was, or comes back while remembered, goes to the main
// queue, which gives everybody who was asked for another round. So users who are asked for once, however
// many, pass through a tenth of the cache: a scan, or a flood of unknown ids.
#ifndef SWIFTLET_STORAGE_USER_SHARD_H_
#define SWIFTLET_STORAGE_USER_SHARD_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "storage/ghost_queue.h"
#include "storage/packed_user.h"

namespace swiftlet {

// Thread-compatible.
class UserShard {
 public:
  explicit UserShard(size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}
  ~UserShard();
  UserShard(const UserShard&) = delete;
  UserShard& operator=(const UserShard&) = delete;

  // Null when it is not there. Valid until the next change.
  PackedUser* Find(const UserKey& key) const;
  // Notes that a user was asked for.
  static void CountUse(PackedUser* user);
  // Keeps this user, in the place of an older version that is there, and makes room. last_arrival: the
  // largest arrival number of the events that were appended to what the store had, or 0.
  void Put(PackedUser::Ptr user, uint64_t last_arrival);
  // Null is allowed.
  void Remove(PackedUser* user);
  // Keeps a vector beside that of the user, who is there, until the user is Put with `next.vectors` or
  // leaves. False, and nothing is kept, where somebody would have to leave for it.
  bool SetNext(PackedUser* user, NextVector next);
  // Ids of users who were asked for since they came or since the queues last turned, those of the main queue
  // first: at most `max_users`.
  std::vector<std::string> HotUsers(size_t max_users) const;

  size_t num_users() const { return users_.size(); }
  // Of users, table and memory of those who left.
  size_t bytes() const;
  uint64_t num_evictions() const { return num_evictions_; }

 private:
  struct Queue {
    PackedUser *newest = nullptr, *oldest = nullptr;
    size_t bytes = 0;
    size_t num_users = 0;

    void Push(PackedUser* user);
    void Unlink(PackedUser* user);
    // `user` goes where `old` was.
    void Replace(PackedUser* old, PackedUser* user);
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(const UserKey& key) const { return key.hash; }
    size_t operator()(const PackedUser* user) const { return user->key().hash; }
  };
  struct Equal {
    using is_transparent = void;
    static UserKey KeyOf(const UserKey& key) { return key; }
    static UserKey KeyOf(const PackedUser* user) { return user->key(); }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return KeyOf(a) == KeyOf(b);
    }
  };

  Queue& QueueOf(const PackedUser* user) { return user->links.in_main ? main_ : small_; }
  void DropNext(PackedUser* user);
  void MakeRoom();
  void EvictFromSmall();
  void EvictFromMain();
  void Free(PackedUser* user);

  const size_t capacity_bytes_;
  absl::flat_hash_set<PackedUser*, Hash, Equal> users_;
  Queue small_, main_;
  GhostQueue ghosts_;
  uint64_t num_evictions_ = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_USER_SHARD_H_
