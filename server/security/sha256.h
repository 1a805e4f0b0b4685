// SHA-256 (FIPS 180-4), as tokens are kept.
#ifndef SWIFTLET_SERVER_SECURITY_SHA256_H_
#define SWIFTLET_SERVER_SECURITY_SHA256_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace swiftlet {

using Sha256Digest = std::array<uint8_t, 32>;

// Allocates only in a thread's first call.
Sha256Digest Sha256(std::string_view bytes);
// 64 lower-case hexadecimal digits, and back: nothing for anything else (upper case is read, too).
std::string ToHex(const Sha256Digest& digest);
std::optional<Sha256Digest> DigestFromHex(std::string_view hex);
// In a time that does not depend on where the two differ.
bool ConstantTimeEquals(const Sha256Digest& a, const Sha256Digest& b);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_SHA256_H_
