#include "server/call_log.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/logging.h"
#include "xxhash.h"

namespace swiftlet {
namespace {

constexpr RateLimit kLines = {.calls_per_second = 10, .burst = 10};
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

int64_t NowNs() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

double Milliseconds(double seconds) { return std::round(seconds * 1e6) / 1e3; }

}  // namespace

std::string ServerTiming(const CallSummary& call) {
  std::string text = absl::StrFormat("queue;dur=%.3f", absl::ToDoubleMilliseconds(call.queued));
  for (size_t s = 0; s < kNumStages; ++s) {
    if (call.stages[s] > 0)
      absl::StrAppendFormat(&text, ", %s;dur=%.3f", kStageNames[s], 1e3 * call.stages[s]);
  }
  absl::StrAppendFormat(&text, ", total;dur=%.3f", absl::ToDoubleMilliseconds(call.queued + call.took));
  return text;
}

CallLog::CallLog() : user_seed_(RandomSeed()), slow_ns_(kNever), slow_lines_(kLines), errors_(kLines) {}

void CallLog::SetSlowRequests(absl::Duration slow, bool with_users) {
  slow_ns_.store(slow > absl::ZeroDuration() ? absl::ToInt64Nanoseconds(slow) : kNever);
  with_users_.store(with_users);
}

void CallLog::WriteRefusal(Refusal reason, Method method, std::string_view client,
                           absl::FunctionRef<std::string()> peer) {
  const auto r = static_cast<size_t>(reason);
  RefusalLines& of = refusals_[r];
  if (of.lines.Take(NowNs()) > 0) {
    of.num_dropped.fetch_add(1);
    return;
  }
  const uint64_t dropped = of.num_dropped.exchange(0);
  CallLogger()->warn(
      "refused, {}: {} of {}{}{}", kRefusalNames[r], MethodName(method),
      client.empty() ? "" : absl::StrCat(absl::string_view(client.data(), client.size()), ", "), peer(),
      dropped == 0 ? "" : absl::StrCat("; ", dropped, " more before that were not logged"));
}

void CallLog::Write(const CallSummary& call) {
  if (IsServersFault(call.result.code())) {
    if (errors_.Take(NowNs()) > 0) {
      num_errors_dropped_.fetch_add(1);
    } else {
      const auto logger = CallLogger();
      logger->error("{} failed: {} (request {}, trace {})", MethodName(call.method), call.result.ToString(),
                    absl::CEscape({call.request_id.data(), call.request_id.size()}), call.trace_id);
      if (const uint64_t dropped = num_errors_dropped_.exchange(0); dropped > 0) {
        logger->error("{} more calls failed and were not logged", dropped);
      }
    }
  }
  if (!Keeps(call.method, absl::StatusCode::kOk, call.took)) return;
  if (slow_lines_.Take(NowNs()) > 0) {
    num_slow_dropped_.fetch_add(1);
    return;
  }
  nlohmann::ordered_json line;
  line["method"] = std::string(MethodName(call.method));
  line["ms"] = Milliseconds(absl::ToDoubleSeconds(call.took));
  line["queue_ms"] = Milliseconds(absl::ToDoubleSeconds(call.queued));
  for (size_t s = 0; s < kNumStages; ++s) {
    if (call.stages[s] > 0) line[absl::StrCat(kStageNames[s], "_ms")] = Milliseconds(call.stages[s]);
  }
  line["result"] = absl::StatusCodeToString(call.result.code());
  line["request_id"] = std::string(call.request_id);
  line["trace_id"] = std::string(call.trace_id);
  if (with_users_.load() && !call.user.empty()) {
    line["user"] = std::string(call.user);
  } else if (!call.user.empty()) {
    line["user_hash"] =
        absl::StrFormat("%016x", XXH3_64bits_withSeed(call.user.data(), call.user.size(), user_seed_));
  }
  if (const uint64_t dropped = num_slow_dropped_.exchange(0); dropped > 0) line["not_kept_before"] = dropped;
  CallLogger()->warn("slow: {}", line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace swiftlet
