// UserService: see proto/swiftlet/v1/user.proto.
#ifndef SWIFTLET_SERVER_USER_SERVICE_H_
#define SWIFTLET_SERVER_USER_SERVICE_H_

#include <cstddef>
#include <map>
#include <memory>

#include "engine/base/mutex.h"
#include "server/export_user_stream.h"
#include "server/service_core.h"
#include "swiftlet/v1/user.grpc.pb.h"

namespace swiftlet {

// Thread-safe. Calls block on disk, so they run on readers and workers.
class UserService final
    : public v1::UserService::WithRawCallbackMethod_GetUser<v1::UserService::WithRawCallbackMethod_DeleteUser<
          v1::UserService::WithRawCallbackMethod_ExportUser<v1::UserService::Service>>> {
 public:
  // `core` must outlive this.
  explicit UserService(ServiceCore* core) : core_(core) {}

  grpc::ServerUnaryReactor* GetUser(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                    grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* DeleteUser(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                       grpc::ByteBuffer* out) override;

  grpc::ServerWriteReactor<grpc::ByteBuffer>* ExportUser(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* in) override;

  // Ends the exports that are running. Before the server shuts down.
  void StopExports() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  static constexpr size_t kMaxExports = 4;

  ServiceCore* const core_;
  Mutex mu_;
  std::map<ExportUserStream*, std::shared_ptr<ExportUserStream>> exports_ ABSL_GUARDED_BY(mu_);
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_USER_SERVICE_H_
