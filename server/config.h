// The server's configuration: a protobuf text file, resolved to plain values with every default filled in.
//
//   SWIFTLET_ASSIGN_OR_RETURN(v1::ServerConfig config, ReadConfigFile("swiftlet.textproto"));
//   config.set_listen_address("127.0.0.1:0");                       // a flag overrides the file
//   SWIFTLET_ASSIGN_OR_RETURN(ServerOptions options, ResolveConfig(config));
#ifndef SWIFTLET_SERVER_CONFIG_H_
#define SWIFTLET_SERVER_CONFIG_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/event_types.h"
#include "engine/recommender.h"
#include "server/method.h"
#include "server/queue_limit.h"
#include "server/security/rate_limit.h"
#include "swiftlet/v1/config.pb.h"

namespace swiftlet {

struct LogOptions {
  bool json = false;
  std::string level = "info";
  absl::Duration slow_request = absl::Milliseconds(500);  // zero: none is logged
  bool slow_request_users = false;
};

// Limits of what one request may ask for.
struct RequestLimits {
  int32_t max_k = 1000;
  int32_t max_history_events = 200;
  int32_t max_batch_size = 1000;
};

// What is let in.
struct AdmissionOptions {
  int64_t max_in_flight = 1024;                            // of all methods together
  std::array<int64_t, kNumMethods> max_in_flight_of = {};  // of one method; 0: no limit of its own
  QueueLimit::Options queue;
};

// What proto/swiftlet/v1/config.proto says of it. Paths are empty where there is none.
struct SecurityOptions {
  std::string tls_certificate, tls_private_key, tls_client_ca;
  std::string token_file;
  std::string audit_log;
  absl::Duration reload_interval = absl::Seconds(1);
  RateLimit rate_limit;
  std::map<std::string, RateLimit, std::less<>> client_rate_limits;
  bool reflection = true;
};

// Of HTTP/JSON.
struct HttpOptions {
  std::string listen_address;  // empty: off
  int num_threads = 2;
  int64_t max_connections = 1024;
  absl::Duration request_timeout = absl::Seconds(20);
  absl::Duration idle_timeout = absl::Seconds(60);
  absl::Duration call_timeout = absl::Seconds(60);
};

struct BackupSettings {
  std::string directory;  // empty: none are made
  uint64_t bytes_per_second = uint64_t{32} << 20;
  uint32_t keep = 7;
  absl::Duration expected_every = absl::ZeroDuration();  // zero: nobody waits for one
};

// What proto/swiftlet/v1/config.proto says, checked and complete.
struct ServerOptions {
  std::string listen_address = "127.0.0.1:50051";
  std::string unix_socket;  // empty: none
  uint32_t unix_socket_mode = 0660;
  std::string metrics_address = "127.0.0.1:9464";  // empty: off
  std::string data_dir = "data";
  std::string model_dir = "models";
  std::string port_file;  // empty: none
  HttpOptions http;
  LogOptions log;
  RequestLimits limits;
  AdmissionOptions admission;
  SecurityOptions security;
  BackupSettings backup;
  int32_t max_connections = 10000;
  absl::Duration handshake_timeout = absl::Seconds(20);
  absl::Duration max_idle = absl::ZeroDuration();  // zero: no limit
  int64_t max_message_bytes = int64_t{4} << 20;
  int64_t user_cache_bytes = int64_t{256} << 20;
  int64_t user_vector_memo_bytes = int64_t{16} << 20;  // of a thread; 0: off
  int num_commit_threads = 16;
  int64_t max_pending_writes = 1024;
  int64_t block_cache_bytes = int64_t{64} << 20;
  bool sync_writes = true;
  int64_t event_retention_ms = 0;
  int64_t idempotency_window_ms = int64_t{24} * 3600 * 1000;
  absl::Duration snapshot_poll_interval = absl::Milliseconds(500);
  int32_t keep_versions = 5;
  bool huge_pages = true;
  int64_t snapshot_read_bytes_per_second = int64_t{256} << 20;  // 0: no limit
  SearchOptions search;
  double recall_sample_rate = 0.001;
  int32_t num_worker_threads = 4;
  int32_t num_io_threads = 0;  // 0: as many as there are CPUs
  absl::Duration drain_timeout = absl::Milliseconds(10000);
  EventTypeTable event_types = EventTypeTable::Default();
};

// INVALID_ARGUMENT, one line for each error: "file:line:column: reason". Values out of range are refused too;
// what depends on several settings is left to ResolveConfig, since flags may change one of them.
absl::StatusOr<v1::ServerConfig> ParseConfig(const std::string& text, const std::string& file_name);
// NOT_FOUND or UNAVAILABLE when the file cannot be read; otherwise as ParseConfig.
absl::StatusOr<v1::ServerConfig> ReadConfigFile(const std::string& path);

// Fills defaults and checks every value. INVALID_ARGUMENT, one line for each error: "field: value is not
// ...".
absl::StatusOr<ServerOptions> ResolveConfig(const v1::ServerConfig& config);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_CONFIG_H_
