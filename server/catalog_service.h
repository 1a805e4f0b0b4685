// CatalogService: see proto/swiftlet/v1/catalog.proto.
#ifndef SWIFTLET_SERVER_CATALOG_SERVICE_H_
#define SWIFTLET_SERVER_CATALOG_SERVICE_H_

#include "server/service_core.h"
#include "swiftlet/v1/catalog.grpc.pb.h"

namespace swiftlet {

// Thread-safe. Calls block on disk, so they run on workers.
class CatalogService final
    : public v1::CatalogService::WithRawCallbackMethod_UpsertItems<
          v1::CatalogService::WithRawCallbackMethod_DeleteItems<
              v1::CatalogService::WithRawCallbackMethod_GetItems<v1::CatalogService::Service>>> {
 public:
  // `core` must outlive this.
  explicit CatalogService(ServiceCore* core) : core_(core) {}

  grpc::ServerUnaryReactor* UpsertItems(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                        grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* DeleteItems(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                        grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* GetItems(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                     grpc::ByteBuffer* out) override;

 private:
  ServiceCore* const core_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_CATALOG_SERVICE_H_
