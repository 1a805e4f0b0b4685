// Lets so many writes, and so many bytes of them, wait for the disk, and refuses the others at once.
//
//   absl::Status status = gate.Enter(bytes);      // on the gRPC thread
//   if (!status.ok()) return status;
//   ... queue the write, commit it ...
//   gate.Leave(bytes);
#ifndef SWIFTLET_SERVER_WRITE_GATE_H_
#define SWIFTLET_SERVER_WRITE_GATE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "server/metrics.h"

namespace swiftlet {

// Thread-safe.
class WriteGate {
 public:
  // writes_stopped: whether the store takes no writes for now; cheap. metrics: outlives this.
  WriteGate(int64_t max_pending, std::function<bool()> writes_stopped, ServerMetrics* metrics)
      : max_pending_(max_pending), writes_stopped_(std::move(writes_stopped)), metrics_(metrics) {}

  // Of requests that wait. One larger than this may wait alone.
  static constexpr int64_t kMaxPendingBytes = int64_t{64} << 20;

  // OK: one more write, of a request of so many bytes, is pending, until Leave. RESOURCE_EXHAUSTED, counted
  // by its reason, when too many are or when the store takes none.
  absl::Status Enter(size_t bytes);
  void Leave(size_t bytes) {
    pending_bytes_.fetch_sub(static_cast<int64_t>(bytes), std::memory_order_relaxed);
    pending_.fetch_sub(1, std::memory_order_relaxed);
  }
  // Counts a write that was let in and that the store refused with this status.
  void CountRefusal(const absl::Status& status);

  int64_t num_pending() const { return pending_.load(std::memory_order_relaxed); }

 private:
  const int64_t max_pending_;
  const std::function<bool()> writes_stopped_;
  ServerMetrics* const metrics_;
  std::atomic<int64_t> pending_{0}, pending_bytes_{0};
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_WRITE_GATE_H_
