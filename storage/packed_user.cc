#include "storage/packed_user.h"

#include <malloc.h>
#include <xxhash.h>

#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "storage/coding.h"

namespace swiftlet {
namespace {

// A control byte: bits 0 to 2 say how long the time is, bit 3 that there is a value, bits 4 to 7 are the
// type, or 0 when it has a byte of its own. In the payload: u64 item key, u8 type, f32 value, time since the
// event before.
constexpr uint8_t kHasValue = 8;
constexpr std::array<uint8_t, 8> kTimeBytes = {0, 1, 2, 3, 4, 5, 6, 8};
constexpr size_t kOverread = 8;

constexpr std::array<uint64_t, 8> kTimeMask = [] {
  std::array<uint64_t, 8> masks{};
  for (size_t i = 0; i < 7; ++i) masks[i] = (uint64_t{1} << (8 * kTimeBytes[i])) - 1;
  masks[7] = ~uint64_t{0};
  return masks;
}();

constexpr std::array<uint8_t, 256> kEventBytes = [] {
  std::array<uint8_t, 256> bytes{};
  for (size_t c = 0; c < bytes.size(); ++c) {
    bytes[c] =
        static_cast<uint8_t>(8 + (c < 16 ? 1 : 0) + ((c & kHasValue) != 0 ? 4 : 0) + kTimeBytes[c & 7]);
  }
  return bytes;
}();

uint8_t ControlOf(const HistoryEvent& event, uint64_t time) {
  uint8_t code = 0;
  while ((time & ~kTimeMask[code]) != 0) ++code;
  if (std::bit_cast<uint32_t>(event.value) != 0) code |= kHasValue;
  return event.type < 16 ? static_cast<uint8_t>(code | (event.type << 4)) : code;
}

// Time differences wrap around: any order comes back as it was.
uint64_t TimeSince(int64_t before, int64_t now) {
  return static_cast<uint64_t>(now) - static_cast<uint64_t>(before);
}

void Put(const void* from, size_t bytes, char** to) {
  std::memcpy(*to, from, bytes);
  *to += bytes;
}

}  // namespace

UserKey::UserKey(std::string_view id_in) : id(id_in), hash(XXH3_64bits(id_in.data(), id_in.size())) {}

void PackedUser::Free::operator()(PackedUser* user) const { std::free(user); }

PackedUser::Ptr PackedUser::Create(const UserKey& key, std::span<const HistoryEvent> history,
                                   std::span<const float> long_term, UserVectorsId vectors) {
  size_t payload_bytes = 0;
  int64_t before = 0;
  for (const HistoryEvent& event : history) {
    payload_bytes += kEventBytes[ControlOf(event, TimeSince(before, event.timestamp_ms))];
    before = event.timestamp_ms;
  }
  const size_t bytes = sizeof(PackedUser) + key.id.size() + history.size() + payload_bytes +
                       long_term.size_bytes() + kOverread;
  void* memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  Ptr user(new (memory) PackedUser);
  user->hash_ = key.hash;
  user->version_ = vectors.version;
  user->generation_ = vectors.generation;
  user->num_events_ = static_cast<uint32_t>(history.size());
  user->payload_bytes_ = static_cast<uint32_t>(payload_bytes);
  user->dim_ = static_cast<uint32_t>(long_term.size());
  user->block_bytes_ = static_cast<uint32_t>(malloc_usable_size(memory));
  user->id_bytes_ = static_cast<uint16_t>(key.id.size());
  char* out = user->tail();
  Put(key.id.data(), key.id.size(), &out);
  char* control = out;
  out += history.size();
  before = 0;
  for (const HistoryEvent& event : history) {
    const uint64_t time = TimeSince(before, event.timestamp_ms);
    const uint8_t c = ControlOf(event, time);
    before = event.timestamp_ms;
    *control++ = static_cast<char>(c);
    Put(&event.item_key, sizeof(event.item_key), &out);
    if (c < 16) Put(&event.type, 1, &out);
    if ((c & kHasValue) != 0) Put(&event.value, sizeof(event.value), &out);
    Put(&time, kTimeBytes[c & 7], &out);
  }
  if (!long_term.empty()) Put(long_term.data(), long_term.size_bytes(), &out);
  std::memset(out, 0, kOverread);
  return user;
}

void PackedUser::ReadHistory(std::vector<HistoryEvent>* history) const {
  history->resize(num_events_);
  const auto* const controls = reinterpret_cast<const unsigned char*>(tail() + id_bytes_);
  const char* p = tail() + id_bytes_ + num_events_;
  uint64_t time = 0;
  HistoryEvent* out = history->data();
  for (size_t i = 0; i < num_events_; ++i, ++out) {
    const unsigned char c = controls[i];
    const char* q = p + sizeof(uint64_t);
    p += kEventBytes[c];
    out->item_key = LoadFixed<uint64_t>(q - sizeof(uint64_t));
    out->type = static_cast<EventTypeId>(c >> 4);
    if (c < 16) out->type = static_cast<EventTypeId>(*q++);
    const uint32_t has_value = (c & kHasValue) >> 3;
    out->value = std::bit_cast<float>(LoadFixed<uint32_t>(q) & (0 - has_value));
    time += LoadFixed<uint64_t>(q + 4 * has_value) & kTimeMask[c & 7];
    out->timestamp_ms = static_cast<int64_t>(time);
  }
}

void PackedUser::ReadLongTerm(std::vector<float>* long_term) const {
  long_term->resize(dim_);
  if (dim_ == 0) return;
  std::memcpy(long_term->data(), tail() + id_bytes_ + num_events_ + payload_bytes_, dim_ * sizeof(float));
}

}  // namespace swiftlet
