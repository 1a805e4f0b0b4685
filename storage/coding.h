// Fixed-width integers and length-prefixed strings as bytes. Private to storage/.
#ifndef SWIFTLET_STORAGE_CODING_H_
#define SWIFTLET_STORAGE_CODING_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace swiftlet {

static_assert(std::endian::native == std::endian::little, "values are little-endian and copied as they are");

// Appends a number, little-endian.
template <typename T>
void PutFixed(T value, std::string* out) {
  static_assert(std::is_arithmetic_v<T>);
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// u32 length, then the bytes.
inline void PutString(std::string_view text, std::string* out) {
  PutFixed<uint32_t>(static_cast<uint32_t>(text.size()), out);
  out->append(text);
}

// Requires sizeof(T) readable bytes at p, of any alignment.
template <typename T>
T LoadFixed(const char* p) {
  static_assert(std::is_arithmetic_v<T>);
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// A number as a key: big-endian, so that keys sort as numbers do.
inline std::string EncodeKey64(uint64_t value) {
  std::string key(8, '\0');
  for (int i = 0; i < 8; ++i) key[static_cast<size_t>(i)] = static_cast<char>(value >> (56 - 8 * i));
  return key;
}

// False unless `key` has exactly 8 bytes.
inline bool DecodeKey64(std::string_view key, uint64_t* value) {
  if (key.size() != 8) return false;
  *value = 0;
  for (const char c : key) *value = *value << 8 | static_cast<unsigned char>(c);
  return true;
}

// Takes values off the front of borrowed bytes. After the first value that is not there, every Get returns
// false and reads nothing: it suffices to look at ok() or AtEnd() once.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  bool Get(T* value) {
    static_assert(std::is_arithmetic_v<T>);
    if (!Has(sizeof(T))) return false;
    *value = LoadFixed<T>(bytes_.data());
    bytes_.remove_prefix(sizeof(T));
    return true;
  }
  bool GetString(std::string* text) {
    uint32_t size = 0;
    if (!Get(&size) || !Has(size)) return false;
    text->assign(bytes_.data(), size);
    bytes_.remove_prefix(size);
    return true;
  }
  // True when at least n bytes are left. Check counts with it before reserving memory for them.
  bool Has(uint64_t n) {
    if (n > bytes_.size()) ok_ = false;
    return ok_;
  }
  bool ok() const { return ok_; }
  bool AtEnd() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_CODING_H_
