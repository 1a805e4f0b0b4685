#include "client/load/null_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "swiftlet/v1/recommendation.grpc.pb.h"

namespace swiftlet::load {
namespace {

// As long as a real answer: ids of eight digits, scores, sources, a request id.
std::string MakeAnswer() {
  v1::RecommendResponse response;
  for (int i = 0; i < 10; ++i) {
    v1::ScoredItem& item = *response.add_items();
    item.set_item_id(absl::StrCat(10'000'019 * (i + 1)));
    item.set_score(1.5f / static_cast<float>(i + 1));
    item.set_source(v1::SOURCE_HISTORY);
  }
  response.set_snapshot_version(1);
  response.set_request_id("0123456789abcdef");
  response.set_num_history_events_used(50);
  response.set_proven_exact(true);
  return response.SerializeAsString();
}

class NullService final
    : public v1::RecommendationService::WithRawCallbackMethod_Recommend<v1::RecommendationService::Service> {
 public:
  grpc::ServerUnaryReactor* Recommend(grpc::CallbackServerContext* context, const grpc::ByteBuffer*,
                                      grpc::ByteBuffer* out) override {
    const grpc::Slice bytes(answer_);
    *out = grpc::ByteBuffer(&bytes, 1);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  const std::string answer_ = MakeAnswer();
};

}  // namespace

struct NullServer::Impl {
  NullService service;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

NullServer::NullServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NullServer::~NullServer() {
  impl_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
}
int NullServer::port() const { return impl_->port; }

absl::StatusOr<std::unique_ptr<NullServer>> NullServer::Start(const std::string& listen_address) {
  auto impl = std::make_unique<Impl>();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(listen_address, grpc::InsecureServerCredentials(), &impl->port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(&impl->service);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", listen_address));
  }
  return std::unique_ptr<NullServer>(new NullServer(std::move(impl)));
}

}  // namespace swiftlet::load
