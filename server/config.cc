#include "server/config.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/quoted.h"
#include "server/security/listen_rule.h"
#include "server/security/token_file.h"
#include "storage/data_directory.h"

namespace swiftlet {
namespace {

using google::protobuf::TextFormat;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kHourMs = int64_t{3600} * 1000;

// Finds where a field path such as "limits.max_k" or "event_types[2].name" stands in the file: "line:column",
// or nothing for a field that the file does not set.
std::optional<std::string> Locate(const TextFormat::ParseInfoTree& root, const std::string& path) {
  const TextFormat::ParseInfoTree* tree = &root;
  const google::protobuf::Descriptor* message = v1::ServerConfig::descriptor();
  std::istringstream parts(path);
  std::string part;
  TextFormat::ParseLocation location;
  while (tree != nullptr && message != nullptr && std::getline(parts, part, '.')) {
    int index = -1;
    if (const size_t bracket = part.find('['); bracket != std::string::npos) {
      index = std::atoi(part.c_str() + bracket + 1);
      part.resize(bracket);
    }
    const google::protobuf::FieldDescriptor* field = message->FindFieldByName(part);
    if (field == nullptr) break;
    if (field->is_repeated() && index < 0) index = 0;
    const TextFormat::ParseLocation here = tree->GetLocation(field, index);
    if (here.line < 0) break;
    location = here;
    message = field->message_type();
    tree = message == nullptr ? nullptr : tree->GetTreeForNested(field, index);
  }
  if (location.line < 0) return std::nullopt;
  return absl::StrCat(location.line + 1, ":", location.column + 1);
}

// Gathers every error, so that a file is put right in one go.
class Checker {
 public:
  using Locator = std::function<std::string(const std::string& path)>;
  explicit Checker(Locator locate) : locate_(std::move(locate)) {}

  void Error(const std::string& path, const std::string& reason) {
    errors_.push_back(absl::StrCat(locate_(path), path, ": ", reason));
  }
  // 0 means `fallback`.
  template <typename Int>
  Int Number(const std::string& path, Int value, Int fallback, Int min, Int max) {
    if (value == 0) return fallback;
    if (value < min || value > max) {
      Error(path, absl::StrCat(value, " is not in [", min, ", ", max, "]"));
      return fallback;
    }
    return value;
  }
  double Share(const std::string& path, double value) {
    if (value >= 0 && value <= 1) return value;
    Error(path, absl::StrCat(value, " is not in [0, 1]"));
    return 0;
  }
  std::string OneOf(const std::string& path, const std::string& value,
                    const std::vector<std::string>& allowed) {
    if (value.empty()) return allowed.front();
    for (const std::string& a : allowed) {
      if (value == a) return value;
    }
    Error(path, absl::StrCat(Quoted(value), " is not one of ", absl::StrJoin(allowed, ", ")));
    return allowed.front();
  }
  // "host:port" with a port in [0, 65535]; IPv6 hosts in brackets.
  void HostPort(const std::string& path, const std::string& value) {
    const size_t colon = value.rfind(':');
    int port = -1;
    const bool good = colon != std::string::npos && colon > 0 && colon + 1 < value.size() &&
                      value.size() - colon <= 6 && absl::SimpleAtoi(value.substr(colon + 1), &port) &&
                      port >= 0 && port <= 65535 && value.find_first_of(" \t\n") == std::string::npos &&
                      (value.find(':') == colon || (value[0] == '[' && value[colon - 1] == ']'));
    if (!good) {
      Error(path, absl::StrCat(Quoted(value),
                               " is not host:port with a port in [0, 65535] (an IPv6 host in brackets)"));
    }
  }
  // A path that fits into a socket's address; empty: none.
  void SocketPath(const std::string& path, const std::string& value) {
    constexpr size_t kMaxBytes = sizeof(sockaddr_un::sun_path) - 1;
    if (value.size() > kMaxBytes) {
      Error(path,
            absl::StrCat(Quoted(value), " is longer than the ", kMaxBytes, " bytes of a socket's name"));
    }
    if (value.find('\0') != std::string::npos) {
      Error(path, absl::StrCat(Quoted(value), " holds a zero byte"));
    }
  }
  absl::Status status() const {
    return errors_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(errors_, "\n"));
  }

 private:
  const Locator locate_;
  std::vector<std::string> errors_;
};

void ResolveEventTypes(const v1::ServerConfig& config, Checker& check, ServerOptions& options) {
  if (config.event_types().empty()) return;
  std::vector<EventType> types;
  for (int i = 0; i < config.event_types_size(); ++i) {
    const v1::EventTypeConfig& type = config.event_types(i);
    const std::string path = absl::StrCat("event_types[", i, "]");
    if (type.id() < 1 || type.id() > 255) {
      return check.Error(path + ".id", absl::StrCat(type.id(), " is not in [1, 255]"));
    }
    if (!std::isfinite(type.weight()) || type.weight() == 0 || std::abs(type.weight()) > 100) {
      return check.Error(path + ".weight", absl::StrCat(type.weight(), " is not in [-100, 100], without 0"));
    }
    // One at a time, so that the error points to the entry that is wrong.
    types.push_back(
        {.id = static_cast<EventTypeId>(type.id()), .name = type.name(), .weight = type.weight()});
    absl::StatusOr<EventTypeTable> table = EventTypeTable::Create(types);
    if (!table.ok()) return check.Error(path, std::string(table.status().message()));
    options.event_types = *std::move(table);
  }
}

void ResolveAdmission(const v1::LimitsConfig& limits, Checker& check, AdmissionOptions& admission) {
  admission.max_in_flight =
      check.Number("limits.max_concurrent_requests", limits.max_concurrent_requests(), 1024, 1, 1000000);
  QueueLimit::Options& queue = admission.queue;
  queue.max_limit = check.Number("limits.max_queued_calls", limits.max_queued_calls(), 1024, 1, 1000000);
  queue.min_limit = check.Number("limits.min_queued_calls", limits.min_queued_calls(),
                                 static_cast<int32_t>(std::min<int64_t>(64, queue.max_limit)), 1, 1000000);
  if (queue.min_limit > queue.max_limit) {
    check.Error("limits.min_queued_calls",
                absl::StrCat(queue.min_limit, " is more than limits.max_queued_calls, ", queue.max_limit));
  }
  queue.target_wait = absl::Microseconds(
      check.Number("limits.queue_target_us", limits.queue_target_us(), 20000, 100, 10'000'000));
  for (int i = 0; i < limits.methods_size(); ++i) {
    const v1::MethodLimit& limit = limits.methods(i);
    const std::string path = absl::StrCat("limits.methods[", i, "]");
    const std::optional<Method> method = MethodByName(limit.method());
    if (!method.has_value()) {
      check.Error(path + ".method", absl::StrCat(Quoted(limit.method()), " is not a method of the API"));
    } else if (*method == Method::kLoadEvents || *method == Method::kExportUser) {
      check.Error(path + ".method", limit.method() + " is a stream, whose number has a limit of its own");
    } else if (admission.max_in_flight_of[static_cast<size_t>(*method)] != 0) {
      check.Error(path + ".method", limit.method() + " has a limit already");
    } else if (limit.max_concurrent() < 1 || limit.max_concurrent() > 1'000'000) {
      check.Error(path + ".max_concurrent", absl::StrCat(limit.max_concurrent(), " is not in [1, 1000000]"));
    } else {
      admission.max_in_flight_of[static_cast<size_t>(*method)] = limit.max_concurrent();
    }
  }
}

void ResolveUnixSocket(const v1::ServerConfig& config, Checker& check, ServerOptions& options) {
  options.unix_socket = config.unix_socket();
  check.SocketPath("unix_socket", options.unix_socket);
  const std::string& mode = config.unix_socket_mode();
  if (mode.empty()) return;
  char* end = nullptr;
  const unsigned long value = std::strtoul(mode.c_str(), &end, 8);
  if (mode.size() > 4 || mode.find_first_not_of("01234567") != std::string::npos || value > 0777) {
    return check.Error("unix_socket_mode",
                       absl::StrCat(Quoted(mode), " is not an octal number in [0, 0777]"));
  }
  options.unix_socket_mode = static_cast<uint32_t>(value);
}

RateLimit ResolveRateLimit(const v1::RateLimitConfig& config, const std::string& path, Checker& check) {
  RateLimit limit;
  const double rate = config.calls_per_second();
  if (rate == 0) {
    if (config.burst() != 0) check.Error(path + ".burst", "without calls_per_second");
    return limit;
  }
  if (!(rate >= 0.001 && rate <= 1e6)) {
    check.Error(path + ".calls_per_second", absl::StrCat(rate, " is not in [0.001, 1000000]"));
    return limit;
  }
  limit.calls_per_second = rate;
  limit.burst =
      check.Number(path + ".burst", config.burst(), std::max(1, static_cast<int32_t>(rate)), 1, 1'000'000);
  return limit;
}

// What depends on more than one setting, of which flags may still change one.
void CheckTogether(const v1::ServerConfig& config, Checker& check, const ServerOptions& options) {
  const v1::SecurityConfig& security = config.security();
  const SecurityOptions& s = options.security;
  if (s.tls_certificate.empty() != s.tls_private_key.empty()) {
    check.Error(s.tls_certificate.empty() ? "security.tls_private_key" : "security.tls_certificate",
                "tls_certificate and tls_private_key go together");
  }
  if (!s.tls_client_ca.empty() && s.tls_certificate.empty()) {
    check.Error("security.tls_client_ca", "without tls_certificate");
  }
  if (!s.client_rate_limits.empty() && s.token_file.empty()) {
    check.Error("security.client_rate_limits", "without token_file there are no clients by name");
  }
  if (!IsLocalAddress(options.listen_address) && s.tls_certificate.empty() && !security.insecure_listen()) {
    check.Error(
        "listen_address",
        absl::StrCat("other machines reach ", Quoted(options.listen_address),
                     ", and there is no TLS: set security.tls_certificate and tls_private_key (--tls-cert, "
                     "--tls-key), or security.insecure_listen (--insecure-listen) where the network keeps "
                     "others out"));
  }
  if (!options.http.listen_address.empty() && !IsLocalAddress(options.http.listen_address) &&
      s.tls_certificate.empty() && !security.insecure_listen()) {
    check.Error("http.listen_address",
                absl::StrCat("other machines reach ", Quoted(options.http.listen_address),
                             ", and there is no TLS: set security.tls_certificate and tls_private_key, or "
                             "security.insecure_listen (--insecure-listen)"));
  }
  if (!options.metrics_address.empty() && !IsLocalAddress(options.metrics_address) &&
      !security.insecure_metrics()) {
    check.Error("metrics_address",
                absl::StrCat("other machines reach ", Quoted(options.metrics_address),
                             ": set security.insecure_metrics (--insecure-metrics) where the "
                             "network keeps others out"));
  }
}

void ResolveSecurity(const v1::ServerConfig& config, Checker& check, ServerOptions& options) {
  const v1::SecurityConfig& security = config.security();
  SecurityOptions& s = options.security;
  s.tls_certificate = security.tls_certificate();
  s.tls_private_key = security.tls_private_key();
  s.tls_client_ca = security.tls_client_ca();
  s.token_file = security.token_file();
  s.audit_log = security.audit_log();
  s.reload_interval = absl::Milliseconds(
      check.Number("security.reload_interval_ms", security.reload_interval_ms(), 1000, 10, 3600000));
  s.rate_limit = ResolveRateLimit(security.rate_limit(), "security.rate_limit", check);
  for (int i = 0; i < security.client_rate_limits_size(); ++i) {
    const v1::ClientRateLimit& limit = security.client_rate_limits(i);
    const std::string path = absl::StrCat("security.client_rate_limits[", i, "]");
    if (const absl::Status status = CheckTokenName(limit.client()); !status.ok()) {
      check.Error(path + ".client", std::string(status.message()));
    } else if (!s.client_rate_limits
                    .emplace(limit.client(), ResolveRateLimit(limit.limit(), path + ".limit", check))
                    .second) {
      check.Error(path + ".client", limit.client() + " has a limit already");
    }
  }
  const std::string reflection =
      check.OneOf("security.reflection", security.reflection(), {"auto", "on", "off"});
  s.reflection = reflection == "on" || (reflection == "auto" && s.token_file.empty());
}

void ResolveHttp(const v1::HttpConfig& config, Checker& check, HttpOptions& http) {
  if (!config.listen_address().empty() && config.listen_address() != "off") {
    http.listen_address = config.listen_address();
    check.HostPort("http.listen_address", http.listen_address);
  }
  http.num_threads = check.Number("http.num_threads", config.num_threads(), 2, 1, 16);
  http.max_connections = check.Number("http.max_connections", config.max_connections(), 1024, 1, 1'000'000);
  const auto milliseconds = [&](const char* field, int32_t value, int32_t fallback, int32_t min,
                                int32_t max) {
    return absl::Milliseconds(check.Number(field, value, fallback, min, max));
  };
  http.request_timeout =
      milliseconds("http.request_timeout_ms", config.request_timeout_ms(), 20'000, 10, 600'000);
  http.idle_timeout = milliseconds("http.idle_timeout_ms", config.idle_timeout_ms(), 60'000, 10, 86'400'000);
  http.call_timeout = milliseconds("http.call_timeout_ms", config.call_timeout_ms(), 60'000, 1, 3'600'000);
}

void ResolveBackup(const v1::ServerConfig& config, Checker& check, ServerOptions& options) {
  const v1::BackupConfig& backup = config.backup();
  BackupSettings& b = options.backup;
  b.directory = backup.directory();
  b.bytes_per_second = static_cast<uint64_t>(check.Number<int64_t>(
      "backup.bytes_per_second", backup.bytes_per_second(), 32 * kMiB, kMiB, int64_t{1} << 40));
  b.keep = static_cast<uint32_t>(check.Number("backup.keep", backup.keep(), 7, 1, 10'000));
  b.expected_every =
      absl::Hours(check.Number("backup.expected_every_hours", backup.expected_every_hours(), 0, 1, 8760));
  if (b.directory.empty()) {
    if (b.expected_every > absl::ZeroDuration()) {
      check.Error("backup.expected_every_hours", "without backup.directory there are no backups");
    }
    return;
  }
  for (const auto& [name, other] :
       {std::pair{"data_dir", options.data_dir}, {"model_dir", options.model_dir}}) {
    if (IsWithin(b.directory, other)) {
      check.Error("backup.directory", absl::StrCat(Quoted(b.directory), " is in ", name, ", ", Quoted(other),
                                                   ": they must differ"));
    }
  }
}

// complete: flags have been added.
absl::StatusOr<ServerOptions> Resolve(const v1::ServerConfig& config, const Checker::Locator& locate,
                                      bool complete) {
  Checker check(locate);
  ServerOptions options;
  if (!config.listen_address().empty()) options.listen_address = config.listen_address();
  if (options.listen_address.rfind("unix:", 0) == 0) {
    check.SocketPath("listen_address", options.listen_address.substr(5));
    if (options.listen_address.size() == 5) check.Error("listen_address", "unix: without a path");
  } else {
    check.HostPort("listen_address", options.listen_address);
  }
  ResolveUnixSocket(config, check, options);
  if (!config.metrics_address().empty()) options.metrics_address = config.metrics_address();
  if (options.metrics_address == "off") {
    options.metrics_address.clear();
  } else {
    check.HostPort("metrics_address", options.metrics_address);
  }
  if (!config.data_dir().empty()) options.data_dir = config.data_dir();
  if (!config.model_dir().empty()) options.model_dir = config.model_dir();
  if (IsWithin(options.data_dir, options.model_dir) && IsWithin(options.model_dir, options.data_dir)) {
    check.Error("model_dir", absl::StrCat("\"", options.model_dir, "\" is data_dir too: they must differ"));
  }
  ResolveBackup(config, check, options);
  options.port_file = config.port_file();
  ResolveHttp(config.http(), check, options.http);

  options.log.json = check.OneOf("log.format", config.log().format(), {"text", "json"}) == "json";
  options.log.level = config.log().level().empty() ? "info" : config.log().level();
  check.OneOf("log.level", options.log.level, {"debug", "info", "warn", "error"});
  if (config.log().has_slow_request_ms()) {
    options.log.slow_request = absl::Milliseconds(
        check.Number("log.slow_request_ms", config.log().slow_request_ms(), 0, 1, 600'000));
  }
  options.log.slow_request_users = config.log().slow_request_users();

  const v1::LimitsConfig& limits = config.limits();
  RequestLimits& l = options.limits;
  l.max_k = check.Number("limits.max_k", limits.max_k(), 1000, 1, 100000);
  l.max_history_events =
      check.Number("limits.max_history_events", limits.max_history_events(), 200, 1, 10000);
  l.max_batch_size = check.Number("limits.max_batch_size", limits.max_batch_size(), 1000, 1, 100000);
  ResolveAdmission(limits, check, options.admission);
  ResolveSecurity(config, check, options);
  options.max_connections =
      check.Number("limits.max_connections", limits.max_connections(), 10000, 1, 1'000'000);
  options.handshake_timeout = absl::Milliseconds(
      check.Number("limits.handshake_timeout_ms", limits.handshake_timeout_ms(), 20000, 100, 600'000));
  options.max_idle =
      absl::Milliseconds(check.Number("limits.max_idle_ms", limits.max_idle_ms(), 0, 1, 86'400'000));
  options.max_message_bytes = check.Number<int64_t>("limits.max_message_bytes", limits.max_message_bytes(),
                                                    4 * kMiB, 1024, 256 * kMiB);

  const v1::StorageConfig& storage = config.storage();
  constexpr int64_t kMaxCacheBytes = int64_t{1} << 44;
  options.user_cache_bytes = check.Number<int64_t>("storage.user_cache_bytes", storage.user_cache_bytes(),
                                                   256 * kMiB, 1, kMaxCacheBytes);
  options.user_vector_memo_bytes = 16 * kMiB;
  if (storage.has_user_vector_memo_bytes() && storage.user_vector_memo_bytes() == 0) {
    options.user_vector_memo_bytes = 0;
  } else if (storage.has_user_vector_memo_bytes()) {
    options.user_vector_memo_bytes = check.Number<int64_t>(
        "storage.user_vector_memo_bytes", storage.user_vector_memo_bytes(), 0, 1, 1024 * kMiB);
  }
  options.block_cache_bytes = check.Number<int64_t>("storage.block_cache_bytes", storage.block_cache_bytes(),
                                                    64 * kMiB, 1, kMaxCacheBytes);
  options.sync_writes = storage.has_sync_writes() ? storage.sync_writes() : true;
  constexpr int64_t kMaxHours = int64_t{24} * 366 * 100;
  options.event_retention_ms =
      kHourMs * check.Number<int64_t>("storage.event_retention_hours", storage.event_retention_hours(), 0, 1,
                                      kMaxHours);
  options.idempotency_window_ms =
      kHourMs * check.Number<int64_t>("storage.idempotency_window_hours", storage.idempotency_window_hours(),
                                      24, 1, kMaxHours);
  options.num_commit_threads =
      check.Number("storage.num_commit_threads", storage.num_commit_threads(), 16, 1, 256);
  options.max_pending_writes =
      check.Number("storage.max_pending_writes", storage.max_pending_writes(), 1024, 1, 1'000'000);

  options.snapshot_poll_interval = absl::Milliseconds(check.Number<int64_t>(
      "snapshots.poll_interval_ms", config.snapshots().poll_interval_ms(), 500, 10, 3600000));
  options.keep_versions =
      check.Number("snapshots.keep_versions", config.snapshots().keep_versions(), 5, 1, 1000);
  options.huge_pages = config.snapshots().has_huge_pages() ? config.snapshots().huge_pages() : true;
  options.snapshot_read_bytes_per_second = 256 * kMiB;
  if (config.snapshots().has_read_bytes_per_second()) {
    const int64_t rate = config.snapshots().read_bytes_per_second();
    options.snapshot_read_bytes_per_second =
        rate == 0 ? 0
                  : check.Number<int64_t>("snapshots.read_bytes_per_second", rate, 0, kMiB, int64_t{1} << 40);
  }

  const v1::RetrievalConfig& retrieval = config.retrieval();
  options.search.mode =
      check.OneOf("retrieval.mode", retrieval.mode(), {"exact", "approximate"}) == "approximate"
          ? SearchMode::kApproximate
          : SearchMode::kExact;
  options.search.max_rows = static_cast<uint32_t>(
      check.Number("retrieval.budget_rows", retrieval.budget_rows(), 0, 1, 1'000'000'000));
  options.search.max_us =
      static_cast<uint32_t>(check.Number("retrieval.budget_us", retrieval.budget_us(), 0, 1, 60'000'000));
  if (retrieval.has_recall_sample_rate()) {
    options.recall_sample_rate = check.Share("retrieval.recall_sample_rate", retrieval.recall_sample_rate());
  }

  ResolveEventTypes(config, check, options);
  options.num_worker_threads = check.Number("num_worker_threads", config.num_worker_threads(), 4, 1, 256);
  options.num_io_threads = check.Number("num_io_threads", config.num_io_threads(), 0, 1, 16);
  options.drain_timeout = absl::Milliseconds(
      check.Number<int64_t>("drain_timeout_ms", config.drain_timeout_ms(), 10000, 1, kHourMs));
  if (complete) CheckTogether(config, check, options);
  if (absl::Status status = check.status(); !status.ok()) return status;
  return options;
}

class ErrorCollector final : public google::protobuf::io::ErrorCollector {
 public:
  explicit ErrorCollector(std::string file) : file_(std::move(file)) {}
  void AddError(int line, int column, const std::string& message) override {
    errors_.push_back(line < 0 ? absl::StrCat(file_, ": ", message)
                               : absl::StrCat(file_, ":", line + 1, ":", column + 1, ": ", message));
  }
  std::string text() const {
    return errors_.empty() ? file_ + ": not a valid configuration" : absl::StrJoin(errors_, "\n");
  }

 private:
  const std::string file_;
  std::vector<std::string> errors_;
};

}  // namespace

absl::StatusOr<v1::ServerConfig> ParseConfig(const std::string& text, const std::string& file_name) {
  v1::ServerConfig config;
  ErrorCollector collector(file_name);
  TextFormat::ParseInfoTree locations;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&collector);
  parser.WriteLocationsTo(&locations);
  if (!parser.ParseFromString(text, &config)) return absl::InvalidArgumentError(collector.text());
  const auto locate = [&](const std::string& path) {
    const std::optional<std::string> where = Locate(locations, path);
    return where.has_value() ? absl::StrCat(file_name, ":", *where, ": ") : absl::StrCat(file_name, ": ");
  };
  absl::StatusOr<ServerOptions> options = Resolve(config, locate, /*complete=*/false);
  if (!options.ok()) return options.status();
  return config;
}

absl::StatusOr<v1::ServerConfig> ReadConfigFile(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  std::string text;
  bool failed = file == nullptr;
  if (file != nullptr) {
    char buffer[4096];
    while (const size_t n = std::fread(buffer, 1, sizeof(buffer), file)) text.append(buffer, n);
    failed = std::ferror(file) != 0;  // a directory opens, but does not read
  }
  const int error = errno;
  if (file != nullptr) std::fclose(file);
  if (failed) {
    const std::string message = absl::StrCat(path, ": cannot read: ", std::strerror(error));
    return error == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
  }
  return ParseConfig(text, path);
}

absl::StatusOr<ServerOptions> ResolveConfig(const v1::ServerConfig& config) {
  return Resolve(
      config, [](const std::string&) { return std::string(); }, /*complete=*/true);
}

}  // namespace swiftlet
