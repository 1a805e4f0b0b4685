// AdminService: see proto/swiftlet/v1/admin.proto.
#ifndef SWIFTLET_SERVER_ADMIN_SERVICE_H_
#define SWIFTLET_SERVER_ADMIN_SERVICE_H_

#include "server/service_core.h"
#include "swiftlet/v1/admin.grpc.pb.h"

namespace swiftlet {

// Thread-safe. Calls block on disk, so they run on workers; LoadSnapshot, PreviewSnapshot, CreateBackup and
// VerifyBackup wait for threads of their own without holding one.
class AdminService final : public v1::AdminService::WithRawCallbackMethod_ListSnapshots<
                               v1::AdminService::WithRawCallbackMethod_LoadSnapshot<
                                   v1::AdminService::WithRawCallbackMethod_GetStatus<
                                       v1::AdminService::WithRawCallbackMethod_CreateBackup<
                                           v1::AdminService::WithRawCallbackMethod_ListBackups<
                                               v1::AdminService::WithRawCallbackMethod_VerifyBackup<
                                                   v1::AdminService::WithRawCallbackMethod_PreviewSnapshot<
                                                       v1::AdminService::Service>>>>>>> {
 public:
  // `core` must outlive this.
  explicit AdminService(ServiceCore* core) : core_(core) {}

  grpc::ServerUnaryReactor* ListSnapshots(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                          grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* LoadSnapshot(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                      grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* CreateBackup(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* ListBackups(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                        grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* VerifyBackup(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* PreviewSnapshot(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                            grpc::ByteBuffer* out) override;

 private:
  ServiceCore* const core_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_ADMIN_SERVICE_H_
