#include "client/load/subject.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/text.h"
#include "client/client.h"
#include "client/load/catalogue.h"
#include "client/rpc_status.h"
#include "engine/base/status_macros.h"

namespace swiftlet::load {
namespace {

constexpr int kPrepareBatch = 1000;
constexpr int kPrepareCalls = 8;

double Weight(const WorkloadOptions& options, Kind kind) { return options.mix[static_cast<size_t>(kind)]; }

}  // namespace

Subject::~Subject() = default;

absl::Status Subject::StartServer(const TargetOptions& target) {
  ManagedServerOptions options;
  options.cpus = target.cpus;
  options.directory = scratch_->path();
  if (target.null) {
    options.binary = "/proc/self/exe";
    options.args = {"null-server", "--listen", "127.0.0.1:0"};
  } else {
    options.binary = target.binary;
    if (!target.config.empty()) options.args = {"--config", target.config};
    const std::string data = target.data_dir.empty() ? scratch_->path() + "/data" : target.data_dir;
    options.args.insert(options.args.end(), {"--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
                                             "--model-dir", target.model_dir, "--data-dir", data});
    options.args.insert(options.args.end(), target.args.begin(), target.args.end());
  }
  const absl::Time start = absl::Now();
  SWIFTLET_ASSIGN_OR_RETURN(server_, ManagedServer::Start(options));
  start_seconds_ = absl::ToDoubleSeconds(absl::Now() - start);
  address_ = server_->address();
  pid_ = server_->pid();
  return absl::OkStatus();
}

absl::Status Subject::Attach(const TargetOptions& target) {
  address_ = target.address;
  pid_ = target.pid ? target.pid : FindListener(address_);
  if (target.pid && ProcessCpu(*target.pid) < 0) {
    return absl::NotFoundError(absl::StrCat("server-pid: there is no process ", *target.pid));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Subject>> Subject::Open(const SubjectOptions& options,
                                                       const Progress& progress) {
  std::unique_ptr<Subject> subject(new Subject());
  subject->seed_ = options.workload.seed;
  if (!options.target.null) subject->security_ = options.target.security;
  if (options.target.managed()) {
    SWIFTLET_ASSIGN_OR_RETURN(subject->scratch_, ScratchDirectory::Create());
    SWIFTLET_RETURN_IF_ERROR(subject->StartServer(options.target));
  } else {
    SWIFTLET_RETURN_IF_ERROR(subject->Attach(options.target));
  }
  const auto connect = [&]() -> absl::Status {
    DriverOptions driver = options.driver;
    driver.address = subject->address_;
    driver.security = subject->security_;
    SWIFTLET_ASSIGN_OR_RETURN(subject->driver_, Driver::Create(driver));
    return absl::OkStatus();
  };
  SWIFTLET_RETURN_IF_ERROR(connect());
  if (options.target.null) {
    subject->description_ = "null server";
    for (int i = 0; i < subject->driver_->num_workers(); ++i) {
      subject->sources_.push_back(std::make_unique<NullSource>(options.workload.k));
    }
    return subject;
  }
  SWIFTLET_RETURN_IF_ERROR(subject->OpenWorkload(options, progress));
  if (options.prepare) SWIFTLET_RETURN_IF_ERROR(subject->Prepare(options, progress));
  if (options.restart && options.target.managed()) {
    subject->driver_.reset();
    subject->server_.reset();
    SWIFTLET_RETURN_IF_ERROR(subject->StartServer(options.target));
    SWIFTLET_RETURN_IF_ERROR(connect());
  }
  if (Weight(options.workload, Kind::kRecommend) > 0) {
    TouchSource touch(subject->workload_.get());
    SWIFTLET_RETURN_IF_ERROR(subject->RunToEnd(touch, 32, "asking once for every user"));
  }
  if (subject->server_ != nullptr) subject->stages_before_ = ReadStageTimes(subject->server_->metrics_port());
  for (int i = 0; i < subject->driver_->num_workers(); ++i) {
    subject->sources_.push_back(
        std::make_unique<MixSource>(subject->workload_.get(), options.workload.seed * 1'000'003 + i));
  }
  return subject;
}

absl::Status Subject::OpenWorkload(const SubjectOptions& options, const Progress& progress) {
  SWIFTLET_ASSIGN_OR_RETURN(
      const std::unique_ptr<Client> client,
      Client::Connect(
          {.address = address_, .user_agent = "swiftlet-load", .max_attempts = 1, .security = security_}));
  SWIFTLET_ASSIGN_OR_RETURN(const v1::GetStatusResponse status, client->GetStatus());
  if (!status.has_serving()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the server at ", address_, " has no snapshot: there is nothing to recommend"));
  }
  const v1::SnapshotInfo& snapshot = status.serving();
  description_ = absl::StrCat("swiftlet-server ", status.server_version(), ", snapshot ", snapshot.version(),
                              ": ", cli::WithThousands(snapshot.num_items()), " items, dim ", snapshot.dim(),
                              ", kernels ", status.cpu_target());
  std::vector<std::string> ids;
  if (!options.items.file.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(ids, ReadItemIds(options.items.file));
  } else if (options.items.num_items > 0) {
    ids = NumberedItems(options.items.prefix, options.items.num_items);
  } else {
    if (progress) progress("asking the server for its items");
    SWIFTLET_ASSIGN_OR_RETURN(ids, DiscoverItems(*client, options.items.discover));
  }
  SWIFTLET_RETURN_IF_ERROR(CheckItems(*client, ids));
  WorkloadOptions workload = options.workload;
  workload.dim = snapshot.dim();
  workload_ = std::make_unique<Workload>(std::move(workload), std::move(ids), snapshot.num_items());
  return absl::OkStatus();
}

absl::Status Subject::Prepare(const SubjectOptions& options, const Progress& progress) {
  const WorkloadOptions& workload = options.workload;
  if (workload.history_events == 0) return absl::OkStatus();
  const bool users = Weight(workload, Kind::kRecommend) > 0 || Weight(workload, Kind::kEvents) > 0;
  for (const bool cold : {true, false}) {
    const uint64_t n = cold ? workload.num_cold_users : workload.num_users;
    if (n == 0 || (!cold && !users)) continue;
    const std::string what =
        absl::StrCat("recording ", workload.history_events, " events of each of ",
                     cli::WithThousands(static_cast<int64_t>(n)), cold ? " cold users" : " users");
    if (progress) progress(what);
    HistorySource source(workload_.get(), cold, kPrepareBatch);
    const absl::Status status = RunToEnd(source, kPrepareCalls, what);
    if (absl::IsCancelled(status) || source.failed()) return status;  // others were sent again
  }
  return absl::OkStatus();
}

absl::Status Subject::RunToEnd(CallSource& source, int concurrency, std::string_view what) {
  // One worker does it; the others have nothing to send.
  struct Empty final : CallSource {
    bool Next(Call&) override { return false; }
    Verdict OnAnswer(Call&, absl::StatusCode, std::string_view) override { return {}; }
  } empty;
  std::vector<CallSource*> sources(driver_->num_workers(), &empty);
  sources[0] = &source;
  const WindowStats stats = driver_->Run({.warmup = absl::ZeroDuration(),
                                          .duration = absl::Hours(24 * 365),
                                          .concurrency = concurrency * driver_->num_workers()},
                                         sources);
  if (stats.interrupted) return absl::CancelledError("interrupted");
  if (stats.failures.empty()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(std::string(what), ": ", stats.failures.begin()->first, " [", address_, "]"));
}

std::map<std::string, double> Subject::StageUs() const {
  if (server_ == nullptr || server_->metrics_port() == 0) return {};
  return MeanStageUs(stages_before_, ReadStageTimes(server_->metrics_port()));
}

int64_t Subject::CachedUsers() const {
  const absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect({.address = address_, .max_attempts = 1, .security = security_});
  if (!client.ok()) return -1;
  const absl::StatusOr<v1::GetStatusResponse> status = (*client)->GetStatus();
  return status.ok() ? status->user_cache_entries() : -1;
}

WindowStats Subject::Run(WindowOptions options) {
  options.seed = seed_ += 1'000'003;
  if (pid_) {
    options.server_cpu = [pid = *pid_] { return ProcessCpu(pid); };
  }
  std::vector<CallSource*> sources;
  for (const auto& source : sources_) sources.push_back(source.get());
  return driver_->Run(options, sources);
}

}  // namespace swiftlet::load
