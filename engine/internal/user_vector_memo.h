// User vectors that were made before, of one thread. A user vector and the rows that a history excludes are a
// function of the catalogue view, the history and the long-term vector alone; a user who asks again before
// anything of it has changed is answered from here, without looking up and reading the vectors of the events
// again.
//
// What is kept is found by a 128-bit hash of everything that it was made from, with a secret of this memo
// (XXH3): nothing is ever out of date, and two inputs meet with a chance of 2^-128 a pair. What nobody asks
// for makes room: of 4 entries that share a place, the one leaves that was not asked for the longest.
#ifndef SWIFTLET_ENGINE_INTERNAL_USER_VECTOR_MEMO_H_
#define SWIFTLET_ENGINE_INTERNAL_USER_VECTOR_MEMO_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/user_state.h"

namespace swiftlet {

class UserVectorMemo {
 public:
  struct Key {
    uint64_t low = 0, high = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  // Borrowed from the memo until its next Put, or from the caller of Put.
  struct Entry {
    std::span<const float> user_vector = {};       // [dim]
    std::span<const uint32_t> excluded_rows = {};  // of the view; at most kMaxExcludedRows
    uint32_t num_events = 0;
    uint32_t source = 0;  // an ItemSource
  };
  static constexpr size_t kMaxExcludedRows = 200;

  // Off until this is called with bytes > 0, and with 0 again; forgets everything when the bytes change.
  // seed: of the secret.
  void Configure(size_t bytes, uint64_t seed);
  bool enabled() const { return bytes_ > 0; }

  // view: CatalogView::serial(). exclude_seen: part of the key, as it decides about excluded_rows.
  Key KeyOf(uint64_t view, bool exclude_seen, const UserState& user);
  // Whether there is an entry, and if so the entry.
  bool Find(const Key& key, uint32_t dim, Entry* entry);
  // Keeps a copy, in place of another one perhaps; not of entries with more rows than kMaxExcludedRows. Of
  // one dimension only: one of another forgets all others.
  void Put(const Key& key, const Entry& entry);

 private:
  static constexpr size_t kWays = 4;
  static constexpr size_t kSecretBytes = 192;
  struct Header {
    uint32_t num_events, source, num_rows;
  };
  struct alignas(64) Set {
    std::array<Key, kWays> keys;
  };
  // Words (4 bytes) of an entry: header, user vector, rows.
  size_t stride() const { return sizeof(Header) / 4 + dim_ + kMaxExcludedRows; }
  uint32_t* Words(size_t set, size_t way) { return words_.get() + (set * kWays + way) * stride(); }
  size_t SetOf(const Key& key) const { return key.high % sets_.size(); }
  void Allocate(uint32_t dim);
  void Touch(size_t set, size_t way);

  size_t bytes_ = 0;
  uint32_t dim_ = 0;
  std::array<unsigned char, kSecretBytes> secret_ = {};
  std::vector<Set> sets_;                           // a key of zeros: no entry
  std::vector<std::array<uint8_t, kWays>> recent_;  // per set: its ways, the last one asked for first
  std::unique_ptr<uint32_t[]> words_;  // written before they are read: pages nobody needs are never touched
  std::vector<uint64_t> input_;        // what is hashed
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_INTERNAL_USER_VECTOR_MEMO_H_
