#include "server/write_gate.h"

#include "absl/strings/str_cat.h"

namespace swiftlet {

absl::Status WriteGate::Enter() {
  if (writes_stopped_()) {
    metrics_->CountWriteRefusal(WriteRefusal::kStalled);
    return absl::ResourceExhaustedError("the store is behind with its compactions, retry later");
  }
  if (pending_.fetch_add(1, std::memory_order_relaxed) < max_pending_) return absl::OkStatus();
  Leave();
  metrics_->CountWriteRefusal(WriteRefusal::kQueueFull);
  return absl::ResourceExhaustedError(
      absl::StrCat("storage.max_pending_writes: ", max_pending_, " writes wait for the disk, retry later"));
}

void WriteGate::CountRefusal(const absl::Status& status) {
  if (!absl::IsResourceExhausted(status)) return;
  metrics_->CountWriteRefusal(writes_stopped_() ? WriteRefusal::kStalled : WriteRefusal::kDiskFull);
}

}  // namespace swiftlet
