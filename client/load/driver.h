// Sends calls to a server and times them: closed loop (so many calls in flight) or open loop (so many calls a
// second, whatever the server does; latency counts from the time at which a call was to be sent, so that a
// server that stalls is charged for the calls it kept from being sent).
//
//   SWIFTLET_ASSIGN_OR_RETURN(auto driver, Driver::Create({.address = "127.0.0.1:50051", .concurrency =
//   32})); WindowStats stats = driver->Run({.warmup = absl::Seconds(1), .seconds = 10}, sources);
#ifndef SWIFTLET_CLIENT_LOAD_DRIVER_H_
#define SWIFTLET_CLIENT_LOAD_DRIVER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/channel_security.h"
#include "client/load/call.h"
#include "client/load/window.h"

namespace swiftlet::load {

struct DriverOptions {
  std::string address = {};                   // host:port, or any gRPC target
  int channels = 1;                           // connections, spread over the threads
  int threads = 1;                            // each with its own connections; at most `channels`
  absl::Duration timeout = absl::Seconds(5);  // of a call, from its sending
  ChannelSecurity security = {};
};

struct WindowOptions {
  absl::Duration warmup;    // load before the window, not counted
  absl::Duration duration;  // of the window
  // Closed loop: calls in flight, spread over the threads.
  int concurrency = 1;
  // Open loop when set: calls a second.
  std::optional<double> rate = {};
  bool poisson = true;  // else at equal distances
  // Open loop: one thread sends and polls without ever sleeping. For a client that has a core of its own:
  // what is measured is then without the client's wake-ups.
  bool spin = false;
  // Open loop: calls beyond so many in flight wait in the client, and that counts as latency.
  int max_in_flight = 8192;
  uint64_t seed = 1;
  // When set: true while something happens (a swap of snapshots) that calls are to be told apart by. Outlives
  // the window.
  const std::atomic<bool>* event = nullptr;
  // CPU seconds of the server so far; empty when not known.
  std::function<double()> server_cpu = {};
};

// Ends running windows early, with what they have measured. Async-signal-safe.
void Interrupt();
bool Interrupted();

// Thread-compatible.
class Driver {
 public:
  // Does not wait for the server. INVALID_ARGUMENT for options out of range.
  static absl::StatusOr<std::unique_ptr<Driver>> Create(const DriverOptions& options);
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  int num_workers() const;
  // One source a worker. Returns when no call is in flight any more: at the end of the window, when the
  // sources have no more calls, or after Interrupt.
  WindowStats Run(const WindowOptions& options, const std::vector<CallSource*>& sources);

 private:
  struct Impl;
  explicit Driver(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_DRIVER_H_
