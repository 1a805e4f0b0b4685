// Whether a call may be made: by its token and roles, and by its client's rate. Knows nothing of gRPC, so
// that every way to offer the API asks the same.
//
//   AccessControl access(options, now_ms);
//   access.SetTokens(*ParseTokenFile(text, path));
//   const AccessDecision decision = access.Decide(Method::kRecommend, header, peer, now_ns);
//   if (decision.denial != AccessDenial::kNone) return decision.ToStatus(Method::kRecommend);
#ifndef SWIFTLET_SERVER_SECURITY_ACCESS_CONTROL_H_
#define SWIFTLET_SERVER_SECURITY_ACCESS_CONTROL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "server/method.h"
#include "server/security/rate_limit.h"
#include "server/security/token_file.h"

namespace swiftlet {

enum class AccessDenial : uint8_t {
  kNone,          // the call may be made
  kNoToken,       // UNAUTHENTICATED, as the next two
  kUnknownToken,  // also: not in the form "Bearer TOKEN"
  kExpiredToken,
  kRole,       // PERMISSION_DENIED
  kRateLimit,  // RESOURCE_EXHAUSTED
};

struct AccessDecision {
  AccessDenial denial = AccessDenial::kNone;
  // The name of the token; null when there is none. Valid as long as the AccessControl.
  const std::string* client = nullptr;
  RoleSet roles;                               // of the token
  absl::Duration wait = absl::ZeroDuration();  // kRateLimit: until the next call may be made

  // The answer to the caller: OK, or why not, in words that say what to do.
  absl::Status ToStatus(Method method) const;
};

struct AccessOptions {
  bool tokens = false;   // every call needs one
  RateLimit rate_limit;  // of each client: by the token's name, without tokens by the peer's address
  std::map<std::string, RateLimit, std::less<>> client_limits;  // instead of it, by the token's name
};

// Thread-safe. A decision takes no lock, but for that on a shard of peers where calls without tokens are
// limited, and in a thread's first decision after SetTokens.
class AccessControl {
 public:
  // now_ms: the wall clock, for tokens that expire.
  AccessControl(AccessOptions options, std::function<int64_t()> now_ms);
  ~AccessControl();

  // Replaces all tokens, for calls from now on. A client that stays (by name) keeps its rate limit's state.
  void SetTokens(const std::vector<TokenEntry>& tokens) ABSL_LOCKS_EXCLUDED(mu_);
  // Replaces the limits of AccessOptions, for calls from now on; those that were made count on.
  void SetLimits(const RateLimit& rate_limit, std::map<std::string, RateLimit, std::less<>> client_limits)
      ABSL_LOCKS_EXCLUDED(mu_);

  // authorization: the value of the HTTP header or metadata of that name, "" when there is none.
  // peer: as gRPC names it ("ipv4:10.0.0.7:4711"); only looked at when looks_at_peers().
  // now_ns: of a steady clock.
  AccessDecision Decide(Method method, std::string_view authorization, std::string_view peer, int64_t now_ns);
  // The same, but for the rate: does not count as a call.
  AccessDecision Check(Method method, std::string_view authorization);

  bool asks_for_tokens() const { return tokens_; }
  bool looks_at_peers() const { return !tokens_ && peers_.limits(); }

 private:
  struct Client;
  struct Table;

  const Table& Current() ABSL_LOCKS_EXCLUDED(mu_);
  // client: whose token it is, when the call may be made.
  AccessDecision Check(Method method, std::string_view authorization, Client** client);

  RateLimit LimitOf(const std::string& client) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const bool tokens_;
  const std::function<int64_t()> now_ms_;
  RateBuckets peers_;

  std::atomic<uint64_t> table_id_{0};  // of table_; differs between all tables of the process
  Mutex mu_;
  RateLimit rate_limit_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, RateLimit, std::less<>> client_limits_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const Table> table_ ABSL_GUARDED_BY(mu_);
  // Of every name that there ever was: decisions and tables point to them.
  std::map<std::string, std::unique_ptr<Client>> clients_ ABSL_GUARDED_BY(mu_);
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_ACCESS_CONTROL_H_
