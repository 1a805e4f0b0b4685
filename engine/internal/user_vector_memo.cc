#include "engine/internal/user_vector_memo.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

namespace swiftlet {

void UserVectorMemo::Configure(size_t bytes, uint64_t seed) {
  if (bytes == bytes_) return;
  bytes_ = bytes;
  dim_ = 0;
  sets_ = {};
  recent_ = {};
  words_ = nullptr;
  std::mt19937_64 random(seed);
  for (unsigned char& byte : secret_) byte = static_cast<unsigned char>(random() >> 56);
}

void UserVectorMemo::Allocate(uint32_t dim) {
  dim_ = dim;
  const size_t set_bytes = sizeof(Set) + kWays + kWays * stride() * 4;
  const size_t num_sets = std::max<size_t>(bytes_ / set_bytes, 1);
  sets_.assign(num_sets, Set{});
  recent_.assign(num_sets, {0, 1, 2, 3});
  static_assert(kWays == 4);
  words_ = std::make_unique_for_overwrite<uint32_t[]>(num_sets * kWays * stride());
}

void UserVectorMemo::Touch(size_t set, size_t way) {
  std::array<uint8_t, kWays>& recent = recent_[set];
  const auto it = std::find(recent.begin(), recent.end(), way);
  std::rotate(recent.begin(), it, it + 1);
}

UserVectorMemo::Key UserVectorMemo::KeyOf(uint64_t view, bool exclude_seen, const UserState& user) {
  // Sizes come first, so that no two inputs have the same words.
  const size_t num_words = 3 + 3 * user.history.size() + (user.long_term.size() + 1) / 2;
  if (input_.size() < num_words) input_.resize(num_words);
  uint64_t* next = input_.data();
  *next++ = view;
  *next++ = user.history.size() << 1 | (exclude_seen ? 1 : 0);
  *next++ = user.long_term.size();
  for (const HistoryEvent& event : user.history) {
    *next++ = event.item_key;
    *next++ = static_cast<uint64_t>(event.timestamp_ms);
    *next++ = uint64_t{event.type} << 32 | std::bit_cast<uint32_t>(event.value);
  }
  if (user.long_term.size() % 2 != 0) input_[num_words - 1] = 0;
  if (!user.long_term.empty()) std::memcpy(next, user.long_term.data(), user.long_term.size_bytes());
  const XXH128_hash_t hash =
      XXH3_128bits_withSecret(input_.data(), num_words * sizeof(uint64_t), secret_.data(), secret_.size());
  return {.low = hash.low64 | 1, .high = hash.high64};  // never the key of no entry
}

bool UserVectorMemo::Find(const Key& key, uint32_t dim, Entry* entry) {
  if (dim != dim_) return false;
  const size_t set = SetOf(key);
  for (size_t way = 0; way < kWays; ++way) {
    if (!(sets_[set].keys[way] == key)) continue;
    Touch(set, way);
    const uint32_t* words = Words(set, way);
    Header header;
    std::memcpy(&header, words, sizeof(header));
    words += sizeof(header) / 4;
    *entry = {.user_vector = {reinterpret_cast<const float*>(words), dim_},
              .excluded_rows = {words + dim_, header.num_rows},
              .num_events = header.num_events,
              .source = header.source};
    return true;
  }
  return false;
}

void UserVectorMemo::Put(const Key& key, const Entry& entry) {
  if (entry.excluded_rows.size() > kMaxExcludedRows) return;
  if (entry.user_vector.size() != dim_) Allocate(static_cast<uint32_t>(entry.user_vector.size()));
  const size_t set = SetOf(key);
  const size_t way = recent_[set].back();  // one that was never used, where there is any
  Touch(set, way);
  sets_[set].keys[way] = key;
  uint32_t* words = Words(set, way);
  const Header header = {.num_events = entry.num_events,
                         .source = entry.source,
                         .num_rows = static_cast<uint32_t>(entry.excluded_rows.size())};
  std::memcpy(words, &header, sizeof(header));
  words += sizeof(header) / 4;
  std::memcpy(words, entry.user_vector.data(), entry.user_vector.size_bytes());
  if (!entry.excluded_rows.empty()) {
    std::memcpy(words + dim_, entry.excluded_rows.data(), entry.excluded_rows.size_bytes());
  }
}

}  // namespace swiftlet
