// When calls arrive in this process, which is before a thread takes them up: gRPC's threads read what a
// socket holds, line the calls up, and run their handlers one after another. A server that has too much to do
// has its queue there (and in its sockets, for as long as the queue of the process takes to be worked off).
//
//   Arrivals arrivals;
//   builder.SetContextAllocator(arrivals.NewAllocator());     // gRPC asks it for a context per call
//   ...
//   const Arrivals::Wait wait = arrivals.Started(context, now);   // first thing in a handler
#ifndef SWIFTLET_SERVER_ARRIVALS_H_
#define SWIFTLET_SERVER_ARRIVALS_H_

#include <grpcpp/server_context.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

namespace swiftlet {

// Thread-safe, but for NewAllocator.
class Arrivals {
 public:
  using Clock = std::chrono::steady_clock;

  struct Wait {
    Clock::duration waited{0};
    int64_t num_behind = 0;  // calls that have arrived since
  };

  // Once, before calls arrive. This must outlive the calls.
  std::unique_ptr<grpc::ContextAllocator> NewAllocator();

  // How long the call of this context has waited until now. Once a call. Nothing is known without an
  // allocator.
  Wait Started(const grpc::CallbackServerContext* context, Clock::time_point now);

  // Calls that wait for a thread, at this moment. Calls that no handler of ours starts (health checks) count
  // until the next one of ours starts.
  int64_t num_waiting() const;

 private:
  class Context;
  class Allocator;

  bool has_allocator_ = false;  // constant once calls arrive
  // Calls are numbered as they arrive, and are started in about that order.
  std::atomic<int64_t> num_arrived_{0};
  std::atomic<int64_t> last_started_{0};
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_ARRIVALS_H_
