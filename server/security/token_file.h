// The file of tokens. It holds no secret: of each token its SHA-256, which is right for tokens of 256 random
// bits (a slow password hash would only guard guessable ones).
//
//   # name  roles             hash                [expires]
//   shop    recommend         sha256:9f86d081...
//   feed    ingest            sha256:60303ae2...  expires=2027-01-31T00:00:00Z
//   ops     admin             sha256:fd61a03a...
//
// One token a line: a name ([A-Za-z0-9._-], 1 to 64 bytes), roles separated by commas, the hash, and when it
// expires (RFC 3339), separated by blanks. Several tokens may have one name: the old and the new one of a
// client while it changes over; they share its rate limit. Lines that are empty or begin with # are skipped.
//
//   const std::string secret = NewTokenSecret();                       // for the client
//   text += FormatToken({.name = "shop", .roles = ..., .digest = Sha256(secret)});   // for the file
#ifndef SWIFTLET_SERVER_SECURITY_TOKEN_FILE_H_
#define SWIFTLET_SERVER_SECURITY_TOKEN_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/security/roles.h"
#include "server/security/sha256.h"

namespace swiftlet {

struct TokenEntry {
  std::string name;
  RoleSet roles;
  Sha256Digest digest = {};
  int64_t expires_ms = 0;  // 0: never
};

// INVALID_ARGUMENT, "file:line: reason", when a line makes no sense, when a hash is there twice, when there
// is no token at all, or when the last line has no end: such a file is still being written.
absl::StatusOr<std::vector<TokenEntry>> ParseTokenFile(std::string_view text, const std::string& file_name);
// One line, with its end.
std::string FormatToken(const TokenEntry& token);
// INVALID_ARGUMENT for a name that the file cannot hold.
absl::Status CheckTokenName(std::string_view name);
// "recommend,ingest". INVALID_ARGUMENT for an unknown role or none.
absl::StatusOr<RoleSet> ParseRoles(std::string_view text);

// "swl_" and 43 characters of base64url: 256 bits from the system's random numbers.
std::string NewTokenSecret();

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_TOKEN_FILE_H_
