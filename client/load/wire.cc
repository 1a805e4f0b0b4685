#include "client/load/wire.h"

#include <bit>
#include <cstring>

namespace swiftlet::load {
namespace {

static_assert(std::endian::native == std::endian::little, "packed floats are copied as they are");

void AppendVarint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

size_t VarintSize(uint64_t value) {
  size_t size = 1;
  while (value >= 0x80) {
    ++size;
    value >>= 7;
  }
  return size;
}

void AppendNumber(int field, uint64_t value, std::string& out) {
  AppendVarint(static_cast<uint64_t>(field) << 3, out);
  AppendVarint(value, out);
}

void AppendBytes(int field, std::string_view bytes, std::string& out) {
  AppendVarint(static_cast<uint64_t>(field) << 3 | 2, out);
  AppendVarint(bytes.size(), out);
  out.append(bytes);
}

// Size of a field of one-byte tag.
size_t BytesSize(std::string_view bytes) { return 1 + VarintSize(bytes.size()) + bytes.size(); }

// Reads fields one by one.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  // False at the end, or when what follows is no field (then !ok()).
  bool Next() {
    if (at_ == end_) return false;
    uint64_t tag = 0;
    if (!Varint(tag)) return false;
    field_ = static_cast<int>(tag >> 3);
    switch (tag & 7) {
      case 0:
        bytes_ = {};
        return Varint(number_);
      case 1:
        return Take(8);
      case 2: {
        uint64_t size = 0;
        return Varint(size) && Take(size);
      }
      case 5:
        return Take(4);
      default:
        ok_ = false;
        return false;
    }
  }
  bool ok() const { return ok_; }
  int field() const { return field_; }
  uint64_t number() const { return number_; }
  std::string_view bytes() const { return bytes_; }

 private:
  bool Varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; at_ != end_ && shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    ok_ = false;
    return false;
  }
  bool Take(uint64_t size) {
    if (size > static_cast<uint64_t>(end_ - at_)) {
      ok_ = false;
      return false;
    }
    bytes_ = {at_, static_cast<size_t>(size)};
    at_ += size;
    return true;
  }

  const char* at_;
  const char* end_;
  bool ok_ = true;
  int field_ = 0;
  uint64_t number_ = 0;
  std::string_view bytes_;
};

}  // namespace

void AppendRecommend(std::string_view user_id, int k, std::string& out) {
  AppendBytes(1, user_id, out);
  AppendNumber(3, static_cast<uint64_t>(k), out);
}

void AppendInlineEvent(std::string_view item_id, std::string_view type, std::string& history) {
  AppendVarint(1 << 3 | 2, history);
  AppendVarint(BytesSize(item_id) + BytesSize(type), history);
  AppendBytes(2, item_id, history);
  AppendBytes(3, type, history);
}

void AppendRecommendInline(std::string_view history, int k, std::string& out) {
  AppendBytes(2, history, out);
  AppendNumber(3, static_cast<uint64_t>(k), out);
}

void AppendSimilar(std::string_view item_id, int k, std::string& out) {
  AppendBytes(1, item_id, out);
  AppendNumber(2, static_cast<uint64_t>(k), out);
}

void AppendEvent(std::string_view user_id, std::string_view item_id, std::string_view type,
                 int64_t timestamp_ms, std::string_view event_id, std::string& out) {
  size_t size = BytesSize(user_id) + BytesSize(item_id) + BytesSize(type);
  if (timestamp_ms != 0) size += 1 + VarintSize(static_cast<uint64_t>(timestamp_ms));
  if (!event_id.empty()) size += BytesSize(event_id);
  AppendVarint(1 << 3 | 2, out);
  AppendVarint(size, out);
  AppendBytes(1, user_id, out);
  AppendBytes(2, item_id, out);
  AppendBytes(3, type, out);
  if (timestamp_ms != 0) AppendNumber(5, static_cast<uint64_t>(timestamp_ms), out);
  if (!event_id.empty()) AppendBytes(6, event_id, out);
}

void AppendItem(std::string_view item_id, std::span<const float> vector, std::string& out) {
  const std::string_view packed(reinterpret_cast<const char*>(vector.data()), vector.size_bytes());
  AppendVarint(1 << 3 | 2, out);
  AppendVarint(BytesSize(item_id) + (packed.empty() ? 0 : BytesSize(packed)), out);
  AppendBytes(1, item_id, out);
  if (!packed.empty()) AppendBytes(3, packed, out);
}

bool ParseRanked(std::string_view bytes, RankedAnswer& answer) {
  answer.item_ids.clear();
  answer.snapshot_version = 0;
  Reader message(bytes);
  while (message.Next()) {
    if (message.field() == 2) answer.snapshot_version = static_cast<int64_t>(message.number());
    if (message.field() != 1) continue;
    Reader item(message.bytes());
    std::string_view id;
    while (item.Next()) {
      if (item.field() != 1) continue;
      id = item.bytes();
      break;  // the rest is not looked at
    }
    if (!item.ok()) return false;
    answer.item_ids.push_back(id);
  }
  return message.ok();
}

bool ParseCounts(std::string_view bytes, CountAnswer& answer) {
  answer = {};
  Reader message(bytes);
  while (message.Next()) {
    if (message.field() == 1) answer.first = static_cast<int64_t>(message.number());
    if (message.field() == 2) answer.second = static_cast<int64_t>(message.number());
  }
  return message.ok();
}

}  // namespace swiftlet::load
