// Text of others in messages: whatever it holds, a message stays short, printable and on one line.
#ifndef SWIFTLET_ENGINE_BASE_QUOTED_H_
#define SWIFTLET_ENGINE_BASE_QUOTED_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace swiftlet {

// The first max_bytes of the text, or a few less where a character would be cut, with escapes as in C for
// quotes, backslashes and ASCII's control characters, and for all that is not ASCII if the text is no UTF-8:
// at most 4 max_bytes bytes of UTF-8, and "..." where something was left out.
std::string Shortened(std::string_view text, size_t max_bytes);

// The same in double quotes, of at most 64 bytes; where something was left out, with the number of bytes:
// "abc..." (5000 bytes).
std::string Quoted(std::string_view value);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_BASE_QUOTED_H_
