// Remembers which users left a cache lately, by a part of their hashes. Private to storage/.
#ifndef SWIFTLET_STORAGE_GHOST_QUEUE_H_
#define SWIFTLET_STORAGE_GHOST_QUEUE_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace swiftlet {

// About the last `capacity` hashes that were added: one may be forgotten early when its bucket is full, and
// another one with the same lower 32 bits is taken for it. 8 to 16 bytes a hash. Thread-compatible.
class GhostQueue {
 public:
  void Add(uint64_t hash, size_t capacity) {
    if (capacity == 0) return;
    capacity_ = static_cast<uint32_t>(std::min<size_t>(capacity, size_t{1} << 30));
    if (slots_.size() < capacity_) Grow();
    if (++now_ == 0) ++now_;
    Insert({static_cast<uint32_t>(hash), now_});
  }
  // Whether it was there.
  bool Remove(uint64_t hash) {
    if (slots_.empty()) return false;
    for (Slot& slot : BucketOf(static_cast<uint32_t>(hash))) {
      if (slot.tag == static_cast<uint32_t>(hash) && IsAlive(slot)) {
        slot.time = 0;
        return true;
      }
    }
    return false;
  }
  size_t bytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t time = 0;  // 0: empty
  };
  static constexpr size_t kBucket = 8;  // a cache line

  // Slots of one bucket; their number is a power of two.
  std::span<Slot> BucketOf(uint32_t tag) {
    return std::span(slots_).subspan((tag & (slots_.size() / kBucket - 1)) * kBucket, kBucket);
  }
  bool IsAlive(const Slot& slot) const { return slot.time != 0 && now_ - slot.time < capacity_; }
  // In the place of the same tag, of none, or of the oldest.
  void Insert(const Slot& added) {
    const auto age = [&](const Slot& slot) {
      return slot.tag == added.tag || slot.time == 0 ? UINT32_MAX : now_ - slot.time;
    };
    const std::span<Slot> bucket = BucketOf(added.tag);
    *std::max_element(bucket.begin(), bucket.end(),
                      [&](const Slot& a, const Slot& b) { return age(a) < age(b); }) = added;
  }
  void Grow() {
    const std::vector<Slot> old =
        std::exchange(slots_, std::vector<Slot>(std::bit_ceil(std::max<size_t>(capacity_, 2 * kBucket))));
    for (const Slot& slot : old) {
      if (IsAlive(slot)) Insert(slot);
    }
  }

  uint32_t capacity_ = 0;
  uint32_t now_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_GHOST_QUEUE_H_
