#include "server/snapshot_manager.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/recommender.h"
#include "server/request_scope.h"
#include "server/snapshot_files.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

// How often a draining snapshot is looked at: requests last less than a millisecond.
constexpr absl::Duration kDrainPoll = absl::Milliseconds(1);

// A user vector family of this number may be in use by a snapshot that has its number from before the model
// directory was started afresh: then the other name of the version.
constexpr int64_t kOtherName = int64_t{1} << 62;

// A load is bound by memory with more.
constexpr size_t kMaxLoadThreads = 4;
constexpr absl::Duration kMaxIdlePatience = absl::Seconds(20);
// Of a load that an operator asked for: the way back from a bad snapshot must not wait until a full machine
// has time.
constexpr absl::Duration kMaxIdlePatienceOfCommands = absl::Seconds(5);

constexpr char kShuttingDown[] = "the server is shutting down";

bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) || absl::IsInternal(status);
}

}  // namespace

int64_t SnapshotVersionOf(int64_t user_vectors) { return user_vectors & ~kOtherName; }

SnapshotManager::SnapshotManager(Options options, const EventTypeTable& event_types, Database* database,
                                 CatalogManager* catalog, ServerMetrics* metrics)
    : options_(std::move(options)),
      event_types_(event_types),
      directory_(options_.model_dir),
      registry_(directory_),
      database_(database),
      catalog_(catalog),
      metrics_(metrics) {}

SnapshotManager::~SnapshotManager() { Stop(); }

absl::Status SnapshotManager::Start() {
  SWIFTLET_RETURN_IF_ERROR(directory_.Create());
  SWIFTLET_RETURN_IF_ERROR(directory_.ListVersions().status());
  if (absl::Status status = directory_.CleanStaging(); !status.ok()) {
    spdlog::warn("cannot remove abandoned staging directories: {}", std::string(status.message()));
  }
  Follow();
  DropUnusedUserVectors();
  if (!serving_.has_value()) spdlog::info("no snapshot in {} yet: waiting for one", options_.model_dir);
  thread_ = std::thread([this] { Run(); });  // clears busy_
  return absl::OkStatus();
}

void SnapshotManager::GiveUp() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
}

void SnapshotManager::Stop() {
  GiveUp();
  if (thread_.joinable()) thread_.join();
}

void SnapshotManager::Run() {
  for (;;) {
    std::optional<Command> command;
    bool stopping;
    {
      MutexLock lock(mu_);
      busy_ = false;
      if (!stopping_ && !command_.has_value()) {
        wake_.WaitFor(mu_, draining_.has_value() ? kDrainPoll : options_.poll_interval);
      }
      command = std::exchange(command_, std::nullopt);
      stopping = stopping_;
      busy_ = command.has_value();
    }
    if (stopping) {
      if (command.has_value()) command->done(absl::UnavailableError(kShuttingDown));
      return;
    }
    FinishDraining();
    if (command.has_value()) {
      somebody_waits_ = true;
      absl::StatusOr<SnapshotSummary> result = Execute(command->version);
      somebody_waits_ = false;
      if (absl::IsCancelled(result.status())) result = absl::UnavailableError(kShuttingDown);
      {
        // Before the answer: the caller's next command must not find this one.
        MutexLock lock(mu_);
        busy_ = false;
      }
      command->done(std::move(result));
    } else if (!draining_.has_value()) {
      Follow();
    }
  }
}

void SnapshotManager::SetState(int64_t version, SnapshotState state) {
  registry_.SetState(version, state);
  ReportState(version, state);
}

void SnapshotManager::ReportState(int64_t version, SnapshotState state) {
  spdlog::debug("snapshot {}: {}", version, SnapshotStateName(state));
  if (options_.on_state) options_.on_state(version, state);
}

void SnapshotManager::ReportDirectoryError(const absl::Status& status) {
  const std::string message(status.message());
  if (message == reported_directory_error_) return;
  reported_directory_error_ = message;
  spdlog::error("model directory: {}", message);
  registry_.SetLastError(message);
}

absl::StatusOr<std::optional<int64_t>> SnapshotManager::ReadCurrent() {
  for (;;) {
    current_stamp_ = CurrentStamp(directory_);
    absl::StatusOr<std::optional<int64_t>> current = directory_.ReadCurrent();
    if (CurrentStamp(directory_) == current_stamp_) return current;
  }
}

void SnapshotManager::Follow() {
  const absl::StatusOr<std::optional<int64_t>> pinned = directory_.ReadPinned();
  const absl::StatusOr<std::optional<int64_t>> current = ReadCurrent();
  if (!pinned.ok()) {
    ReportDirectoryError(pinned.status());  // what was pinned before stays so
  } else if (registry_.SetPinned(*pinned)) {
    spdlog::info("{}", pinned->has_value() ? absl::StrCat("snapshot ", **pinned, " is pinned")
                                           : "unpinned: following the newest publication");
  }
  std::optional<int64_t> target = registry_.pinned();
  std::string wanted;
  if (target.has_value()) {
    wanted = absl::StrCat("the pinned snapshot ", *target, ", which was refused");
  } else if (current.ok()) {
    target = *current;
    if (!target.has_value()) {
      if (serving_.has_value()) {
        ReportDirectoryError(absl::NotFoundError(
            absl::StrCat(options_.model_dir, ": there is no CURRENT any more; snapshot ",
                         serving_->snapshot->version(), " goes on serving until something is published")));
      }
      return;
    }
    if (pinned.ok()) reported_directory_error_.clear();
    wanted = absl::StrCat("snapshot ", *target, ", which was refused");
  } else {
    ReportDirectoryError(current.status());
    wanted = absl::StrCat("the newest publication, which is unknown (", current.status().message(), ")");
  }
  if (target.has_value()) {
    if (Serves(*target)) {
      // Nothing is loaded while a version is pinned, but versions are published.
      if (current_stamp_ != retention_stamp_) DeleteOldVersions();
      return;
    }
    if (!registry_.ShouldSkip(*target, current_stamp_) && Load(*target).ok()) return;
  }
  if (!serving_.has_value()) ServeAnother(wanted, target);
}

void SnapshotManager::ServeAnother(const std::string& wanted, std::optional<int64_t> target) {
  absl::StatusOr<std::vector<int64_t>> versions = directory_.ListVersions();
  if (!versions.ok()) return ReportDirectoryError(versions.status());
  std::sort(versions->rbegin(), versions->rend());
  // An unreadable CURRENT was reported, or it is not what was wanted: the newest is as good a guess.
  if (const absl::StatusOr<std::optional<int64_t>> current = directory_.ReadCurrent();
      current.ok() && current->has_value()) {
    const auto it = std::find(versions->begin(), versions->end(), **current);
    if (it != versions->end()) std::rotate(versions->begin(), it, it + 1);
  }
  for (const int64_t version : *versions) {
    if (version == target || registry_.ShouldSkip(version, current_stamp_)) continue;
    if (Load(version).ok()) {
      spdlog::warn("snapshot {} serves in place of {}", version, wanted);
      return;
    }
  }
}

bool SnapshotManager::Serves(int64_t version) {
  if (!serving_.has_value() || serving_->snapshot->version() != version) return false;
  const std::string stamp = ManifestStamp(directory_, version);
  if (stamp == serving_manifest_stamp_) return true;
  // The text decides: it has the checksums of all files, and file systems may number files anew.
  const absl::StatusOr<std::string> text = ReadManifestText(directory_.VersionPath(version));
  if (!text.ok()) return true;  // deleted, or about to be
  if (*text != serving_manifest_text_) return false;
  serving_manifest_stamp_ = stamp;
  return true;
}

absl::StatusOr<SnapshotSummary> SnapshotManager::Execute(int64_t version) {
  if (version == 0) {
    SWIFTLET_RETURN_IF_ERROR(directory_.WritePinned(std::nullopt));
    registry_.SetPinned(std::nullopt);
    spdlog::info("unpinned: following the newest publication");
    SWIFTLET_ASSIGN_OR_RETURN(const std::optional<int64_t> current, ReadCurrent());
    if (!current.has_value()) {
      if (serving_.has_value()) return registry_.Summary(serving_->snapshot->version());
      return absl::FailedPreconditionError(absl::StrCat("nothing was published in ", options_.model_dir));
    }
    if (!Serves(*current)) SWIFTLET_RETURN_IF_ERROR(Load(*current));
    return registry_.Summary(*current);
  }
  SWIFTLET_RETURN_IF_ERROR(CheckHasVersion(directory_, version));
  const absl::StatusOr<std::optional<int64_t>> pinned = directory_.ReadPinned();
  const bool is_pinned = pinned.ok() && *pinned == version;
  if (!is_pinned) {
    // Before the load: without its pin, the next look at the directory would take the snapshot away again.
    if (absl::Status status = directory_.CheckWritable(); !status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("snapshot ", version, " cannot be pinned in ", options_.model_dir,
                                       ", so it was not loaded: ", status.message()));
    }
  }
  if (!Serves(version)) SWIFTLET_RETURN_IF_ERROR(Load(version));
  if (!is_pinned) SWIFTLET_RETURN_IF_ERROR(directory_.WritePinned(version));
  registry_.SetPinned(version);
  spdlog::info("snapshot {} is pinned", version);
  return registry_.Summary(version);
}

absl::Status SnapshotManager::Load(int64_t version) {
  {
    MutexLock lock(mu_);
    busy_ = true;
  }
  SnapshotFailure failure = {
      .reason = {}, .files = FilesStamp(directory_, version), .current = current_stamp_};
  const absl::Time start = absl::Now();
  absl::Status status = TryLoad(version);
  if (absl::IsCancelled(status)) return status;
  metrics_->CountSnapshotLoad(status.ok(), absl::Now() - start);
  if (status.ok()) {
    DeleteOldVersions();
    return status;
  }
  failure.reason = std::string(status.message());
  if (serving_.has_value() && serving_->snapshot->version() == version) {
    failure.reason += "; the snapshot that had this number before goes on serving";
  }
  if (MayPass(status)) failure.retry_at = absl::Now() + options_.retry_interval;
  spdlog::error("snapshot {} was refused: {}", version, failure.reason);
  absl::Status refused =
      absl::FailedPreconditionError(absl::StrCat("snapshot ", version, " was refused: ", failure.reason));
  registry_.SetFailed(version, std::move(failure));
  ReportState(version, SnapshotState::kFailed);
  return refused;
}

absl::Status SnapshotManager::TryLoad(int64_t version) {
  // At most two in memory: the one before the serving one goes first.
  WaitForDraining();
  if (draining_.has_value()) return absl::CancelledError("stopping");
  SetState(version, SnapshotState::kLoading);
  const absl::Time start = absl::Now();
  // Before the snapshot: when it is replaced meanwhile, the next look at the directory sees it.
  std::string manifest_stamp = ManifestStamp(directory_, version);
  std::string manifest_text = ReadManifestText(directory_.VersionPath(version)).value_or("");
  BackgroundJobs::Options job_options = JobOptions(version);
  job_options.stopped = [this] {
    MutexLock lock(mu_);
    return stopping_;
  };
  BackgroundJobs jobs(job_options);
  SWIFTLET_ASSIGN_OR_RETURN(
      std::shared_ptr<const ModelSnapshot> snapshot,
      ModelSnapshot::Load(directory_.VersionPath(version), {.prefault = true,
                                                            .huge_pages = options_.huge_pages,
                                                            .jobs = &jobs,
                                                            .check_user_vectors = UserVectorsCheck}));
  const absl::Time loaded = absl::Now();
  absl::Time ingested = loaded;
  snapshot = NeverFreedByRequests(std::move(snapshot), "a snapshot");
  registry_.AddResident(1);
  // Never the name of vectors that requests still read.
  int64_t user_vectors = snapshot->user_vectors_path().empty() ? 0 : version;
  if (serving_.has_value() && user_vectors != 0 && serving_->user_vectors == user_vectors) {
    user_vectors ^= kOtherName;
  }
  std::shared_ptr<const ServingState> prepared;
  absl::Status status = [&]() -> absl::Status {
    if (snapshot->version() != version) {
      return absl::DataLossError(absl::StrCat(directory_.VersionPath(version), "/", kManifestFile,
                                              ": version ", snapshot->version(), ", the directory says ",
                                              version));
    }
    SWIFTLET_RETURN_IF_ERROR(CheckEventTypes(snapshot->manifest(), event_types_));
    if (user_vectors != 0) {
      // A family of this name may be left from another snapshot of the same number.
      SWIFTLET_RETURN_IF_ERROR(database_->DropUserVectors(user_vectors));
      SWIFTLET_RETURN_IF_ERROR(
          database_->IngestUserVectors(user_vectors, snapshot->dim(), snapshot->user_vectors_path(),
                                       snapshot->manifest().trained_through_ms,
                                       {job_options.max_read_bytes_per_second, job_options.stopped}));
    }
    ingested = absl::Now();
    SetState(version, SnapshotState::kWarming);
    SWIFTLET_ASSIGN_OR_RETURN(prepared, catalog_->Prepare(snapshot, user_vectors));
    jobs.Add([&]() -> absl::StatusOr<bool> {
      SWIFTLET_RETURN_IF_ERROR(Warm(*prepared));
      return false;
    });
    return jobs.Run();
  }();
  if (!status.ok()) {
    if (prepared != nullptr) catalog_->Abandon(std::move(prepared));
    prepared.reset();
    snapshot.reset();
    DropUserVectors(user_vectors, version);
    registry_.AddResident(-1);
    return status;
  }
  if (serving_.has_value() && options_.before_swap) options_.before_swap(prepared->user_vectors);
  catalog_->Publish(std::move(prepared));
  const ModelSnapshot& now = *snapshot;
  draining_ = std::exchange(serving_, Resident{std::move(snapshot), user_vectors});
  serving_manifest_text_ = std::move(manifest_text);
  serving_manifest_stamp_ = std::move(manifest_stamp);
  registry_.SetServing(now.manifest(), options_.now_ms());
  // One number has one state: of two snapshots of one number, that of the newer one.
  if (draining_.has_value() && draining_->snapshot->version() != version) {
    SetState(draining_->snapshot->version(), SnapshotState::kDraining);
  }
  SetState(version, SnapshotState::kServing);
  const absl::Time end = absl::Now();
  spdlog::debug(
      "snapshot {}: checked and mapped in {:.0f} ms, user vectors taken over in {:.0f} ms, warmed in {:.0f} "
      "ms",
      version, absl::ToDoubleMilliseconds(loaded - start), absl::ToDoubleMilliseconds(ingested - loaded),
      absl::ToDoubleMilliseconds(end - ingested));
  spdlog::info("snapshot {} serves: {} items of dimension {}, {} users, {:.1f} MB, loaded in {:.0f} ms",
               version, now.num_items(), now.dim(), now.manifest().num_users,
               static_cast<double>(now.size_bytes()) / 1e6, absl::ToDoubleMilliseconds(end - start));
  if (draining_.has_value() && now.num_items() < draining_->snapshot->num_items() / 2) {
    spdlog::warn("snapshot {} has {} items, less than half of the {} of snapshot {} before it", version,
                 now.num_items(), draining_->snapshot->num_items(), draining_->snapshot->version());
  }
  if (!draining_.has_value() && options_.on_first_serving) options_.on_first_serving();
  FinishDraining();
  return absl::OkStatus();
}

BackgroundJobs::Options SnapshotManager::JobOptions(int64_t version) const {
  // Only the first snapshot is in a hurry. Later ones leave the processors to requests: what these
  // leave of them is taken for five times as long as one processor alone would need, some 400 MB a second.
  std::error_code error;
  double bytes = 0;
  for (std::filesystem::directory_iterator it(directory_.VersionPath(version), error), end;
       !error && it != end; it.increment(error)) {
    std::error_code gone;
    const uint64_t size = it->file_size(gone);
    if (!gone) bytes += static_cast<double>(size);
  }
  absl::Duration idle_patience = std::min(absl::Seconds(bytes * 5 / 400e6),
                                          somebody_waits_ ? kMaxIdlePatienceOfCommands : kMaxIdlePatience);
  const int64_t read_rate = serving_.has_value() ? options_.read_bytes_per_second : 0;
  if (read_rate > 0) idle_patience += absl::Seconds(bytes / static_cast<double>(read_rate));
  return {.num_threads = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kMaxLoadThreads),
          .low_priority = serving_.has_value(),
          .idle_patience = idle_patience,
          .patience = idle_patience + absl::Seconds(5),
          .max_read_bytes_per_second = read_rate};
}

absl::Status SnapshotManager::Warm(const ServingState& state) const {
  const ModelSnapshot& snapshot = *state.snapshot;
  Scratch scratch;
  Recommendation result;
  RecommendQuery query;
  query.k = 10;
  query.explain = true;
  const std::span<const uint32_t> popular = snapshot.popularity_order();
  for (size_t length : {size_t{0}, size_t{1}, size_t{10}, size_t{50}}) {
    std::vector<HistoryEvent> history;
    for (size_t i = 0; i < std::min(length, popular.size()); ++i) {
      const EventTypeId type =
          snapshot.manifest().event_classes.empty() ? 1 : snapshot.manifest().event_classes.front().type;
      history.push_back({.item_key = snapshot.Key(popular[i]), .timestamp_ms = 1, .value = 1, .type = type});
    }
    SWIFTLET_RETURN_IF_ERROR(
        Recommend(snapshot, *state.view, query, {.history = history, .long_term = {}}, scratch, &result));
  }
  return absl::OkStatus();
}

bool SnapshotManager::FinishDraining() {
  if (!draining_.has_value()) return true;
  if (draining_->snapshot.use_count() > 1) return false;
  const int64_t version = draining_->snapshot->version();
  const int64_t user_vectors = draining_->user_vectors;
  // The last reference: unmapped where that is in nobody's way.
  BackgroundJobs jobs(JobOptions(version));
  jobs.Add([this]() -> absl::StatusOr<bool> {
    draining_.reset();
    return false;
  });
  jobs.Run().IgnoreError();  // has none
  DropUserVectors(user_vectors, version);
  registry_.AddResident(-1);
  if (serving_->snapshot->version() == version) {
    spdlog::info("the snapshot that had the number {} before is retired", version);
    return true;
  }
  spdlog::info("snapshot {} is retired", version);
  SetState(version, SnapshotState::kRetired);
  return true;
}

void SnapshotManager::DropUserVectors(int64_t user_vectors, int64_t version) {
  if (user_vectors == 0) return;
  if (absl::Status status = database_->DropUserVectors(user_vectors); !status.ok()) {
    spdlog::warn("user vectors of snapshot {}: {}", version, std::string(status.message()));
  }
}

void SnapshotManager::WaitForDraining() {
  while (!FinishDraining()) {
    MutexLock lock(mu_);
    if (stopping_) return;
    wake_.WaitFor(mu_, kDrainPoll);
  }
}

void SnapshotManager::DeleteOldVersions() {
  retention_stamp_ = current_stamp_;
  std::vector<int64_t> never = {serving_->snapshot->version()};
  if (draining_.has_value()) never.push_back(draining_->snapshot->version());
  if (const std::optional<int64_t> pinned = registry_.pinned(); pinned.has_value()) never.push_back(*pinned);
  absl::StatusOr<std::vector<int64_t>> deleted =
      directory_.DeleteOld(options_.keep_versions, never, registry_.UselessVersions());
  if (!deleted.ok()) {
    spdlog::warn("cannot delete old snapshots: {}", std::string(deleted.status().message()));
    return;
  }
  for (const int64_t version : *deleted) {
    spdlog::info("snapshot {} was deleted: {} versions are kept", version, options_.keep_versions);
    registry_.Forget(version);
  }
}

void SnapshotManager::DropUnusedUserVectors() {
  absl::StatusOr<std::vector<int64_t>> versions = database_->IngestedVersions();
  if (!versions.ok()) return;
  for (const int64_t version : *versions) {
    if (!serving_.has_value() || serving_->user_vectors != version) DropUserVectors(version, version);
  }
}

void SnapshotManager::LoadSnapshot(int64_t version, Done done) {
  absl::Status refused;
  {
    MutexLock lock(mu_);
    if (stopping_) {
      refused = absl::UnavailableError(kShuttingDown);
    } else if (busy_ || command_.has_value()) {
      refused = absl::AbortedError("another load is in progress");
    } else {
      command_ = Command{version, std::move(done)};
    }
  }
  if (!refused.ok()) return done(std::move(refused));
  wake_.NotifyAll();
}

}  // namespace swiftlet
