#include "client/client.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/event_id.h"
#include "client/rpc_status.h"
#include "engine/base/status_macros.h"
#include "swiftlet/v1/admin.grpc.pb.h"
#include "swiftlet/v1/catalog.grpc.pb.h"
#include "swiftlet/v1/event.grpc.pb.h"
#include "swiftlet/v1/recommendation.grpc.pb.h"
#include "swiftlet/v1/user.grpc.pb.h"

namespace swiftlet {
namespace {

// A call is buffered for its retries up to this size; gRPC's default of 256 KiB is less than a batch of
// events.
constexpr int kRetryBufferBytes = 16 << 20;

// Far enough for "no deadline", near enough for any clock arithmetic.
constexpr absl::Duration kMaxTimeout = absl::Hours(24 * 365);

std::shared_ptr<grpc::ChannelCredentials> MakeCredentials(const ChannelSecurity& security) {
  if (!security.tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = security.ca;
  options.pem_private_key = security.private_key;
  options.pem_cert_chain = security.certificate;
  return grpc::SslCredentials(options);
}

}  // namespace

std::string_view ServingStatusName(ServingStatus status) {
  switch (status) {
    case ServingStatus::kServing:
      return "SERVING";
    case ServingStatus::kNotServing:
      return "NOT_SERVING";
    case ServingStatus::kServiceUnknown:
      return "SERVICE_UNKNOWN";
    case ServingStatus::kUnknown:
      break;
  }
  return "UNKNOWN";
}

std::string DefaultServiceConfig(int max_attempts) {
  // gRPC asks for at least two attempts in a retryPolicy: no retries is no policy.
  if (max_attempts < 2) return "{}";
  return absl::StrCat(R"({
  "methodConfig": [{
    "name": [
      {"service": "swiftlet.v1.RecommendationService"},
      {"service": "swiftlet.v1.EventService", "method": "RecordEvents"},
      {"service": "swiftlet.v1.CatalogService"},
      {"service": "swiftlet.v1.UserService", "method": "GetUser"},
      {"service": "swiftlet.v1.UserService", "method": "DeleteUser"},
      {"service": "swiftlet.v1.AdminService", "method": "ListSnapshots"},
      {"service": "swiftlet.v1.AdminService", "method": "GetStatus"},
      {"service": "swiftlet.v1.AdminService", "method": "ListBackups"}
    ],
    "retryPolicy": {
      "maxAttempts": )",
                      max_attempts, R"(,
      "initialBackoff": "0.05s",
      "maxBackoff": "1s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    }
  }],
  "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
})");
}

struct Client::Impl {
  Impl(ClientOptions opts, std::shared_ptr<grpc::Channel> ch)
      : options(std::move(opts)),
        authorization(options.security.token.empty() ? "" : absl::StrCat("Bearer ", options.security.token)),
        channel(std::move(ch)),
        recommendation(v1::RecommendationService::NewStub(channel)),
        event(v1::EventService::NewStub(channel)),
        catalog(v1::CatalogService::NewStub(channel)),
        user(v1::UserService::NewStub(channel)),
        admin(v1::AdminService::NewStub(channel)) {}

  absl::Status Prepare(const CallOptions& call, const char* method, grpc::ClientContext& context) const {
    const absl::Duration timeout = call.timeout.value_or(options.default_timeout);
    if (timeout <= absl::ZeroDuration()) {
      return absl::InvalidArgumentError(
          absl::StrCat("timeout: ", absl::FormatDuration(timeout), " is not positive [", method, "]"));
    }
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMicroseconds(std::min(timeout, kMaxTimeout)));
    context.set_wait_for_ready(call.wait_for_ready.value_or(options.wait_for_ready));
    AddToken(context);
    // Other bytes than these gRPC would send as an error of its own.
    for (const auto& [name, value] :
         {std::pair("traceparent", &call.traceparent), {"x-request-id", &call.request_id}}) {
      if (value->empty()) continue;
      const bool printable =
          std::all_of(value->begin(), value->end(), [](char c) { return c > ' ' && c <= '~'; });
      if (value->size() > 128 || !printable) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, ": is not 1 to 128 printable ASCII characters without spaces [", method, "]"));
      }
      context.AddMetadata(name, *value);
    }
    if (call.server_timing) context.AddMetadata("x-server-timing", "1");
    return absl::OkStatus();
  }

  static void ReadInfo(const grpc::ClientContext& context, const CallOptions& call) {
    if (call.info == nullptr) return;
    const auto find = [&](const char* name) {
      const auto it = context.GetServerTrailingMetadata().find(name);
      return it == context.GetServerTrailingMetadata().end()
                 ? std::string()
                 : std::string(it->second.data(), it->second.size());
    };
    *call.info = {.request_id = find("x-request-id"), .server_timing = find("server-timing")};
  }

  // As metadata of each call: gRPC's own credentials of calls need TLS, and a Unix domain socket has none.
  void AddToken(grpc::ClientContext& context) const {
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  }

  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
                                const char* method, const Request& request, const CallOptions& call) const {
    grpc::ClientContext context;
    if (absl::Status status = Prepare(call, method, context); !status.ok()) return status;
    Response response;
    const grpc::Status status = (stub.*rpc)(&context, request, &response);
    ReadInfo(context, call);
    if (!status.ok()) return FromGrpcStatus(status, method, options.address);
    return response;
  }

  // Constant after construction.
  const ClientOptions options;
  const std::string authorization;  // empty: without a token
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::RecommendationService::Stub> recommendation;
  const std::unique_ptr<v1::EventService::Stub> event;
  const std::unique_ptr<v1::CatalogService::Stub> catalog;
  const std::unique_ptr<v1::UserService::Stub> user;
  const std::unique_ptr<v1::AdminService::Stub> admin;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

const ClientOptions& Client::options() const { return impl_->options; }

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(ClientOptions options) {
  if (options.address.empty()) return absl::InvalidArgumentError("address: empty; expected host:port");
  // gRPC would take it modulo 65536.
  int64_t port = 0;
  if (const size_t colon = options.address.rfind(':');
      colon != std::string::npos && absl::SimpleAtoi(options.address.substr(colon + 1), &port) &&
      (port < 0 || port > 65535) && !absl::StartsWith(options.address, "unix:")) {
    return absl::InvalidArgumentError(
        absl::StrCat("address: ", options.address, " has no port from 0 to 65535"));
  }
  if (options.default_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("default_timeout: ", absl::FormatDuration(options.default_timeout), " is not positive"));
  }
  if (options.max_attempts < 1 || options.max_attempts > 5) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_attempts: ", options.max_attempts, " is not in [1, 5]"));
  }
  if (absl::Status status = CheckChannelSecurity(options.security); !status.ok()) return status;
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(options.service_config_json.empty()
                                     ? DefaultServiceConfig(options.max_attempts)
                                     : options.service_config_json);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 1);
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, kRetryBufferBytes);
  arguments.SetMaxReceiveMessageSize(options.max_receive_bytes);
  // A connection of its own for each client, made again within the time that a call's retries take.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // What gRPC gives a connection to come about, handshake of TLS included, in spite of its name.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  if (!options.user_agent.empty()) arguments.SetUserAgentPrefix(options.user_agent);
  if (!options.security.server_name.empty()) arguments.SetSslTargetNameOverride(options.security.server_name);
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(options.address, MakeCredentials(options.security), arguments);
  // gRPC hands out a channel that can never work when it refuses the target or the service config.
  if (channel->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_IDLE) {
    return absl::InvalidArgumentError(
        absl::StrCat("gRPC refuses the address \"", options.address, "\" or the service config"));
  }
  return std::unique_ptr<Client>(new Client(std::make_unique<Impl>(std::move(options), std::move(channel))));
}

absl::StatusOr<v1::RecommendResponse> Client::Recommend(const v1::RecommendRequest& request,
                                                        const CallOptions& call) {
  return impl_->Call(*impl_->recommendation, &v1::RecommendationService::Stub::Recommend, "Recommend",
                     request, call);
}

absl::StatusOr<v1::SimilarItemsResponse> Client::SimilarItems(const v1::SimilarItemsRequest& request,
                                                              const CallOptions& call) {
  return impl_->Call(*impl_->recommendation, &v1::RecommendationService::Stub::SimilarItems, "SimilarItems",
                     request, call);
}

absl::StatusOr<v1::ScoreItemsResponse> Client::ScoreItems(const v1::ScoreItemsRequest& request,
                                                          const CallOptions& call) {
  return impl_->Call(*impl_->recommendation, &v1::RecommendationService::Stub::ScoreItems, "ScoreItems",
                     request, call);
}

absl::StatusOr<v1::PredictResponse> Client::Predict(const v1::PredictRequest& request,
                                                    const CallOptions& call) {
  return impl_->Call(*impl_->recommendation, &v1::RecommendationService::Stub::Predict, "Predict", request,
                     call);
}

absl::StatusOr<v1::RecordEventsResponse> Client::RecordEvents(v1::RecordEventsRequest request,
                                                              const CallOptions& call) {
  for (v1::Event& event : *request.mutable_events()) {
    if (event.event_id().empty()) event.set_event_id(RandomEventId());
  }
  return impl_->Call(*impl_->event, &v1::EventService::Stub::RecordEvents, "RecordEvents", request, call);
}

absl::StatusOr<std::unique_ptr<EventLoad>> Client::LoadEvents(const EventLoadOptions& options) {
  if (options.max_batches < 1) return absl::InvalidArgumentError("max_batches: 0 is less than 1");
  if (options.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("timeout: ", absl::FormatDuration(options.timeout), " is not positive"));
  }
  const auto record = [this, timeout = options.timeout](const v1::RecordEventsRequest& request,
                                                        v1::RecordEventsResponse* response) -> absl::Status {
    SWIFTLET_ASSIGN_OR_RETURN(*response, RecordEvents(request, {.timeout = timeout}));
    return absl::OkStatus();
  };
  const auto open = [this](grpc::ClientContext* context,
                           grpc::ClientBidiReactor<v1::LoadEventsRequest, v1::LoadEventsProgress>* reactor) {
    context->set_wait_for_ready(impl_->options.wait_for_ready);
    impl_->AddToken(*context);
    impl_->event->async()->LoadEvents(context, reactor);
  };
  return std::make_unique<EventLoad>(impl_->options.address, open, record, options);
}

absl::StatusOr<v1::UpsertItemsResponse> Client::UpsertItems(const v1::UpsertItemsRequest& request,
                                                            const CallOptions& call) {
  return impl_->Call(*impl_->catalog, &v1::CatalogService::Stub::UpsertItems, "UpsertItems", request, call);
}

absl::StatusOr<v1::DeleteItemsResponse> Client::DeleteItems(const v1::DeleteItemsRequest& request,
                                                            const CallOptions& call) {
  return impl_->Call(*impl_->catalog, &v1::CatalogService::Stub::DeleteItems, "DeleteItems", request, call);
}

absl::StatusOr<v1::GetItemsResponse> Client::GetItems(const v1::GetItemsRequest& request,
                                                      const CallOptions& call) {
  return impl_->Call(*impl_->catalog, &v1::CatalogService::Stub::GetItems, "GetItems", request, call);
}

absl::StatusOr<v1::GetUserResponse> Client::GetUser(const v1::GetUserRequest& request,
                                                    const CallOptions& call) {
  return impl_->Call(*impl_->user, &v1::UserService::Stub::GetUser, "GetUser", request, call);
}

absl::StatusOr<v1::DeleteUserResponse> Client::DeleteUser(const v1::DeleteUserRequest& request,
                                                          const CallOptions& call) {
  return impl_->Call(*impl_->user, &v1::UserService::Stub::DeleteUser, "DeleteUser", request, call);
}

absl::Status Client::ExportUser(const v1::ExportUserRequest& request,
                                const std::function<absl::Status(const v1::ExportUserResponse&)>& on_part,
                                const CallOptions& call) {
  grpc::ClientContext context;
  if (absl::Status status = impl_->Prepare(call, "ExportUser", context); !status.ok()) return status;
  const auto reader = impl_->user->ExportUser(&context, request);
  absl::Status refused;
  v1::ExportUserResponse part;
  while (refused.ok() && reader->Read(&part)) refused = on_part(part);
  if (!refused.ok()) context.TryCancel();
  const grpc::Status status = reader->Finish();
  if (!refused.ok()) return refused;
  return status.ok() ? absl::OkStatus() : FromGrpcStatus(status, "ExportUser", impl_->options.address);
}

absl::StatusOr<v1::ListSnapshotsResponse> Client::ListSnapshots(const CallOptions& call) {
  return impl_->Call(*impl_->admin, &v1::AdminService::Stub::ListSnapshots, "ListSnapshots",
                     v1::ListSnapshotsRequest(), call);
}

absl::StatusOr<v1::LoadSnapshotResponse> Client::LoadSnapshot(const v1::LoadSnapshotRequest& request,
                                                              const CallOptions& call) {
  return impl_->Call(*impl_->admin, &v1::AdminService::Stub::LoadSnapshot, "LoadSnapshot", request, call);
}

absl::StatusOr<v1::PreviewSnapshotResponse> Client::PreviewSnapshot(const v1::PreviewSnapshotRequest& request,
                                                                    const CallOptions& call) {
  return impl_->Call(*impl_->admin, &v1::AdminService::Stub::PreviewSnapshot, "PreviewSnapshot", request,
                     call);
}

absl::StatusOr<v1::GetStatusResponse> Client::GetStatus(const CallOptions& call) {
  return impl_->Call(*impl_->admin, &v1::AdminService::Stub::GetStatus, "GetStatus", v1::GetStatusRequest(),
                     call);
}

absl::StatusOr<v1::CreateBackupResponse> Client::CreateBackup(const CallOptions& call) {
  return impl_->Call(*impl_->admin, &v1::AdminService::Stub::CreateBackup, "CreateBackup",
                     v1::CreateBackupRequest(), call);
}

absl::StatusOr<v1::ListBackupsResponse> Client::ListBackups(const CallOptions& call) {
  return impl_->Call(*impl_->admin, &v1::AdminService::Stub::ListBackups, "ListBackups",
                     v1::ListBackupsRequest(), call);
}

absl::StatusOr<v1::VerifyBackupResponse> Client::VerifyBackup(const v1::VerifyBackupRequest& request,
                                                              const CallOptions& call) {
  return impl_->Call(*impl_->admin, &v1::AdminService::Stub::VerifyBackup, "VerifyBackup", request, call);
}

absl::StatusOr<ServingStatus> Client::CheckHealth(std::string_view service, const CallOptions& call) {
  // grpc.health.v1 has no generated code in the packages that we build on. Its two messages are, on the wire,
  // exactly google.protobuf.StringValue {string value = 1} and Int32Value {int32 value = 1}.
  google::protobuf::StringValue request;
  request.set_value(std::string(service));
  google::protobuf::Int32Value response;
  grpc::ClientContext context;
  if (absl::Status status = impl_->Prepare(call, "Check", context); !status.ok()) return status;
  const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check", nullptr,
                                         grpc::internal::RpcMethod::NORMAL_RPC);
  const grpc::Status status =
      grpc::internal::BlockingUnaryCall<google::protobuf::MessageLite, google::protobuf::MessageLite>(
          impl_->channel.get(), method, &context, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return ServingStatus::kServiceUnknown;
  if (!status.ok()) return FromGrpcStatus(status, "Health.Check", impl_->options.address);
  switch (response.value()) {
    case 1:
      return ServingStatus::kServing;
    case 2:
      return ServingStatus::kNotServing;
    case 3:
      return ServingStatus::kServiceUnknown;
    default:
      return ServingStatus::kUnknown;
  }
}

}  // namespace swiftlet
