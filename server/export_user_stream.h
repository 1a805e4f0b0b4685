// One ExportUser call: see proto/swiftlet/v1/user.proto.
#ifndef SWIFTLET_SERVER_EXPORT_USER_STREAM_H_
#define SWIFTLET_SERVER_EXPORT_USER_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/mutex.h"
#include "server/service_core.h"
#include "swiftlet/v1/user.pb.h"

namespace swiftlet {

// Makes a part when the one before has been sent, on the thread for exports: a caller who does not read holds
// nobody up, and a long event log no other export. Thread-safe. Keeps itself alive from Start to the end of
// the call.
class ExportUserStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                               public std::enable_shared_from_this<ExportUserStream> {
 public:
  // on_done: called once, when gRPC is done with the call. record: of the audit log; may be null. `core` must
  // outlive the call.
  ExportUserStream(ServiceCore* core, std::shared_ptr<AuditRecord> record,
                   std::function<void(ExportUserStream*)> on_done);

  // Once, after construction. An error ends the call with it.
  void Start(const absl::Status& admitted, const std::string& user_id);
  // Ends the call with this error after the part that is being made.
  void Stop(const absl::Status& error) ABSL_LOCKS_EXCLUDED(mu_);

  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnCancel() override { Stop(absl::CancelledError("the caller cancelled")); }
  void OnDone() override;

 private:
  using Clock = std::chrono::steady_clock;

  // The next part, which is never empty; sets is_last_ with the last one. Blocks on disk.
  absl::StatusOr<v1::ExportUserResponse> MakePart();
  absl::Status AddHistory(v1::ExportUserResponse* part);
  absl::Status AddVectors(v1::ExportUserResponse* part);
  void Schedule() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Work() ABSL_LOCKS_EXCLUDED(mu_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  ServiceCore* const core_;
  const std::shared_ptr<AuditRecord> record_;
  const std::function<void(ExportUserStream*)> on_done_;
  const Clock::time_point start_ = Clock::now();
  std::shared_ptr<ExportUserStream> self_;  // from Start to OnDone

  // Of one piece of work after the other.
  std::string user_id_;
  bool began_ = false;
  bool is_last_ = false;
  std::optional<uint64_t> next_arrival_ = 0;
  v1::ExportSummary summary_;

  Mutex mu_;
  grpc::ByteBuffer out_;  // of the write in progress
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  bool busy_ ABSL_GUARDED_BY(mu_) = false;  // a part is being made or sent
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_EXPORT_USER_STREAM_H_
