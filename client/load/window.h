// What a measurement window found.
#ifndef SWIFTLET_CLIENT_LOAD_WINDOW_H_
#define SWIFTLET_CLIENT_LOAD_WINDOW_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "client/load/call.h"
#include "client/load/histogram.h"

namespace swiftlet::load {

inline constexpr int kNumCodes = 17;

// Calls of one kind that were to be sent inside the window.
struct KindStats {
  Histogram latency;  // ns from the intended time to the answer; calls that succeeded with a right answer
  std::array<int64_t, kNumCodes> by_code = {};
  int64_t wrong = 0;  // status OK, but the answer is not right

  int64_t count() const;
  int64_t good() const { return by_code[0] - wrong; }
  void Merge(const KindStats& other);
};

struct WindowStats {
  static constexpr int kSecondBits = 5;  // precision of by_second

  std::array<KindStats, kNumKinds> kinds;
  // The good calls by the second of the window that they were to be sent in, all kinds together.
  std::vector<Histogram> by_second;
  // Of the good calls, all kinds together, those that an event of WindowOptions touched, and the others.
  Histogram during_event, outside_event;
  Histogram refusal;                        // ns that calls took which failed by their status
  Histogram send_lag;                       // ns by which calls were sent late (open loop)
  int64_t unsent = 0;                       // open loop: never sent, because too many calls were in flight
  int64_t completed = 0;                    // calls that ended inside the window, failed ones too
  int64_t completed_good = 0;               // of these, the good ones
  std::map<std::string, int64_t> failures;  // by reason but for durations in it, at most kMaxReasons
  double seconds = 0;                       // the window's length as it was
  double offered_rate = 0;                  // open loop: what was to be sent a second
  double server_cpu_seconds = -1;           // -1: not known
  double client_cpu_seconds = 0;
  bool interrupted = false;

  void CountFailure(const std::string& reason, int64_t number);
  void Merge(const WindowStats& other);  // of the same window, by another worker

  KindStats Total() const;
  double qps() const { return seconds > 0 ? static_cast<double>(completed) / seconds : 0; }
  double goodput() const { return seconds > 0 ? static_cast<double>(completed_good) / seconds : 0; }
  // Microseconds of the server's CPU time a call; -1 when not known.
  double server_cpu_us() const { return PerCall(server_cpu_seconds); }
  double client_cpu_us() const { return PerCall(client_cpu_seconds); }

 private:
  double PerCall(double cpu_seconds) const {
    return completed == 0 || cpu_seconds < 0 ? -1 : cpu_seconds * 1e6 / static_cast<double>(completed);
  }
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_WINDOW_H_
