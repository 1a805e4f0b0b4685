#include "server/server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/mutex.h"
#include "engine/base/status_macros.h"
#include "engine/base/thread_pool.h"
#include "engine/kernels/cpu_target.h"
#include "server/admin_service.h"
#include "server/catalog_service.h"
#include "server/event_service.h"
#include "server/http/http_server.h"
#include "server/http/metrics_page.h"
#include "server/listen_check.h"
#include "server/metrics.h"
#include "server/reaper.h"
#include "server/recall_sampler.h"
#include "server/recommendation_service.h"
#include "server/reload.h"
#include "server/security/accept_limit.h"
#include "server/security/server_security.h"
#include "server/service_core.h"
#include "server/unix_socket.h"
#include "server/upkeep.h"
#include "server/user_service.h"
#include "server/version.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

// Of a swap, for the users in the cache. The others' vectors are read when they are asked for.
constexpr absl::Duration kReadAheadLimit = absl::Milliseconds(300);
constexpr char kRecommendationServiceName[] = "swiftlet.v1.RecommendationService";

int64_t WallClockMs() { return absl::ToUnixMillis(absl::Now()); }

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// Linking the library of reflection turns it on for every server of the process.
class NoReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

// Complete or not there at all: written beside, then renamed.
absl::Status WritePortFile(const std::string& path, int grpc_port, int metrics_port,
                           std::optional<int> http_port) {
  const std::string temporary = absl::StrCat(path, ".tmp.", getpid());
  std::string text = absl::StrCat(grpc_port, " ", metrics_port);
  if (http_port.has_value()) absl::StrAppend(&text, " ", *http_port);
  text += "\n";
  std::FILE* file = std::fopen(temporary.c_str(), "w");
  bool ok = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file != nullptr && std::fclose(file) != 0) ok = false;
  if (ok && std::rename(temporary.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("port_file: cannot write ", path, ": ", std::strerror(errno)));
}

}  // namespace

// Members are destroyed in reverse order: what others point to comes first.
struct Server::Impl {
  explicit Impl(const ServerOptions& options) : options(options), metrics(ActiveCpuTarget(), WallClockMs) {}

  absl::Status OpenStorage();
  absl::Status StartServing();
  absl::Status Listen();
  Gauges ReadGauges();
  void SetHealth(bool recommendations_serve);
  bool Healthy();
  void DrainCalls();
  void Shutdown();

  // Constant, but for what Reload takes up and only the thread that calls it reads (drain_timeout).
  ServerOptions options;
  ServerMetrics metrics;
  std::unique_ptr<MetricsPage> metrics_page;  // null: off
  std::unique_ptr<ServerSecurity> security;
  std::unique_ptr<Database> database;
  std::unique_ptr<UserCache> users;
  std::unique_ptr<Reaper> reaper;
  std::unique_ptr<CatalogManager> catalog;
  std::unique_ptr<SnapshotManager> snapshots;
  std::unique_ptr<SnapshotPreview> preview;
  std::unique_ptr<RecallSampler> recall;
  std::unique_ptr<Upkeep> upkeep;
  std::unique_ptr<BackupManager> backups;
  std::unique_ptr<ThreadPool> workers, readers, writers, exporter;
  std::unique_ptr<WriteGate> writes;
  std::unique_ptr<ServiceCore> core;
  std::unique_ptr<RecommendationService> recommendation_service;
  std::unique_ptr<EventService> event_service;
  std::unique_ptr<CatalogService> catalog_service;
  std::unique_ptr<UserService> user_service;
  std::unique_ptr<AdminService> admin_service;
  std::shared_ptr<grpc::ServerCredentials> credentials;
  std::unique_ptr<grpc::Server> grpc_server;
  std::unique_ptr<HttpServer> http;
  std::atomic<const HttpListener*> http_listener{nullptr};  // of `http`, once it listens
  int64_t max_streams = 0;  // of a connection: gRPC does not change it while it runs
  int grpc_port = 0;
  int metrics_port = 0;

  Mutex health_mu;
  bool shutting_down ABSL_GUARDED_BY(health_mu) = false;
  bool recommendations_serve ABSL_GUARDED_BY(health_mu) = false;
};

absl::Status Server::Impl::OpenStorage() {
  const DatabaseOptions database_options = {
      .path = options.data_dir,
      .max_history_events = static_cast<uint32_t>(options.limits.max_history_events),
      .block_cache_bytes = options.block_cache_bytes,
      .sync_writes = options.sync_writes,
      .event_retention_ms = options.event_retention_ms,
      .idempotency_window_ms = options.idempotency_window_ms};
  absl::StatusOr<std::unique_ptr<Database>> opened = Database::Open(database_options, options.event_types);
  if (!opened.ok()) {
    return absl::Status(opened.status().code(),
                        absl::StrCat("data_dir: ", std::string(opened.status().message())));
  }
  database = *std::move(opened);
  for (const std::string& what : database->DamagedUserVectors()) {
    spdlog::warn("storage: damaged user vectors were dropped, all else is there: {}", what);
  }
  users = std::make_unique<UserCache>(
      database.get(),
      UserCache::Options{.capacity_bytes = options.user_cache_bytes,
                         .max_history_events = static_cast<uint32_t>(options.limits.max_history_events)});
  reaper = std::make_unique<Reaper>();
  catalog = std::make_unique<CatalogManager>(database.get(), reaper.get());
  SnapshotManager::Options manager_options;
  manager_options.model_dir = options.model_dir;
  manager_options.poll_interval = options.snapshot_poll_interval;
  manager_options.keep_versions = options.keep_versions;
  manager_options.huge_pages = options.huge_pages;
  manager_options.read_bytes_per_second = options.snapshot_read_bytes_per_second;
  manager_options.now_ms = WallClockMs;
  manager_options.before_swap = [this](UserVectorsId vectors) {
    const uint64_t num_users = users->ReadAhead(vectors, kReadAheadLimit);
    spdlog::debug("long-term vectors of {} cached users were read ahead", num_users);
  };
  manager_options.on_first_serving = [this] { SetHealth(true); };
  snapshots = std::make_unique<SnapshotManager>(std::move(manager_options), options.event_types,
                                                database.get(), catalog.get(), &metrics);
  preview = std::make_unique<SnapshotPreview>(
      SnapshotPreview::Options{.model_dir = options.model_dir,
                               .max_history_events = static_cast<size_t>(options.limits.max_history_events),
                               .read_bytes_per_second = options.snapshot_read_bytes_per_second,
                               .now_ms = WallClockMs},
      options.event_types, database.get(), catalog.get());
  recall = std::make_unique<RecallSampler>(RecallSampler::Options{.rate = options.recall_sample_rate},
                                           catalog.get(), &metrics);
  backups = std::make_unique<BackupManager>(options.backup, database.get(), &metrics, WallClockMs);
  workers = std::make_unique<ThreadPool>(static_cast<size_t>(options.num_worker_threads));
  readers = std::make_unique<ThreadPool>(static_cast<size_t>(options.num_worker_threads));
  writers = std::make_unique<ThreadPool>(static_cast<size_t>(options.num_commit_threads));
  exporter = std::make_unique<ThreadPool>(1);
  writes = std::make_unique<WriteGate>(
      options.max_pending_writes, [this] { return database->WritesStopped(); }, &metrics);
  core.reset(new ServiceCore{
      .gate = CallGate(options.admission, &metrics, workers.get(), readers.get()),
      .validator = RequestValidator(options.limits, options.event_types),
      .event_types = options.event_types,
      .limits = options.limits,
      .search = LiveSearchOptions(options.search),
      .user_vector_memo_bytes = static_cast<size_t>(options.user_vector_memo_bytes),
      .user_vector_memo_seed = RandomSeed(),
      .now_ms = WallClockMs,
      .start_time_ms = WallClockMs(),
      .database = database.get(),
      .users = users.get(),
      .writes = writes.get(),
      .writers = writers.get(),
      .exporter = exporter.get(),
      .catalog = catalog.get(),
      .snapshots = snapshots.get(),
      .preview = preview.get(),
      .backups = backups.get(),
      .recall = recall.get(),
  });
  core->gate.SetSlowRequests(options.log.slow_request, options.log.slow_request_users);
  core->gate.access = security->access();
  core->gate.audit = security->audit();
  return absl::OkStatus();
}

absl::Status Server::Impl::Listen() {
  recommendation_service = std::make_unique<RecommendationService>(core.get());
  event_service = std::make_unique<EventService>(core.get());
  catalog_service = std::make_unique<CatalogService>(core.get());
  user_service = std::make_unique<UserService>(core.get());
  admin_service = std::make_unique<AdminService>(core.get());

  const std::string listen_path =
      options.listen_address.rfind("unix:", 0) == 0 ? options.listen_address.substr(5) : "";
  // gRPC itself would take a socket away from whoever listens on it.
  const auto claim = [](const char* field, const std::string& path) {
    if (path.empty()) return absl::OkStatus();
    const absl::Status status = ClaimSocketPath(path);
    return status.ok() ? status
                       : absl::UnavailableError(absl::StrCat(field, ": ", std::string(status.message())));
  };
  SWIFTLET_RETURN_IF_ERROR(claim("listen_address", listen_path));
  SWIFTLET_RETURN_IF_ERROR(claim("unix_socket", options.unix_socket));

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  if (!options.security.reflection) builder.SetOption(std::make_unique<NoReflection>());
  builder.SetContextAllocator(core->gate.arrivals.NewAllocator());
  // Who may connect to a socket of the file system, its mode says.
  credentials = listen_path.empty() ? security->MakeCredentials() : grpc::InsecureServerCredentials();
  builder.AddListeningPort(options.listen_address, credentials, &grpc_port);
  int unix_port = 1;
  if (!options.unix_socket.empty()) {
    builder.AddListeningPort("unix:" + options.unix_socket, grpc::InsecureServerCredentials(), &unix_port);
  }
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // two servers on one port is an error
  // Clients may keep idle connections alive with pings.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             static_cast<int>(absl::ToInt64Milliseconds(options.handshake_timeout)));
  if (options.max_idle > absl::ZeroDuration()) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                               static_cast<int>(absl::ToInt64Milliseconds(options.max_idle)));
  }
  // More would be refused, or would wait for messages that never come.
  max_streams = 2 * (options.admission.max_in_flight + options.admission.queue.max_limit);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(max_streams));
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.RegisterService(recommendation_service.get());
  builder.RegisterService(event_service.get());
  builder.RegisterService(catalog_service.get());
  builder.RegisterService(user_service.get());
  builder.RegisterService(admin_service.get());
  std::unique_ptr<grpc::Server> started = builder.BuildAndStart();
  if (unix_port == 0) {
    return absl::UnavailableError(absl::StrCat("unix_socket: cannot listen on ", options.unix_socket));
  }
  if (started == nullptr || grpc_port == 0) {
    const ListenCheck check = listen_path.empty() ? CheckListening(options.listen_address)
                                                  : ListenCheck();  // gRPC does not say why
    return absl::UnavailableError(absl::StrCat("listen_address: cannot listen on ", options.listen_address,
                                               check.reason.empty() ? "" : ": ", check.reason));
  }
  for (const std::string& path : {listen_path, options.unix_socket}) {
    if (!path.empty()) SWIFTLET_RETURN_IF_ERROR(SetSocketMode(path, options.unix_socket_mode));
  }
  MutexLock lock(health_mu);
  grpc_server = std::move(started);
  return absl::OkStatus();
}

absl::Status Server::Impl::StartServing() {
  // The snapshot first, so that a restarted server answers its first call.
  if (absl::Status status = snapshots->Start(); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat("model_dir: ", std::string(status.message())));
  }
  metrics.SetGaugeSource([this] { return ReadGauges(); });
  if (!options.metrics_address.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(metrics_page, MetricsPage::Start(options.metrics_address, &metrics));
    metrics_port = metrics_page->port();
  }
  SWIFTLET_RETURN_IF_ERROR(Listen());
  {
    MutexLock lock(health_mu);
    grpc::HealthCheckServiceInterface* health = grpc_server->GetHealthCheckService();
    for (const char* name : {"swiftlet.v1.EventService", "swiftlet.v1.CatalogService",
                             "swiftlet.v1.UserService", "swiftlet.v1.AdminService"}) {
      health->SetServingStatus(name, true);
    }
    health->SetServingStatus("", recommendations_serve);
    health->SetServingStatus(kRecommendationServiceName, recommendations_serve);
  }
  if (!options.http.listen_address.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(
        http, HttpServer::Start(options, grpc_server.get(), &core->gate.origin, security.get(), &metrics,
                                [this] { return Healthy(); }));
    http_listener.store(&http->listener());
  }
  upkeep = std::make_unique<Upkeep>(database.get(), WallClockMs);
  const std::optional<int> http_port =
      http == nullptr ? std::nullopt : std::optional<int>(http->listener().port());
  if (!options.port_file.empty()) {
    SWIFTLET_RETURN_IF_ERROR(WritePortFile(options.port_file, grpc_port, metrics_port, http_port));
  }
  spdlog::info("swiftlet-server {} listens on {} (gRPC port {}){}{}, metrics {}, kernels {}", kServerVersion,
               options.listen_address, grpc_port,
               options.unix_socket.empty() ? "" : " and unix:" + options.unix_socket,
               http_port.has_value()
                   ? absl::StrCat(", HTTP on ", options.http.listen_address, " (port ", *http_port, ")")
                   : "",
               metrics_port == 0 ? "off" : absl::StrCat("on port ", metrics_port), ActiveCpuTarget());
  return absl::OkStatus();
}

void Server::Impl::SetHealth(bool serve) {
  MutexLock lock(health_mu);
  recommendations_serve = serve;
  if (shutting_down || grpc_server == nullptr) return;
  grpc_server->GetHealthCheckService()->SetServingStatus("", serve);
  grpc_server->GetHealthCheckService()->SetServingStatus(kRecommendationServiceName, serve);
}

bool Server::Impl::Healthy() {
  MutexLock lock(health_mu);
  return recommendations_serve && !shutting_down;
}

Gauges Server::Impl::ReadGauges() {
  Gauges g;
  g.requests_in_flight = core->gate.in_flight.load();
  g.calls_waiting = core->gate.arrivals.num_waiting();
  g.call_queue_limit = core->gate.queue.limit();
  g.worker_queue_length = workers->QueueLength();
  g.reader_queue_length = readers->QueueLength();
  g.pending_writes = writes->num_pending();
  g.connections_refused = NumConnectionsRefused();
  if (const HttpListener* listener = http_listener.load(); listener != nullptr) {
    g.http_connections = listener->num_connections();
    g.http_connections_refused = listener->num_refused();
  }
  g.certificate_expiry_seconds = security->certificate_expiry_seconds();
  g.user_cache = users->Stats();
  if (const std::shared_ptr<const ServingState> state = catalog->Acquire(); state != nullptr) {
    g.snapshot_version = state->snapshot->version();
    g.snapshot_created_ms = state->snapshot->manifest().created_ms;
    g.snapshot_items = state->snapshot->num_items();
    g.overlay_items = state->view->num_overlay_items();
    g.items_without_vector = state->view->num_items_without_vector();
    g.items_with_category_vector = state->view->num_items_with_category_vector();
  }
  g.snapshot_loaded_ms = snapshots->serving_since_ms();
  g.snapshots_resident = static_cast<uint64_t>(snapshots->num_resident());
  g.backup = backups->Gauges();
  g.storage_writable = database->LastWrite().ok();
  g.rocksdb = database->Stats().properties;
  for (const auto& [what, path] : {std::pair{"data", options.data_dir}, {"models", options.model_dir}}) {
    if (const std::optional<DiskSpace> disk = ReadDiskSpace(path)) g.disks[what] = *disk;
  }
  return g;
}

// First at the gate: calls in progress are finished, new ones get UNAVAILABLE, which clients retry elsewhere.
// Then the transport: gRPC resets a call that arrives from here on (CANCELLED, which says nothing to a
// client), so it comes when no call has arrived for a while. Callers who go on calling without a pause are
// made to wait: the gate holds their calls until HTTP/2's GOAWAY is on its way, then answers them, and their
// next call goes to another connection. Connections close as their callers take notice of GOAWAY; a caller
// without calls in progress may not look at its socket for seconds: what is still open then is idle, and is
// closed.
void Server::Impl::DrainCalls() {
  CallGate& gate = core->gate;
  const absl::Time deadline = absl::Now() + options.drain_timeout;
  const auto pause = [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
  auto wait_for_no_arrivals = [&](absl::Duration duration, absl::Duration at_most) {
    const absl::Time end = std::min(deadline, absl::Now() + at_most);
    uint64_t num_arrived = gate.num_arrived.load();
    for (absl::Time since = absl::Now(); absl::Now() < end && absl::Now() - since < duration;) {
      pause();
      if (const uint64_t now = gate.num_arrived.load(); now != num_arrived) {
        num_arrived = now;
        since = absl::Now();
      }
    }
  };
  gate.draining.store(true);
  event_service->StopStreams();
  user_service->StopExports();
  backups->Stop();
  snapshots->GiveUp();
  preview->Stop();
  // Its calls are of this process: the gRPC server would cut them off at once.
  if (http != nullptr) http->Shutdown(options.drain_timeout / 2);
  wait_for_no_arrivals(absl::Milliseconds(50), /*at_most=*/absl::Seconds(2));
  gate.Hold();
  wait_for_no_arrivals(absl::Milliseconds(50), /*at_most=*/absl::Milliseconds(500));

  std::atomic<bool> stopped{false};
  std::thread stopper([&] {
    grpc_server->Shutdown(absl::ToChronoTime(deadline));
    stopped.store(true);
  });
  const absl::Time stopping_since = absl::Now();
  while (!stopped.load() && absl::Now() - stopping_since < absl::Milliseconds(50)) pause();
  gate.Release();
  for (absl::Time since = absl::Now();
       !stopped.load() && absl::Now() < deadline && absl::Now() - since < absl::Milliseconds(200);) {
    pause();
    if (gate.in_flight.load() > 0) since = absl::Now();
  }
  if (!stopped.load()) grpc_server_cancel_all_calls(grpc_server->c_server());
  stopper.join();
}

void Server::Impl::Shutdown() {
  {
    MutexLock lock(health_mu);
    if (shutting_down) return;
    shutting_down = true;
  }
  if (grpc_server != nullptr) {
    // Stays NOT_SERVING from here on.
    grpc_server->GetHealthCheckService()->Shutdown();
    DrainCalls();
    grpc_server->Wait();
    metrics.ClearGaugeSource();
    http_listener.store(nullptr);
    http.reset();
    grpc_server.reset();
  }
  metrics.ClearGaugeSource();
  workers.reset();
  readers.reset();
  writers.reset();
  exporter.reset();
  backups.reset();
  preview.reset();
  upkeep.reset();
  if (recall != nullptr) recall->Stop();
  if (snapshots != nullptr) snapshots->Stop();
  if (catalog != nullptr) catalog->Clear();
  reaper.reset();
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { Shutdown(); }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  std::unique_ptr<Server> server(new Server(std::make_unique<Impl>(options)));
  SWIFTLET_ASSIGN_OR_RETURN(server->impl_->security,
                            ServerSecurity::Create(options.security, &server->impl_->metrics, WallClockMs));
  SWIFTLET_RETURN_IF_ERROR(server->impl_->OpenStorage());
  SWIFTLET_RETURN_IF_ERROR(server->impl_->StartServing());
  return server;
}

void Server::Reload(const ServerOptions& options, const std::vector<std::string>& changed) {
  std::string taken_up, left;
  for (const std::string& path : changed) {
    std::string& list = IsReloadable(path) ? taken_up : left;
    absl::StrAppend(&list, list.empty() ? "" : ", ", path);
  }
  if (options.admission.max_in_flight > impl_->max_streams) {
    absl::StrAppend(&left, left.empty() ? "" : ", ", "limits.max_concurrent_requests (until then at most ",
                    impl_->max_streams, " over one connection)");
  }
  spdlog::set_level(spdlog::level::from_str(options.log.level));
  CallGate& gate = impl_->core->gate;
  gate.SetSlowRequests(options.log.slow_request, options.log.slow_request_users);
  gate.SetAdmission(options.admission);
  impl_->core->search.Store(options.search);
  impl_->security->Reload(options.security);
  impl_->backups->SetSettings(options.backup);
  impl_->options.drain_timeout = options.drain_timeout;
  impl_->metrics.CountReload(swiftlet::Reload::kConfiguration, true);
  spdlog::info("configuration: reloaded; differs from that of the start in: {}",
               taken_up.empty() ? "nothing that a reload takes up" : taken_up);
  if (!left.empty()) spdlog::warn("configuration: these fields need a restart: {}", left);
}

void Server::ReloadFiles() {
  const SecurityOptions& security = impl_->options.security;
  impl_->security->Reload(security);
  std::string files = security.tls_certificate.empty() ? "" : "certificates";
  if (!security.token_file.empty()) absl::StrAppend(&files, files.empty() ? "" : " and ", "tokens");
  spdlog::info("configuration: there is no file (--config) to read again; {}",
               files.empty() ? "nothing is reloaded" : files + " are taken up where they have changed");
}

void Server::RefuseReload(const std::string& error) {
  impl_->metrics.CountReload(swiftlet::Reload::kConfiguration, false);
  spdlog::error("configuration: not reloaded, that from before stays in use: {}", error);
}

void Server::Shutdown() { impl_->Shutdown(); }
int Server::grpc_port() const { return impl_->grpc_port; }
int Server::metrics_port() const { return impl_->metrics_port; }

}  // namespace swiftlet
