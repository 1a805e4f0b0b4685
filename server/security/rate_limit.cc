#include "server/security/rate_limit.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "absl/hash/hash.h"

namespace swiftlet {

int64_t TakeCall(const RateLimit& limit, int64_t now_ns, int64_t* full_at_ns) {
  const int64_t interval = limit.interval_ns();
  // No emptier than empty: a limit that was raised meanwhile has smaller buckets in time.
  const int64_t full_at = std::clamp(*full_at_ns, now_ns, now_ns + limit.burst * interval);
  // A bucket that is full in `burst` intervals is empty.
  const int64_t wait = full_at + interval - limit.burst * interval - now_ns;
  *full_at_ns = wait > 0 ? full_at : full_at + interval;
  return std::max<int64_t>(wait, 0);
}

int64_t RateBucket::Take(int64_t now_ns) {
  const RateLimit limit = limit_.Load();
  if (!limit.limits()) return 0;
  int64_t seen = full_at_ns_.load(std::memory_order_relaxed);
  for (;;) {
    int64_t full_at = seen;
    const int64_t wait = TakeCall(limit, now_ns, &full_at);
    if (full_at == seen || full_at_ns_.compare_exchange_weak(seen, full_at, std::memory_order_relaxed)) {
      return wait;
    }
  }
}

int64_t RateBuckets::Take(std::string_view key, int64_t now_ns) {
  const RateLimit limit = limit_.Load();
  if (!limit.limits()) return 0;
  const absl::string_view name(key.data(), key.size());
  Shard& shard = shards_[absl::HashOf(name) % kNumShards];
  MutexLock lock(shard.mu);
  auto it = shard.full_at_ns.find(name);
  if (it == shard.full_at_ns.end()) {
    if (shard.full_at_ns.size() >= kMaxClients / kNumShards) MakeRoom(shard, now_ns);
    it = shard.full_at_ns.emplace(std::string(key), 0).first;
  }
  return TakeCall(limit, now_ns, &it->second);
}

void RateBuckets::MakeRoom(Shard& shard, int64_t now_ns) {
  absl::erase_if(shard.full_at_ns, [now_ns](const auto& entry) { return entry.second <= now_ns; });
  if (shard.full_at_ns.size() < kMaxClients / kNumShards) return;
  // Everybody is calling: the one who has called least is forgiven most easily.
  shard.full_at_ns.erase(std::min_element(shard.full_at_ns.begin(), shard.full_at_ns.end(),
                                          [](const auto& a, const auto& b) { return a.second < b.second; }));
}

size_t RateBuckets::size() const {
  size_t n = 0;
  for (const Shard& shard : shards_) {
    MutexLock lock(shard.mu);
    n += shard.full_at_ns.size();
  }
  return n;
}

std::string PeerKey(std::string_view peer) {
  if (peer.starts_with("ipv4:")) {
    peer.remove_prefix(5);
    return std::string(peer.substr(0, peer.rfind(':')));
  }
  if (peer.starts_with("ipv6:")) {
    peer.remove_prefix(5);
    // "[::1]:4711", or with the brackets as %5B and %5D; a scope ("%eth0", "%25eth0") is not of the 64 bits.
    peer = peer.substr(0, peer.rfind(':'));
    if (peer.starts_with("[")) peer.remove_prefix(1);
    if (peer.starts_with("%5B")) peer.remove_prefix(3);
    peer = peer.substr(0, peer.find_first_of("]%"));
    in6_addr address = {};
    const std::string text(peer);
    if (inet_pton(AF_INET6, text.c_str(), &address) != 1) return text;
    if (IN6_IS_ADDR_V4MAPPED(&address)) {
      char v4[INET_ADDRSTRLEN] = "";
      inet_ntop(AF_INET, address.s6_addr + 12, v4, sizeof(v4));
      return v4;
    }
    return std::string(reinterpret_cast<const char*>(address.s6_addr), 8);
  }
  return std::string(peer.substr(0, peer.find(':')));
}

}  // namespace swiftlet
