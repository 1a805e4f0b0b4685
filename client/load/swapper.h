// Swaps a server's snapshots while it is under load.
#ifndef SWIFTLET_CLIENT_LOAD_SWAPPER_H_
#define SWIFTLET_CLIENT_LOAD_SWAPPER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "engine/base/mutex.h"

namespace swiftlet::load {

struct SwapReport {
  int num_swaps = 0;
  // Of the server's own account: from the request until the new snapshot serves.
  std::vector<double> ready_seconds;
  // From the request until the old version is gone from memory.
  std::vector<double> window_seconds;
  std::vector<std::string> failures;
};

// Loads the versions one after the other, round and round, by AdminService.LoadSnapshot, from its
// construction until Stop: the first after `first`, each other one `every` after the one before began, or
// when that is over. Thread-compatible.
class Swapper {
 public:
  // At least one version. `num_swaps` 0: until Stop.
  static absl::StatusOr<std::unique_ptr<Swapper>> Start(const std::string& address,
                                                        const ChannelSecurity& security,
                                                        std::vector<int64_t> versions, absl::Duration first,
                                                        absl::Duration every, int num_swaps);
  ~Swapper();
  Swapper(const Swapper&) = delete;
  Swapper& operator=(const Swapper&) = delete;

  // True from the request of a swap until the old version is gone.
  const std::atomic<bool>& swapping() const { return swapping_; }
  // Ends after the swap that is under way, and lets the server follow the newest version again.
  SwapReport Stop();

 private:
  Swapper(std::unique_ptr<Client> client, std::vector<int64_t> versions, absl::Duration first,
          absl::Duration every, int num_swaps);
  void Run();
  // One swap to `version`.
  absl::Status Swap(int64_t version);
  // False when stopped before `time`.
  bool WaitUntil(absl::Time time);

  const std::unique_ptr<Client> client_;
  const std::vector<int64_t> versions_;
  const absl::Duration first_, every_;
  const int num_swaps_;
  std::atomic<bool> swapping_{false};
  SwapReport report_;  // of the thread until it is joined
  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: uses the others
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_SWAPPER_H_
