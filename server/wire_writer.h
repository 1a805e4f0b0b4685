// Writes a protobuf message in its wire form, from the end to the start: what a length belongs to is there
// before the length, so that nested messages take one pass and no message objects.
//
//   WireWriter writer;
//   const size_t before = writer.size();                      // a field of the outer message:
//   writer.AddFloat(v1::ScoredItem::kScoreFieldNumber, .5f);  //   fields from the last to the first
//   writer.AddString(v1::ScoredItem::kItemIdFieldNumber, "item-1");
//   writer.EndMessage(v1::RecommendResponse::kItemsFieldNumber, before);
//   call.Finish(writer.bytes());
//
// Where fields are added in falling order of their numbers, and elements of a list from the last to the
// first, the bytes are those that protobuf's own serialization writes.
#ifndef SWIFTLET_SERVER_WIRE_WRITER_H_
#define SWIFTLET_SERVER_WIRE_WRITER_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace swiftlet {

// Thread-compatible. As proto3 does, fields that have their default value are left out.
class WireWriter {
 public:
  // Keeps its memory, up to kMaxKept bytes.
  void Clear() {
    if (capacity_ > kMaxKept) Free();
    begin_ = capacity_;
  }
  // What is written; valid until the next change.
  std::string_view bytes() const { return {data_.get() + begin_, size()}; }
  size_t size() const { return capacity_ - begin_; }
  size_t capacity() const { return capacity_; }

  // bool, enum, int32, int64 (negative ones as static_cast<uint64_t> makes them).
  void AddVarint(int field, uint64_t value) {
    if (value == 0) return;
    Reserve(2 * kMaxVarint);
    PutVarint(value);
    PutTag(field, kVarint);
  }
  void AddFloat(int field, float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    if (bits == 0) return;
    Reserve(sizeof(bits) + kMaxVarint);
    for (int shift = 24; shift >= 0; shift -= 8) Put(static_cast<uint8_t>(bits >> shift));
    PutTag(field, kFixed32);
  }
  void AddString(int field, std::string_view value) {
    if (!value.empty()) AddElement(field, value);
  }
  // Of a repeated field: empty ones, too.
  void AddElement(int field, std::string_view value) {
    Reserve(value.size() + 2 * kMaxVarint);
    begin_ -= value.size();
    if (!value.empty()) std::memcpy(data_.get() + begin_, value.data(), value.size());
    PutVarint(value.size());
    PutTag(field, kLengthDelimited);
  }
  // Makes what has been written since size() was `before` the contents of a message, in this field of the
  // outer one.
  void EndMessage(int field, size_t before) {
    Reserve(2 * kMaxVarint);
    PutVarint(size() - before);
    PutTag(field, kLengthDelimited);
  }

  static constexpr size_t kMaxKept = size_t{256} << 10;

 private:
  enum WireType : uint32_t { kVarint = 0, kLengthDelimited = 2, kFixed32 = 5 };
  static constexpr size_t kMaxVarint = 10;

  void Reserve(size_t n) {
    if (begin_ < n) Grow(n);
  }
  void Put(uint8_t byte) { data_[--begin_] = static_cast<char>(byte); }
  void PutTag(int field, WireType type) { PutVarint(static_cast<uint32_t>(field) << 3 | type); }
  void PutVarint(uint64_t value) {
    if (value < 128) return Put(static_cast<uint8_t>(value));
    begin_ -= static_cast<size_t>(std::bit_width(value) + 6) / 7;
    size_t at = begin_;
    for (; value >= 128; value >>= 7) data_[at++] = static_cast<char>(value | 128);
    data_[at] = static_cast<char>(value);
  }
  void Grow(size_t n);
  void Free();

  std::unique_ptr<char[]> data_;
  size_t capacity_ = 0;
  size_t begin_ = 0;  // of what is written, which ends at capacity_
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_WIRE_WRITER_H_
