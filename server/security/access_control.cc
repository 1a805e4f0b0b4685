#include "server/security/access_control.h"

#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

// The token of "Bearer TOKEN" (RFC 6750; the scheme in any case); empty when it is none.
std::string_view BearerToken(std::string_view authorization) {
  constexpr absl::string_view kScheme = "bearer ";
  if (!absl::StartsWithIgnoreCase({authorization.data(), authorization.size()}, kScheme)) return {};
  authorization.remove_prefix(kScheme.size());
  const size_t begin = authorization.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return authorization.substr(begin, authorization.find_last_not_of(' ') + 1 - begin);
}

uint64_t Front(const Sha256Digest& digest) {
  uint64_t front;
  std::memcpy(&front, digest.data(), sizeof(front));
  return front;
}

}  // namespace

struct AccessControl::Client {
  Client(std::string name_in, const RateLimit& limit) : name(std::move(name_in)), bucket(limit) {}
  const std::string name;
  RateBucket bucket;
};

// Immutable. Found by the hash's first bytes, compared in constant time as a whole: what the time of the
// search tells is about the hash of a guess, which says nothing about the hashes that are there.
struct AccessControl::Table {
  struct Token {
    Sha256Digest digest;
    Client* client;
    RoleSet roles;
    int64_t expires_ms;
  };
  const Token* Find(const Sha256Digest& digest) const {
    const auto it = by_front.find(Front(digest));
    if (it == by_front.end()) return nullptr;
    for (const Token& token : it->second) {
      if (ConstantTimeEquals(token.digest, digest)) return &token;
    }
    return nullptr;
  }
  absl::flat_hash_map<uint64_t, std::vector<Token>> by_front;
};

absl::Status AccessDecision::ToStatus(Method method) const {
  const absl::string_view name(MethodName(method).data(), MethodName(method).size());
  switch (denial) {
    case AccessDenial::kNone:
      return absl::OkStatus();
    case AccessDenial::kNoToken:
      return absl::UnauthenticatedError(
          absl::StrCat(name, " needs a token: send the metadata \"authorization: Bearer TOKEN\""));
    case AccessDenial::kUnknownToken:
      return absl::UnauthenticatedError("the token in \"authorization: Bearer TOKEN\" is not known here");
    case AccessDenial::kExpiredToken:
      return absl::UnauthenticatedError(absl::StrCat("the token of ", *client, " has expired"));
    case AccessDenial::kRole:
      return absl::PermissionDeniedError(absl::StrCat(name, " needs one of the roles ",
                                                      RolesThatMay(method).ToString(), "; the token of ",
                                                      *client, " has ", roles.ToString()));
    case AccessDenial::kRateLimit:
      return absl::ResourceExhaustedError(absl::StrCat(
          "the rate limit of ", client == nullptr ? "this address" : *client, " is reached, retry in ",
          absl::FormatDuration(absl::Ceil(wait, absl::Milliseconds(1)))));
  }
  return absl::InternalError("no such denial");
}

AccessControl::AccessControl(AccessOptions options, std::function<int64_t()> now_ms)
    : tokens_(options.tokens),
      now_ms_(std::move(now_ms)),
      peers_(options.rate_limit),
      rate_limit_(options.rate_limit),
      client_limits_(std::move(options.client_limits)) {
  SetTokens({});
}

AccessControl::~AccessControl() = default;

RateLimit AccessControl::LimitOf(const std::string& client) const {
  const auto own = client_limits_.find(client);
  return own == client_limits_.end() ? rate_limit_ : own->second;
}

void AccessControl::SetLimits(const RateLimit& rate_limit,
                              std::map<std::string, RateLimit, std::less<>> client_limits) {
  peers_.SetLimit(rate_limit);
  MutexLock lock(mu_);
  rate_limit_ = rate_limit;
  client_limits_ = std::move(client_limits);
  for (const auto& [name, client] : clients_) client->bucket.SetLimit(LimitOf(name));
}

void AccessControl::SetTokens(const std::vector<TokenEntry>& tokens) {
  static std::atomic<uint64_t> last_id{0};
  auto table = std::make_shared<Table>();
  MutexLock lock(mu_);
  for (const TokenEntry& token : tokens) {
    std::unique_ptr<Client>& client = clients_[token.name];
    if (client == nullptr) {
      client = std::make_unique<Client>(token.name, LimitOf(token.name));
    }
    table->by_front[Front(token.digest)].push_back({.digest = token.digest,
                                                    .client = client.get(),
                                                    .roles = token.roles,
                                                    .expires_ms = token.expires_ms});
  }
  table_ = std::move(table);
  table_id_.store(last_id.fetch_add(1) + 1, std::memory_order_release);
}

const AccessControl::Table& AccessControl::Current() {
  struct Cached {
    uint64_t id = 0;
    std::shared_ptr<const Table> table;
  };
  thread_local Cached cached;
  if (table_id_.load(std::memory_order_acquire) != cached.id) {
    MutexLock lock(mu_);
    cached = {.id = table_id_.load(std::memory_order_relaxed), .table = table_};
  }
  return *cached.table;
}

AccessDecision AccessControl::Check(Method method, std::string_view authorization) {
  Client* client = nullptr;
  return Check(method, authorization, &client);
}

AccessDecision AccessControl::Check(Method method, std::string_view authorization, Client** client) {
  AccessDecision decision;
  if (!tokens_) return decision;
  if (authorization.empty()) {
    decision.denial = AccessDenial::kNoToken;
    return decision;
  }
  const std::string_view secret = BearerToken(authorization);
  const Table::Token* token = secret.empty() ? nullptr : Current().Find(Sha256(secret));
  if (token == nullptr) {
    decision.denial = AccessDenial::kUnknownToken;
    return decision;
  }
  decision.client = &token->client->name;
  decision.roles = token->roles;
  if (token->expires_ms != 0 && token->expires_ms <= now_ms_()) {
    decision.denial = AccessDenial::kExpiredToken;
  } else if (!token->roles.Meets(RolesThatMay(method))) {
    decision.denial = AccessDenial::kRole;
  } else {
    *client = token->client;
  }
  return decision;
}

AccessDecision AccessControl::Decide(Method method, std::string_view authorization, std::string_view peer,
                                     int64_t now_ns) {
  Client* client = nullptr;
  AccessDecision decision = Check(method, authorization, &client);
  int64_t wait_ns = 0;
  if (decision.denial != AccessDenial::kNone) return decision;
  if (client != nullptr) {
    wait_ns = client->bucket.Take(now_ns);
  } else if (peers_.limits()) {
    wait_ns = peers_.Take(PeerKey(peer), now_ns);
  }
  if (wait_ns > 0) {
    decision.denial = AccessDenial::kRateLimit;
    decision.wait = absl::Nanoseconds(wait_ns);
  }
  return decision;
}

}  // namespace swiftlet
