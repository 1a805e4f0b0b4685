#include "engine/base/quoted.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/item_key.h"

namespace swiftlet {
namespace {

// Escapes the beginning of a text; returns how much was left out.
size_t EscapeBeginning(std::string_view text, size_t max_bytes, std::string* escaped) {
  size_t size = std::min(text.size(), max_bytes);
  // Not through the middle of a character, which has three continuation bytes at most.
  for (int i = 0; i < 3 && size > 0 && size < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
  }
  const absl::string_view shown(text.data(), size);
  *escaped = IsValidUtf8(text.substr(0, size)) ? absl::Utf8SafeCEscape(shown) : absl::CEscape(shown);
  return text.size() - size;
}

}  // namespace

std::string Shortened(std::string_view text, size_t max_bytes) {
  std::string escaped;
  if (EscapeBeginning(text, max_bytes, &escaped) > 0) escaped += "...";
  return escaped;
}

std::string Quoted(std::string_view value) {
  constexpr size_t kMaxShown = 64;
  std::string escaped;
  if (EscapeBeginning(value, kMaxShown, &escaped) == 0) return absl::StrCat("\"", escaped, "\"");
  return absl::StrCat("\"", escaped, "...\" (", value.size(), " bytes)");
}

}  // namespace swiftlet
