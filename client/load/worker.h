// One worker of a Driver: connections, a completion queue and the calls in flight. Private to client/load.
#ifndef SWIFTLET_CLIENT_LOAD_WORKER_H_
#define SWIFTLET_CLIENT_LOAD_WORKER_H_

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/channel_security.h"
#include "client/load/call.h"
#include "client/load/random.h"
#include "client/load/window.h"
#include "engine/base/mutex.h"

namespace swiftlet::load {

using Clock = std::chrono::steady_clock;

// When calls are sent and counted. Shared by the workers of a window.
struct Schedule {
  Clock::time_point begin;      // of the window; calls before it are warm-up
  std::atomic<Clock::rep> end;  // of the window; no call is sent later
  double rate = 0;              // of one worker; 0: closed loop
  bool poisson = true;
  bool spin = false;
  const std::atomic<bool>* event = nullptr;  // see WindowOptions

  Clock::time_point End() const {
    return Clock::time_point(Clock::duration(end.load(std::memory_order_relaxed)));
  }
};

// Uses gRPC's core directly: a third less CPU time a call than its C++ layer. One window at a time.
class Worker {
 public:
  // Without retries and load balancing: what the server answers is what is counted. The token goes with every
  // call.
  Worker(const std::string& address, int num_channels, absl::Duration timeout,
         const ChannelSecurity& security);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Blocks until the window is over and nothing is in flight. `slots` is the most that may be.
  void Run(const Schedule& schedule, int slots, uint64_t seed, CallSource& source, WindowStats& stats);

 private:
  struct Channel {
    grpc_channel* channel = nullptr;
    std::array<void*, kNumKinds> methods = {};
    std::atomic<int64_t> newest_version{0};
  };
  struct Slot;

  void RunClosed(int slots);
  void RunOpen(int slots, uint64_t seed);
  void RunSpinning(int slots, uint64_t seed);
  // The sending thread of RunOpen.
  void SendOnTime(uint64_t seed);

  void Start(Slot& slot, Clock::time_point intended);
  // Counts a call that has ended; true when `slot` was filled with a call that follows it.
  bool Finish(Slot& slot, Clock::time_point now);
  void Count(const Slot& slot, absl::StatusCode code, std::string_view message, const Verdict& verdict,
             Clock::time_point now);

  // The next completed call; null when there is none until `deadline`.
  Slot* Poll(gpr_timespec deadline);

  const gpr_timespec timeout_;
  grpc_slice authorization_;  // "Bearer TOKEN"; empty: none is sent
  std::vector<std::unique_ptr<Channel>> channels_;
  grpc_completion_queue* queue_;
  std::vector<std::unique_ptr<Slot>> slots_;  // grows as needed, kept between windows
  std::atomic<size_t> next_channel_{0};

  // Of the window that runs.
  const Schedule* schedule_ = nullptr;
  CallSource* source_ = nullptr;
  WindowStats* stats_ = nullptr;

  Mutex mu_;
  CondVar slot_free_;
  std::vector<Slot*> free_ ABSL_GUARDED_BY(mu_);
  int in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  bool sent_all_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_WORKER_H_
