#include "server/write_gate.h"

#include "absl/strings/str_cat.h"

namespace swiftlet {

absl::Status WriteGate::Enter(size_t bytes) {
  if (writes_stopped_()) {
    metrics_->CountWriteRefusal(WriteRefusal::kStalled);
    return absl::ResourceExhaustedError("the store is behind with its compactions, retry later");
  }
  const int64_t before = pending_.fetch_add(1, std::memory_order_relaxed);
  const int64_t bytes_now = pending_bytes_.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed) +
                            static_cast<int64_t>(bytes);
  if (before < max_pending_ && (before == 0 || bytes_now <= kMaxPendingBytes)) return absl::OkStatus();
  Leave(bytes);
  metrics_->CountWriteRefusal(WriteRefusal::kQueueFull);
  if (before < max_pending_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("writes of ", kMaxPendingBytes >> 20, " MiB wait for the disk, retry later"));
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("storage.max_pending_writes: ", max_pending_, " writes wait for the disk, retry later"));
}

void WriteGate::CountRefusal(const absl::Status& status) {
  if (!absl::IsResourceExhausted(status)) return;
  metrics_->CountWriteRefusal(writes_stopped_() ? WriteRefusal::kStalled : WriteRefusal::kDiskFull);
}

}  // namespace swiftlet
