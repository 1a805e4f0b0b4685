// A user as the cache keeps it: id, history and long-term vector in one block of memory. Private to storage/.
//
// An event takes 9 bytes (item key, control byte) and as many as the time since the event before it needs (0
// to 6 and 8), 4 more for a value that is not 0, 1 more for a type above 15: 13 bytes for a view some hours
// after the last one, where a HistoryEvent takes 24 and the store 21.
#ifndef SWIFTLET_STORAGE_PACKED_USER_H_
#define SWIFTLET_STORAGE_PACKED_USER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/event_types.h"
#include "storage/user_cache.h"

namespace swiftlet {

// A user id with its hash, computed once a call. Borrows the id.
struct UserKey {
  explicit UserKey(std::string_view id_in);
  UserKey(std::string_view id_in, uint64_t hash_in) : id(id_in), hash(hash_in) {}
  friend bool operator==(const UserKey& a, const UserKey& b) { return a.hash == b.hash && a.id == b.id; }

  std::string_view id;
  uint64_t hash;
};

// A user's long-term vector of a snapshot that does not serve yet.
struct NextVector {
  UserVectorsId vectors;
  std::vector<float> values;  // empty when the user has none

  size_t bytes() const { return sizeof(NextVector) + values.capacity() * sizeof(float); }
};

class PackedUser {
 public:
  struct Free {
    void operator()(PackedUser* user) const;
  };
  using Ptr = std::unique_ptr<PackedUser, Free>;

  static Ptr Create(const UserKey& key, std::span<const HistoryEvent> history,
                    std::span<const float> long_term, UserVectorsId vectors);

  UserKey key() const { return {{tail(), id_bytes_}, hash_}; }
  UserVectorsId vectors() const { return {version_, generation_}; }
  // Replaces the contents. They allocate only where the capacity does not suffice.
  void ReadHistory(std::vector<HistoryEvent>* history) const;
  void ReadLongTerm(std::vector<float>* long_term) const;
  // What the block takes from the allocator, which rounds up.
  size_t bytes() const { return block_bytes_; }

  // Of the shard that owns this; a new version of a user takes them over.
  struct Links {
    NextVector* next = nullptr;  // owned by the shard
    PackedUser *newer = nullptr, *older = nullptr;
    uint64_t last_arrival = 0;  // of the events that were appended in the cache
    uint8_t uses = 0;           // since it came to its queue, or saturated
    bool in_main = false;
  };
  Links links;

 private:
  PackedUser() = default;
  const char* tail() const { return reinterpret_cast<const char*>(this + 1); }
  char* tail() { return reinterpret_cast<char*>(this + 1); }

  uint64_t hash_ = 0;
  int64_t version_ = 0;
  uint64_t generation_ = 0;
  uint32_t num_events_ = 0;
  uint32_t payload_bytes_ = 0;
  uint32_t dim_ = 0;
  uint32_t block_bytes_ = 0;
  uint16_t id_bytes_ = 0;
  // Then: the id, a control byte for each event, the payload, the vector, and room for loads of 8 bytes.
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_PACKED_USER_H_
