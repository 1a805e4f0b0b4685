// A bounded closed loop of Recommend calls that checks every answer: the smoke check of a snapshot swap.
#ifndef SWIFTLET_CLIENT_CLI_HAMMER_H_
#define SWIFTLET_CLIENT_CLI_HAMMER_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/client.h"

namespace swiftlet::cli {

struct HammerOptions {
  absl::Duration duration = absl::Seconds(10);
  int num_threads = 2;                  // each has one call in flight
  std::vector<std::string> users = {};  // asked in turn; at least one
  int k = 10;
  CallOptions call = {};
  // Stop `linger` after an answer of this version was first seen, or when `duration` is over.
  std::optional<int64_t> until_version = {};
  absl::Duration linger = absl::Seconds(1);
  // A call that starts after an answer of version v came back must not be answered by an older one. true: it
  // may (an operator rolls back meanwhile).
  bool allow_rollback = false;
  // Nobody writes events or items meanwhile: the same user and version must get the same items and scores.
  bool expect_stable = false;
};

struct HammerReport {
  int64_t num_calls = 0;
  int64_t num_failures = 0;
  std::map<std::string, int64_t> failures;      // by reason; at most 20 reasons, "other" holds the rest
  std::map<int64_t, int64_t> calls_by_version;  // of calls that did not fail
  double seconds = 0;
  double p50_ms = 0, p99_ms = 0, max_ms = 0;  // of calls that did not fail; percentiles within 5 %
  bool until_version_seen = false;
};

// Durations in buckets that are 5 % apart, from 1 us to 100 s. Thread-compatible.
class LatencyHistogram {
 public:
  void Add(absl::Duration duration);
  void Merge(const LatencyHistogram& other);
  // The duration that the share `quantile` (0 to 1) of all durations does not exceed, in ms; 0 when empty.
  double Quantile(double quantile) const;
  double max_ms() const { return max_ms_; }

 private:
  static constexpr int kBuckets = 380;
  std::array<int64_t, kBuckets> counts_ = {};
  int64_t total_ = 0;
  double max_ms_ = 0;
};

// What must hold of any answer to a request without a filter: k items, none twice, finite scores, a
// snapshot version, the id of the request.
absl::Status CheckAnswer(const v1::RecommendRequest& request, const v1::RecommendResponse& response);

// Requires users, num_threads >= 1. `client` must outlive the call.
HammerReport RunHammer(Client& client, const HammerOptions& options);

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_HAMMER_H_
