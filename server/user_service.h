// UserService: see proto/swiftlet/v1/user.proto.
#ifndef SWIFTLET_SERVER_USER_SERVICE_H_
#define SWIFTLET_SERVER_USER_SERVICE_H_

#include "server/service_core.h"
#include "swiftlet/v1/user.grpc.pb.h"

namespace swiftlet {

// Thread-safe. Calls block on disk, so they run on readers and workers.
class UserService final : public v1::UserService::WithRawCallbackMethod_GetUser<
                              v1::UserService::WithRawCallbackMethod_DeleteUser<v1::UserService::Service>> {
 public:
  // `core` must outlive this.
  explicit UserService(ServiceCore* core) : core_(core) {}

  grpc::ServerUnaryReactor* GetUser(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                    grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* DeleteUser(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                       grpc::ByteBuffer* out) override;

 private:
  ServiceCore* const core_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_USER_SERVICE_H_
