// How many calls a client may make.
//
// A token bucket, kept as one number (GCRA, ITU-T I.371): the time at which the bucket is full again. A
// bucket holds `burst` calls and fills by `calls_per_second`.
#ifndef SWIFTLET_SERVER_SECURITY_RATE_LIMIT_H_
#define SWIFTLET_SERVER_SECURITY_RATE_LIMIT_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"

namespace swiftlet {

struct RateLimit {
  double calls_per_second = 0;  // 0: no limit
  int32_t burst = 1;            // calls at once; at least 1

  bool limits() const { return calls_per_second > 0; }
  int64_t interval_ns() const { return static_cast<int64_t>(1e9 / calls_per_second); }
};

// Takes one call out of a bucket that is full at `*full_at_ns`, at the time `now_ns` of any steady clock.
// Returns 0, or after how many nanoseconds there will be a call in it, and takes nothing.
int64_t TakeCall(const RateLimit& limit, int64_t now_ns, int64_t* full_at_ns);

// A limit that may change while calls are made: one that comes in between may see half of the change.
// Thread-safe, without locks.
class LiveRateLimit {
 public:
  explicit LiveRateLimit(const RateLimit& limit) { Store(limit); }
  void Store(const RateLimit& limit) {
    calls_per_second_.store(limit.calls_per_second, std::memory_order_relaxed);
    burst_.store(limit.burst, std::memory_order_relaxed);
  }
  RateLimit Load() const {
    return {.calls_per_second = calls_per_second_.load(std::memory_order_relaxed),
            .burst = burst_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<double> calls_per_second_{0};
  std::atomic<int32_t> burst_{1};
};

// One client's. Thread-safe, without locks.
class RateBucket {
 public:
  explicit RateBucket(const RateLimit& limit) : limit_(limit) {}
  // As TakeCall. Always 0 when nothing is limited.
  int64_t Take(int64_t now_ns);
  // For calls from now on; those that were taken count on.
  void SetLimit(const RateLimit& limit) { limit_.Store(limit); }

 private:
  LiveRateLimit limit_;
  std::atomic<int64_t> full_at_ns_{0};
};

// One bucket for each of many clients, by any key. At most kMaxClients are kept: those whose bucket is full
// are forgotten first, which makes no difference to them. Thread-safe.
class RateBuckets {
 public:
  static constexpr size_t kMaxClients = size_t{1} << 16;

  explicit RateBuckets(const RateLimit& limit) : limit_(limit) {}
  // Always 0 when nothing is limited.
  int64_t Take(std::string_view key, int64_t now_ns);
  // As RateBucket's.
  void SetLimit(const RateLimit& limit) { limit_.Store(limit); }
  bool limits() const { return limit_.Load().limits(); }
  size_t size() const;

 private:
  static constexpr size_t kNumShards = 64;
  struct Shard {
    mutable Mutex mu;
    absl::flat_hash_map<std::string, int64_t> full_at_ns ABSL_GUARDED_BY(mu);
  };
  static void MakeRoom(Shard& shard, int64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);

  LiveRateLimit limit_;
  std::array<Shard, kNumShards> shards_;
};

// What a peer is limited by, of gRPC's name of it: the address without the port ("ipv4:10.0.0.7:4711" ->
// "10.0.0.7"); of IPv6 the first 64 bits, which are one customer's; all unix sockets are one peer.
std::string PeerKey(std::string_view peer);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_RATE_LIMIT_H_
