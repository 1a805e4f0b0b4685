// The C++ client of a Swiftlet server.
//
//   SWIFTLET_ASSIGN_OR_RETURN(std::unique_ptr<swiftlet::Client> client,
//                             swiftlet::Client::Connect({.address = "127.0.0.1:50051"}));
//   swiftlet::v1::RecommendRequest request;
//   request.set_user_id("u42");
//   request.set_k(10);
//   absl::StatusOr<swiftlet::v1::RecommendResponse> answer =
//       client->Recommend(request, {.timeout = absl::Milliseconds(50)});
//   if (!answer.ok()) return answer.status();  // "k: 0 is not in [1, 1000] [Recommend at 127.0.0.1:50051]"
//   for (const swiftlet::v1::ScoredItem& item : answer->items()) Show(item.item_id(), item.score());
//
// Every call has a deadline, which includes its retries. Calls that are idempotent are retried by the channel
// when the server is unavailable or at its limit, as its gRPC service config says (see DefaultServiceConfig);
// LoadSnapshot, PreviewSnapshot, CreateBackup, VerifyBackup and ExportUser never are, and LoadEvents goes on
// by itself (EventLoad). RecordEvents gives an id to every event that has none before the first attempt, so
// that a retry never counts an event twice.
//
// An error keeps the server's code and message; the method and the address are appended in brackets
// (ServerMessage in client/rpc_status.h takes them off again).
#ifndef SWIFTLET_CLIENT_CLIENT_H_
#define SWIFTLET_CLIENT_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/channel_security.h"
#include "client/event_load.h"
#include "swiftlet/v1/admin.pb.h"
#include "swiftlet/v1/catalog.pb.h"
#include "swiftlet/v1/event.pb.h"
#include "swiftlet/v1/recommendation.pb.h"
#include "swiftlet/v1/user.pb.h"

namespace swiftlet {

struct ClientOptions {
  // "host:port", or any gRPC target ("unix:/run/swiftlet.sock", "dns:///swiftlet.internal:50051").
  std::string address = "127.0.0.1:50051";
  // Deadline of a call that gives none of its own, retries included. Must be positive.
  absl::Duration default_timeout = absl::Seconds(5);
  // Sent before gRPC's own user agent, such as "shop-frontend/2.1". May be empty.
  std::string user_agent = {};
  // true: a call waits (up to its deadline) for a server that cannot be reached. false: it fails with
  // UNAVAILABLE once the retries are used up.
  bool wait_for_ready = false;
  // Attempts of an idempotent call, the first one included: 1 (no retries) to 5 (gRPC's own limit).
  int max_attempts = 4;
  // Replaces DefaultServiceConfig(max_attempts) when not empty: a gRPC service config in JSON.
  std::string service_config_json = {};
  // Largest answer accepted.
  int max_receive_bytes = 64 << 20;
  // TLS and the token; see ReadChannelSecurity and ChannelSecurityFromEnvironment.
  ChannelSecurity security = {};
};

// What the server says of a call at its end.
struct CallInfo {
  std::string request_id;  // what its log calls it; empty unless it was asked or the call failed
  std::string
      server_timing;  // "queue;dur=0.013, ..., total;dur=0.133", in milliseconds, when it was asked for
};

// Overrides of one call.
struct CallOptions {
  // Unset: the client's default_timeout. Must be positive.
  std::optional<absl::Duration> timeout = {};
  // Unset: the client's wait_for_ready.
  std::optional<bool> wait_for_ready = {};
  // What this call is a part of: the header "traceparent" of W3C Trace Context, and what the server's log
  // calls it, 1 to 128 printable ASCII characters without spaces (empty: the server makes one). Not of
  // streams.
  std::string traceparent = {};
  std::string request_id = {};
  // Ask for CallInfo::server_timing.
  bool server_timing = false;
  CallInfo* info = nullptr;  // filled when the call ends, also by an error, where there was an answer
};

// What grpc.health.v1 says of a service.
enum class ServingStatus { kUnknown, kServing, kNotServing, kServiceUnknown };
// "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN" or "UNKNOWN".
std::string_view ServingStatusName(ServingStatus status);

// The gRPC service config of a client: `max_attempts` attempts (1 to 5) on UNAVAILABLE and
// RESOURCE_EXHAUSTED, with a random pause of up to 50 ms before the second, doubling up to 1 s, for every
// method but AdminService.LoadSnapshot, PreviewSnapshot, CreateBackup and VerifyBackup,
// UserService.ExportUser and EventService.LoadEvents; a client whose calls mostly fail stops retrying until
// calls succeed again (retryThrottling).
std::string DefaultServiceConfig(int max_attempts);

// Thread-safe. One connection, which is made by the first call and made again when it breaks; share one
// client between threads. Calls block.
class Client {
 public:
  // Does not wait for the server. INVALID_ARGUMENT for an empty address, a timeout that is not positive,
  // attempts outside [1, 5], security that makes no sense, or a service config that gRPC refuses.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(ClientOptions options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // RecommendationService.
  absl::StatusOr<v1::RecommendResponse> Recommend(const v1::RecommendRequest& request,
                                                  const CallOptions& call = {});
  absl::StatusOr<v1::SimilarItemsResponse> SimilarItems(const v1::SimilarItemsRequest& request,
                                                        const CallOptions& call = {});
  absl::StatusOr<v1::ScoreItemsResponse> ScoreItems(const v1::ScoreItemsRequest& request,
                                                    const CallOptions& call = {});
  absl::StatusOr<v1::PredictResponse> Predict(const v1::PredictRequest& request,
                                              const CallOptions& call = {});

  // EventService. Fills the event_id of events that have none with 128 random bits in hex. To repeat a failed
  // call later without counting twice, set ids of your own.
  absl::StatusOr<v1::RecordEventsResponse> RecordEvents(v1::RecordEventsRequest request,
                                                        const CallOptions& call = {});
  // Loads many events; see EventLoad. This client must outlive the load. INVALID_ARGUMENT for options out of
  // range.
  absl::StatusOr<std::unique_ptr<EventLoad>> LoadEvents(const EventLoadOptions& options = {});

  // CatalogService.
  absl::StatusOr<v1::UpsertItemsResponse> UpsertItems(const v1::UpsertItemsRequest& request,
                                                      const CallOptions& call = {});
  absl::StatusOr<v1::DeleteItemsResponse> DeleteItems(const v1::DeleteItemsRequest& request,
                                                      const CallOptions& call = {});
  absl::StatusOr<v1::GetItemsResponse> GetItems(const v1::GetItemsRequest& request,
                                                const CallOptions& call = {});

  // UserService.
  absl::StatusOr<v1::GetUserResponse> GetUser(const v1::GetUserRequest& request,
                                              const CallOptions& call = {});
  absl::StatusOr<v1::DeleteUserResponse> DeleteUser(const v1::DeleteUserRequest& request,
                                                    const CallOptions& call = {});
  // Everything that the server stores about a user, part by part; on_part's error ends the call and is
  // returned. It takes as long as reading the event log does: give it a timeout. Not retried.
  absl::Status ExportUser(const v1::ExportUserRequest& request,
                          const std::function<absl::Status(const v1::ExportUserResponse&)>& on_part,
                          const CallOptions& call = {});

  // AdminService. Loading a snapshot can take longer than the default timeout: give it a minute. When the
  // deadline passes, the server goes on loading.
  absl::StatusOr<v1::ListSnapshotsResponse> ListSnapshots(const CallOptions& call = {});
  absl::StatusOr<v1::LoadSnapshotResponse> LoadSnapshot(const v1::LoadSnapshotRequest& request,
                                                        const CallOptions& call = {});
  // What a version would recommend, before it serves; the first call for a version loads it: give it a
  // minute. When the deadline passes, the server stops.
  absl::StatusOr<v1::PreviewSnapshotResponse> PreviewSnapshot(const v1::PreviewSnapshotRequest& request,
                                                              const CallOptions& call = {});
  absl::StatusOr<v1::GetStatusResponse> GetStatus(const CallOptions& call = {});
  // Creating and verifying a backup takes as long as reading everything: give it a timeout of hours. When the
  // deadline passes, the server stops.
  absl::StatusOr<v1::CreateBackupResponse> CreateBackup(const CallOptions& call = {});
  absl::StatusOr<v1::ListBackupsResponse> ListBackups(const CallOptions& call = {});
  absl::StatusOr<v1::VerifyBackupResponse> VerifyBackup(const v1::VerifyBackupRequest& request,
                                                        const CallOptions& call = {});

  // grpc.health.v1.Health.Check of a service such as "swiftlet.v1.RecommendationService"; "" is the whole
  // server. A service that the server does not know is kServiceUnknown, not an error.
  absl::StatusOr<ServingStatus> CheckHealth(std::string_view service, const CallOptions& call = {});

  const ClientOptions& options() const;

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_CLIENT_CLIENT_H_
