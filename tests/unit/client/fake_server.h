// A Swiftlet server for tests of the client: real gRPC on a free port, answers made by the test.
#ifndef SWIFTLET_TESTS_UNIT_CLIENT_FAKE_SERVER_H_
#define SWIFTLET_TESTS_UNIT_CLIENT_FAKE_SERVER_H_

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "swiftlet/v1/admin.grpc.pb.h"
#include "swiftlet/v1/catalog.grpc.pb.h"
#include "swiftlet/v1/event.grpc.pb.h"
#include "swiftlet/v1/recommendation.grpc.pb.h"
#include "swiftlet/v1/user.grpc.pb.h"

namespace swiftlet {

// One method: counts and keeps the requests, and answers by `handler` (unset: an empty answer). Set the
// handler before the first call. Thread-safe.
template <typename Request, typename Response>
class FakeMethod {
 public:
  using Handler = std::function<grpc::Status(grpc::ServerContext&, const Request&, Response&)>;
  Handler handler;

  grpc::Status Serve(grpc::ServerContext* context, const Request* request, Response* response) {
    {
      MutexLock lock(mu_);
      requests_.push_back(*request);
    }
    return handler ? handler(*context, *request, *response) : grpc::Status::OK;
  }
  std::vector<Request> requests() {
    MutexLock lock(mu_);
    return requests_;
  }

 private:
  Mutex mu_;
  std::vector<Request> requests_ ABSL_GUARDED_BY(mu_);
};

#define SWIFTLET_FAKE_METHOD(Name)                                                  \
  FakeMethod<v1::Name##Request, v1::Name##Response> Name##Method;                   \
  grpc::Status Name(grpc::ServerContext* context, const v1::Name##Request* request, \
                    v1::Name##Response* response) override {                        \
    return Name##Method.Serve(context, request, response);                          \
  }

class FakeServer {
 public:
  struct Recommendation
      : v1::RecommendationService::Service{SWIFTLET_FAKE_METHOD(Recommend) SWIFTLET_FAKE_METHOD(
            SimilarItems) SWIFTLET_FAKE_METHOD(ScoreItems) SWIFTLET_FAKE_METHOD(Predict)} recommendation;
  struct Event : v1::EventService::Service {
    using Stream = grpc::ServerReaderWriter<v1::LoadEventsProgress, v1::LoadEventsRequest>;
    SWIFTLET_FAKE_METHOD(RecordEvents)
    // Unset: UNIMPLEMENTED, as of a server of old. Set it before the first call.
    std::function<grpc::Status(grpc::ServerContext&, Stream&)> load_events;
    grpc::Status LoadEvents(grpc::ServerContext* context, Stream* stream) override {
      return load_events ? load_events(*context, *stream)
                         : v1::EventService::Service::LoadEvents(context, stream);
    }
  } event;
  struct Catalog : v1::CatalogService::Service{SWIFTLET_FAKE_METHOD(UpsertItems) SWIFTLET_FAKE_METHOD(
                       DeleteItems) SWIFTLET_FAKE_METHOD(GetItems)} catalog;
  struct User : v1::UserService::Service{SWIFTLET_FAKE_METHOD(GetUser) SWIFTLET_FAKE_METHOD(DeleteUser)} user;
  struct Admin
      : v1::AdminService::Service{SWIFTLET_FAKE_METHOD(ListSnapshots) SWIFTLET_FAKE_METHOD(LoadSnapshot)
                                      SWIFTLET_FAKE_METHOD(GetStatus) SWIFTLET_FAKE_METHOD(CreateBackup)
                                          SWIFTLET_FAKE_METHOD(ListBackups) SWIFTLET_FAKE_METHOD(VerifyBackup)
                                              SWIFTLET_FAKE_METHOD(PreviewSnapshot)} admin;

  // The services serve; their health is SERVING.
  FakeServer() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&recommendation);
    builder.RegisterService(&event);
    builder.RegisterService(&catalog);
    builder.RegisterService(&user);
    builder.RegisterService(&admin);
    server_ = builder.BuildAndStart();
    for (const char* service :
         {"", "swiftlet.v1.RecommendationService", "swiftlet.v1.EventService", "swiftlet.v1.CatalogService",
          "swiftlet.v1.UserService", "swiftlet.v1.AdminService"}) {
      SetServing(service, true);
    }
  }
  ~FakeServer() { server_->Shutdown(); }

  void SetServing(const std::string& service, bool serving) {
    server_->GetHealthCheckService()->SetServingStatus(service, serving);
  }
  int port() const { return port_; }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

#undef SWIFTLET_FAKE_METHOD

}  // namespace swiftlet

#endif  // SWIFTLET_TESTS_UNIT_CLIENT_FAKE_SERVER_H_
