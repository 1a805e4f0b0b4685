// Lines of the server's log about single calls: those that took long, and those that failed by the server's
// fault. Both at most ten a second, and written by another thread (CallLogger).
//
//   slow:
//   {"method":"Recommend","ms":812.4,"queue_ms":0.1,"user_state_ms":810.9,"encode_retrieve_ms":1.2,"respond_ms":0.1,
//     "result":"OK","request_id":"5f0c...","trace_id":"0af7651916cd43dd8448eb211c80319c","user_hash":"8a3e..."}
#ifndef SWIFTLET_SERVER_CALL_LOG_H_
#define SWIFTLET_SERVER_CALL_LOG_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/method.h"
#include "server/metrics.h"
#include "server/security/rate_limit.h"

namespace swiftlet {

// Seconds of each stage; 0 where the call did not come that far or has no such stage.
using StageTimes = std::array<float, kNumStages>;

// One call that has been answered.
struct CallSummary {
  Method method;
  absl::Status result;
  absl::Duration took, queued;  // the second is not part of the first
  StageTimes stages;
  std::string_view request_id, trace_id;
  std::string_view user;  // empty: of no one user
};

// "queue;dur=0.013, user_state;dur=0.002, ..., total;dur=0.133", in milliseconds: the value of a header
// Server-Timing (https://www.w3.org/TR/server-timing/).
std::string ServerTiming(const CallSummary& call);

// Thread-safe.
class CallLog {
 public:
  CallLog();

  // slow: zero turns the lines off. with_users: they name users, instead of a hash that differs between
  // processes.
  void SetSlowRequests(absl::Duration slow, bool with_users);

  // Whether Write has anything to say; nearly always not.
  bool Keeps(Method method, absl::StatusCode code, absl::Duration took) const {
    return IsServersFault(code) ||
           (took > absl::Nanoseconds(slow_ns_.load(std::memory_order_relaxed)) && !IsOfAdminService(method));
  }
  void Write(const CallSummary& call);
  // A call that was refused by its caller's fault. Of each reason two lines at first, then one in ten
  // seconds, with the number of those that have none: who calls in a loop is named soon. client: the token's
  // name, or empty; peer: asked for when there is a line.
  void WriteRefusal(Refusal reason, Method method, std::string_view client,
                    absl::FunctionRef<std::string()> peer);

 private:
  static bool IsServersFault(absl::StatusCode code) {
    return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
           code == absl::StatusCode::kDataLoss;
  }

  const uint64_t user_seed_;
  std::atomic<int64_t> slow_ns_;
  std::atomic<bool> with_users_{false};
  RateBucket slow_lines_, errors_;
  std::atomic<uint64_t> num_slow_dropped_{0}, num_errors_dropped_{0};
  struct RefusalLines {
    RateBucket lines{RateLimit{0.1, 2}};
    std::atomic<uint64_t> num_dropped{0};
  };
  std::array<RefusalLines, kNumRefusals> refusals_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_CALL_LOG_H_
