// The audit log: who did what an admin may do, and how it ended. One JSON object a line:
//
//   {"time":"2024-05-01T12:00:00.123Z","method":"DeleteUser","client":"ops","certificate":"","peer":"ipv4:10.0.0.7:4711",
//    "what":{"user_id":"u42"},"result":"OK","error":"","request_id":"5f0c...","trace_id":"0af7...","ms":1.7}
//
// client: the name of the token; "" without one. certificate: the common name of the client's certificate.
// what: the request, as far as it was read; {} when the call was refused before.
#ifndef SWIFTLET_SERVER_SECURITY_AUDIT_LOG_H_
#define SWIFTLET_SERVER_SECURITY_AUDIT_LOG_H_

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "server/method.h"
#include "server/security/rate_limit.h"
#include "server/security/roles.h"
#include "spdlog/logger.h"

namespace swiftlet {

// One call. Filled in while it runs.
struct AuditRecord {
  Method method = Method::kGetStatus;
  std::string client, certificate, peer, request_id, trace_id;
  std::vector<std::pair<std::string, std::string>> what;  // fields of the request
};

// Thread-safe.
class AuditLog {
 public:
  // Appends to `path`, made with mode 0600 when missing; when it was moved away or deleted, the next line
  // goes to a new file. "": into the server's log, without calls that only read. UNAVAILABLE when it cannot
  // be written.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(const std::string& path);

  bool Keeps(Method method) const {
    const Audit audit = AuditOf(method);
    return audit == Audit::kChange || (audit == Audit::kRead && !path_.empty());
  }
  // On disk (but not synced) when it returns. Of calls without permission at most some ten a second are kept.
  void Write(const AuditRecord& record, const absl::Status& result, absl::Duration took)
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  explicit AuditLog(std::string path)
      : path_(std::move(path)), denials_({.calls_per_second = 10, .burst = 100}) {}
  absl::Status OpenFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string path_;
  RateBucket denials_;
  std::atomic<uint64_t> num_dropped_{0};  // denials since the last one that was kept
  Mutex mu_;
  std::shared_ptr<spdlog::logger> logger_ ABSL_GUARDED_BY(mu_);
  uint64_t inode_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_AUDIT_LOG_H_
