#include "server/security/token_file.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "engine/base/quoted.h"

namespace swiftlet {
namespace {

constexpr std::string_view kHashPrefix = "sha256:";
constexpr std::string_view kExpiresPrefix = "expires=";
constexpr size_t kMaxNameBytes = 64;

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

absl::StatusOr<TokenEntry> ParseLine(std::string_view line) {
  const std::vector<std::string> fields =
      absl::StrSplit(Absl(line), absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (fields.size() < 3 || fields.size() > 4) {
    return absl::InvalidArgumentError(
        absl::StrCat(fields.size(), " fields; expected: name roles sha256:HASH [expires=TIME]"));
  }
  TokenEntry token;
  token.name = fields[0];
  if (absl::Status status = CheckTokenName(token.name); !status.ok()) return status;
  const absl::StatusOr<RoleSet> roles = ParseRoles(fields[1]);
  if (!roles.ok()) return roles.status();
  token.roles = *roles;
  const std::string_view hash = fields[2];
  const std::optional<Sha256Digest> digest =
      hash.starts_with(kHashPrefix) ? DigestFromHex(hash.substr(kHashPrefix.size())) : std::nullopt;
  if (!digest.has_value()) {
    // Perhaps the token itself, by mistake: it is not for logs.
    return absl::InvalidArgumentError("the third field is not sha256: and 64 hexadecimal digits");
  }
  token.digest = *digest;
  if (fields.size() == 4) {
    absl::Time expires;
    std::string error;
    if (!fields[3].starts_with(kExpiresPrefix) ||
        !absl::ParseTime(absl::RFC3339_full, fields[3].substr(kExpiresPrefix.size()), &expires, &error)) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(fields[3]), " is not expires= and a time such as 2027-01-31T00:00:00Z"));
    }
    token.expires_ms = absl::ToUnixMillis(expires);
    if (token.expires_ms <= 0) return absl::InvalidArgumentError("expires before 1970");
  }
  return token;
}

}  // namespace

absl::Status CheckTokenName(std::string_view name) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  };
  if (!name.empty() && name.size() <= kMaxNameBytes && std::all_of(name.begin(), name.end(), allowed)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("the name ", Quoted(std::string(name)), " is not 1 to ",
                                                 kMaxNameBytes, " bytes of [A-Za-z0-9._-]"));
}

absl::StatusOr<RoleSet> ParseRoles(std::string_view text) {
  RoleSet roles;
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(Absl(text), ','))) {
    const std::optional<Role> role = RoleByName(name);
    if (!role.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the role ", Quoted(name), " is not one of recommend, ingest, admin"));
    }
    roles.Add(*role);
  }
  return roles;
}

absl::StatusOr<std::vector<TokenEntry>> ParseTokenFile(std::string_view text, const std::string& file_name) {
  std::vector<TokenEntry> tokens;
  std::map<Sha256Digest, int> line_of;
  int number = 0;
  const auto error = [&](absl::string_view reason) {
    return absl::InvalidArgumentError(absl::StrCat(file_name, ":", number, ": ", reason));
  };
  while (!text.empty()) {
    ++number;
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return error("the line has no end: the file is not complete");
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string_view::npos || line[begin] == '#') continue;
    absl::StatusOr<TokenEntry> token = ParseLine(line);
    if (!token.ok()) return error(token.status().message());
    const auto [it, added] = line_of.emplace(token->digest, number);
    if (!added) return error(absl::StrCat("the token of line ", it->second, " once more"));
    tokens.push_back(*std::move(token));
  }
  if (tokens.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file_name, ": holds no token, so that nobody could call; swiftlet token new makes one"));
  }
  return tokens;
}

std::string FormatToken(const TokenEntry& token) {
  std::string line =
      absl::StrCat(token.name, " ", token.roles.ToString(), " ", Absl(kHashPrefix), ToHex(token.digest));
  if (token.expires_ms != 0) {
    absl::StrAppend(&line, " ", Absl(kExpiresPrefix),
                    absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", absl::FromUnixMillis(token.expires_ms),
                                     absl::UTCTimeZone()));
  }
  return line + "\n";
}

std::string NewTokenSecret() {
  std::array<unsigned char, 32> bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) std::abort();  // a token that can be guessed is worse
  std::string text;
  absl::WebSafeBase64Escape(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
                            &text);
  return "swl_" + text;
}

}  // namespace swiftlet
