// A hash map that is cheap to copy and then change a little: its shards are shared between copies, and a
// change copies only the shard it falls into.
//
//   CowMap<ItemKey, Entry> next = previous;   // 256 reference counts
//   next.Set(key, entry);                     // copies 1/256 of the entries, once
#ifndef SWIFTLET_ENGINE_INTERNAL_COW_MAP_H_
#define SWIFTLET_ENGINE_INTERNAL_COW_MAP_H_

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace swiftlet {

// Thread-compatible. A map that has been copied from must not be changed any more: the copy shares its
// shards.
template <typename Key, typename Value>
class CowMap {
 public:
  CowMap() = default;
  CowMap(const CowMap& other) : shards_(other.shards_), size_(other.size_) {}
  CowMap& operator=(const CowMap&) = delete;

  size_t size() const { return size_; }
  // Null when absent.
  const Value* Find(Key key) const {
    const Shard* shard = shards_[ShardOf(key)].get();
    if (shard == nullptr) return nullptr;
    const auto it = shard->find(key);
    return it == shard->end() ? nullptr : &it->second;
  }
  void Set(Key key, Value value) {
    if (Owned(key).insert_or_assign(key, std::move(value)).second) ++size_;
  }
  void Erase(Key key) {
    if (Find(key) == nullptr) return;
    Owned(key).erase(key);
    --size_;
  }

 private:
  using Shard = absl::flat_hash_map<Key, Value>;
  static constexpr size_t kShards = 256;

  static size_t ShardOf(Key key) { return static_cast<size_t>(uint64_t{key} * 0x9E3779B97F4A7C15u >> 56); }
  Shard& Owned(Key key) {
    const size_t i = ShardOf(key);
    if (!owned_[i]) {
      shards_[i] = shards_[i] == nullptr ? std::make_shared<Shard>() : std::make_shared<Shard>(*shards_[i]);
      owned_[i] = true;
    }
    return *shards_[i];
  }

  std::array<std::shared_ptr<Shard>, kShards> shards_;  // null: empty
  std::bitset<kShards> owned_;                          // shards that no other map has
  size_t size_ = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_INTERNAL_COW_MAP_H_
