// The 64-bit key of an external item id. Histories and the item store use keys, because dense rows change
// with every snapshot. XXH3-64 with seed 0: the same in every process, on every machine, in every language.
#ifndef SWIFTLET_ENGINE_BASE_ITEM_KEY_H_
#define SWIFTLET_ENGINE_BASE_ITEM_KEY_H_

#include <cstdint>
#include <string_view>

namespace swiftlet {

using ItemKey = uint64_t;

ItemKey ItemKeyOf(std::string_view item_id);

// Largest external id, in bytes. Ids have 1 to this many bytes of valid UTF-8.
inline constexpr size_t kMaxIdBytes = 256;

// True for 1 to kMaxIdBytes bytes of well-formed UTF-8 (Unicode 15, table 3-7) without NUL.
bool IsValidId(std::string_view id);
// True for well-formed UTF-8 of any length.
bool IsValidUtf8(std::string_view text);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_BASE_ITEM_KEY_H_
