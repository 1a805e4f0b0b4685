#include "server/snapshot_manager.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/recommender.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

// How often a draining snapshot is looked at: requests last less than a millisecond.
constexpr absl::Duration kDrainPoll = absl::Milliseconds(1);

absl::StatusOr<Manifest> ReadManifest(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kManifestFile);
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(path + ": cannot read");
  std::stringstream text;
  text << in.rdbuf();
  return ParseManifest(text.str());
}

// Changes whenever the file is replaced or written.
std::string FileStamp(const std::string& path) {
  struct stat s;
  if (stat(path.c_str(), &s) != 0) return "-";
  return absl::StrCat(s.st_ino, ":", s.st_size, ":", s.st_mtim.tv_sec, ".", s.st_mtim.tv_nsec);
}

bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) || absl::IsInternal(status);
}

}  // namespace

const char* SnapshotStateName(SnapshotState state) {
  switch (state) {
    case SnapshotState::kAvailable:
      return "AVAILABLE";
    case SnapshotState::kLoading:
      return "LOADING";
    case SnapshotState::kWarming:
      return "WARMING";
    case SnapshotState::kServing:
      return "SERVING";
    case SnapshotState::kDraining:
      return "DRAINING";
    case SnapshotState::kRetired:
      return "RETIRED";
    case SnapshotState::kFailed:
      return "FAILED";
  }
  return "?";
}

SnapshotManager::SnapshotManager(Options options, const EventTypeTable& event_types, Database* database,
                                 CatalogManager* catalog, ServerMetrics* metrics)
    : options_(std::move(options)),
      event_types_(event_types),
      directory_(options_.model_dir),
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
  absl::StatusOr<std::optional<int64_t>> pinned = directory_.ReadPinned();
  if (pinned.ok()) {
    MutexLock lock(mu_);
    pinned_ = *pinned;
  } else {
    ReportDirectoryError(pinned.status());
  }
  Follow();
  DropUnusedUserVectors();
  if (serving_ == nullptr) spdlog::info("no snapshot in {} yet: waiting for one", options_.model_dir);
  thread_ = std::thread([this] { Run(); });  // clears busy_
  return absl::OkStatus();
}

void SnapshotManager::Stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
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
        wake_.WaitFor(mu_, draining_ != nullptr ? kDrainPoll : options_.poll_interval);
      }
      command = std::exchange(command_, std::nullopt);
      stopping = stopping_;
      busy_ = command.has_value();
    }
    if (stopping) {
      if (command.has_value()) command->done(absl::UnavailableError("the server is shutting down"));
      return;
    }
    FinishDraining();
    if (command.has_value()) {
      absl::StatusOr<SnapshotSummary> result = Execute(command->version);
      {
        // Before the answer: the caller's next command must not find this one.
        MutexLock lock(mu_);
        busy_ = false;
      }
      command->done(std::move(result));
    } else if (draining_ == nullptr) {
      Follow();
    }
  }
}

void SnapshotManager::SetState(int64_t version, SnapshotState state, const std::string& error) {
  {
    MutexLock lock(mu_);
    Status& status = states_[version];
    status.state = state;
    status.error = error;
  }
  spdlog::debug("snapshot {}: {}", version, SnapshotStateName(state));
  if (options_.on_state) options_.on_state(version, state);
}

std::string SnapshotManager::Fingerprint(int64_t version) const {
  const std::string path = directory_.VersionPath(version);
  return absl::StrCat(FileStamp(path + "/" + kManifestFile), " ", FileStamp(path + "/" + kModelFile), " ",
                      FileStamp(path + "/" + kUserVectorsFile), " ",
                      FileStamp(directory_.path() + "/CURRENT"));
}

bool SnapshotManager::ShouldSkip(int64_t version) const {
  const std::string fingerprint = Fingerprint(version);
  MutexLock lock(mu_);
  const auto it = states_.find(version);
  return it != states_.end() && it->second.state == SnapshotState::kFailed &&
         it->second.fingerprint == fingerprint && absl::Now() < it->second.retry_at;
}

void SnapshotManager::ReportDirectoryError(const absl::Status& status) {
  const std::string message(status.message());
  if (message == reported_directory_error_) return;
  reported_directory_error_ = message;
  spdlog::error("model directory: {}", message);
  MutexLock lock(mu_);
  last_error_ = message;
}

void SnapshotManager::Follow() {
  std::optional<int64_t> target;
  {
    MutexLock lock(mu_);
    target = pinned_;
  }
  if (!target.has_value()) {
    absl::StatusOr<std::optional<int64_t>> current = directory_.ReadCurrent();
    if (!current.ok()) return ReportDirectoryError(current.status());
    reported_directory_error_.clear();
    target = *current;
  }
  if (!target.has_value()) return;
  if (serving_ != nullptr && serving_->version() == *target) return;
  if (!ShouldSkip(*target) && Load(*target).ok()) return;
  if (serving_ != nullptr) return;

  // Better an older model than none.
  absl::StatusOr<std::vector<int64_t>> versions = directory_.ListVersions();
  if (!versions.ok()) return ReportDirectoryError(versions.status());
  std::sort(versions->rbegin(), versions->rend());
  for (const int64_t version : *versions) {
    if (version >= *target || ShouldSkip(version)) continue;
    if (Load(version).ok()) {
      spdlog::warn("snapshot {} serves in place of {}, which was refused", version, *target);
      return;
    }
  }
}

absl::StatusOr<SnapshotSummary> SnapshotManager::Execute(int64_t version) {
  if (version == 0) {
    SWIFTLET_RETURN_IF_ERROR(directory_.WritePinned(std::nullopt));
    {
      MutexLock lock(mu_);
      pinned_.reset();
    }
    spdlog::info("unpinned: following the newest publication");
    SWIFTLET_ASSIGN_OR_RETURN(const std::optional<int64_t> current, directory_.ReadCurrent());
    if (!current.has_value()) {
      if (serving_ != nullptr) return Summary(serving_->version());
      return absl::FailedPreconditionError(absl::StrCat("nothing was published in ", options_.model_dir));
    }
    if (serving_ == nullptr || serving_->version() != *current) SWIFTLET_RETURN_IF_ERROR(Load(*current));
    return Summary(*current);
  }
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<int64_t> versions, directory_.ListVersions());
  if (std::find(versions.begin(), versions.end(), version) == versions.end()) {
    return absl::NotFoundError(absl::StrCat("version: ", version, " is not in ", options_.model_dir,
                                            ", which has ",
                                            versions.empty() ? "none" : absl::StrJoin(versions, ", ")));
  }
  if (serving_ == nullptr || serving_->version() != version) SWIFTLET_RETURN_IF_ERROR(Load(version));
  SWIFTLET_RETURN_IF_ERROR(directory_.WritePinned(version));
  {
    MutexLock lock(mu_);
    pinned_ = version;
  }
  spdlog::info("snapshot {} is pinned", version);
  return Summary(version);
}

absl::Status SnapshotManager::Load(int64_t version) {
  {
    MutexLock lock(mu_);
    busy_ = true;
  }
  const std::string fingerprint = Fingerprint(version);
  const absl::Time start = absl::Now();
  absl::Status status = TryLoad(version);
  if (absl::IsCancelled(status)) return status;
  metrics_->CountSnapshotLoad(status.ok(), absl::Now() - start);
  if (status.ok()) {
    DeleteOldVersions();
    return status;
  }
  const std::string reason(status.message());
  {
    MutexLock lock(mu_);
    last_error_ = absl::StrCat("snapshot ", version, ": ", reason);
    Status& s = states_[version];
    s.fingerprint = fingerprint;
    s.retry_at = MayPass(status) ? absl::Now() + options_.retry_interval : absl::InfiniteFuture();
  }
  spdlog::error("snapshot {} was refused: {}", version, reason);
  SetState(version, SnapshotState::kFailed, reason);
  return absl::FailedPreconditionError(absl::StrCat("snapshot ", version, " was refused: ", reason));
}

absl::Status SnapshotManager::TryLoad(int64_t version) {
  // At most two in memory: the one before the serving one goes first.
  WaitForDraining();
  if (draining_ != nullptr) return absl::CancelledError("stopping");
  SetState(version, SnapshotState::kLoading);
  const absl::Time start = absl::Now();
  SWIFTLET_ASSIGN_OR_RETURN(std::shared_ptr<const ModelSnapshot> snapshot,
                            ModelSnapshot::Load(directory_.VersionPath(version), {}));
  {
    MutexLock lock(mu_);
    ++num_resident_;
  }
  std::shared_ptr<const ServingState> prepared;
  absl::Status status = [&]() -> absl::Status {
    if (snapshot->version() != version) {
      return absl::DataLossError(absl::StrCat(directory_.VersionPath(version), "/", kManifestFile,
                                              ": version ", snapshot->version(), ", the directory says ",
                                              version));
    }
    SWIFTLET_RETURN_IF_ERROR(CheckEventTypes(*snapshot));
    if (!snapshot->user_vectors_path().empty()) {
      // A family of this name may be left from another snapshot of the same number.
      SWIFTLET_RETURN_IF_ERROR(database_->DropUserVectors(version));
      SWIFTLET_RETURN_IF_ERROR(database_->IngestUserVectors(
          version, snapshot->dim(), snapshot->user_vectors_path(), snapshot->manifest().trained_through_ms));
    }
    SetState(version, SnapshotState::kWarming);
    snapshot->Prefault();
    SWIFTLET_ASSIGN_OR_RETURN(prepared, catalog_->Prepare(snapshot));
    return Warm(*prepared);
  }();
  if (!status.ok()) {
    if (prepared != nullptr) catalog_->Abandon(std::move(prepared));
    prepared.reset();
    snapshot.reset();
    if (absl::Status dropped = database_->DropUserVectors(version); !dropped.ok()) {
      spdlog::warn("user vectors of the refused snapshot {}: {}", version, std::string(dropped.message()));
    }
    MutexLock lock(mu_);
    --num_resident_;
    return status;
  }
  catalog_->Publish(std::move(prepared));
  draining_ = std::exchange(serving_, std::move(snapshot));
  {
    MutexLock lock(mu_);
    serving_manifest_ = serving_->manifest();
    serving_since_ms_ = options_.now_ms();
  }
  if (draining_ != nullptr) SetState(draining_->version(), SnapshotState::kDraining);
  SetState(version, SnapshotState::kServing);
  spdlog::info("snapshot {} serves: {} items of dimension {}, {} users, {:.1f} MB, loaded in {:.0f} ms",
               version, serving_->num_items(), serving_->dim(), serving_->manifest().num_users,
               static_cast<double>(serving_->size_bytes()) / 1e6,
               absl::ToDoubleMilliseconds(absl::Now() - start));
  if (draining_ == nullptr && options_.on_first_serving) options_.on_first_serving();
  FinishDraining();
  return absl::OkStatus();
}

absl::Status SnapshotManager::CheckEventTypes(const ModelSnapshot& snapshot) const {
  for (const EventType& type : snapshot.manifest().event_types) {
    const EventType* ours = event_types_.FindById(type.id);
    if (ours != nullptr && ours->name != type.name) {
      return absl::FailedPreconditionError(absl::StrCat("event type ", int{type.id}, " is \"", type.name,
                                                        "\" in the snapshot and \"", ours->name,
                                                        "\" in this server's configuration"));
    }
  }
  return absl::OkStatus();
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
  if (draining_ == nullptr) return true;
  if (draining_.use_count() > 1) return false;
  const int64_t version = draining_->version();
  draining_.reset();  // the last reference: unmapped on this thread
  if (absl::Status status = database_->DropUserVectors(version); !status.ok()) {
    spdlog::warn("user vectors of snapshot {}: {}", version, std::string(status.message()));
  }
  {
    MutexLock lock(mu_);
    --num_resident_;
  }
  spdlog::info("snapshot {} is retired", version);
  SetState(version, SnapshotState::kRetired);
  return true;
}

void SnapshotManager::WaitForDraining() {
  while (!FinishDraining()) {
    MutexLock lock(mu_);
    if (stopping_) return;
    wake_.WaitFor(mu_, kDrainPoll);
  }
}

void SnapshotManager::DeleteOldVersions() {
  std::vector<int64_t> never = {serving_->version()};
  if (draining_ != nullptr) never.push_back(draining_->version());
  {
    MutexLock lock(mu_);
    if (pinned_.has_value()) never.push_back(*pinned_);
  }
  absl::StatusOr<std::vector<int64_t>> deleted = directory_.DeleteOld(options_.keep_versions, never);
  if (!deleted.ok()) {
    spdlog::warn("cannot delete old snapshots: {}", std::string(deleted.status().message()));
    return;
  }
  for (const int64_t version : *deleted) {
    spdlog::info("snapshot {} was deleted: {} versions are kept", version, options_.keep_versions);
    MutexLock lock(mu_);
    states_.erase(version);
  }
}

void SnapshotManager::DropUnusedUserVectors() {
  absl::StatusOr<std::vector<int64_t>> versions = database_->IngestedVersions();
  if (!versions.ok()) return;
  for (const int64_t version : *versions) {
    if (serving_ != nullptr && serving_->version() == version) continue;
    if (absl::Status status = database_->DropUserVectors(version); !status.ok()) {
      spdlog::warn("user vectors of snapshot {}: {}", version, std::string(status.message()));
    }
  }
}

void SnapshotManager::LoadSnapshot(int64_t version, Done done) {
  absl::Status refused;
  {
    MutexLock lock(mu_);
    if (stopping_) {
      refused = absl::UnavailableError("the server is shutting down");
    } else if (busy_ || command_.has_value()) {
      refused = absl::AbortedError("another load is in progress");
    } else {
      command_ = Command{version, std::move(done)};
    }
  }
  if (!refused.ok()) return done(std::move(refused));
  wake_.NotifyAll();
}

SnapshotSummary SnapshotManager::Summary(int64_t version) const {
  SnapshotSummary summary;
  summary.version = version;
  {
    MutexLock lock(mu_);
    if (const auto it = states_.find(version); it != states_.end()) {
      summary.state = it->second.state;
      summary.error = it->second.error;
    }
    summary.pinned = pinned_ == version;
    if (serving_manifest_.has_value() && serving_manifest_->version == version) {
      summary.manifest = serving_manifest_;
    }
  }
  if (!summary.manifest.has_value()) {
    if (absl::StatusOr<Manifest> manifest = ReadManifest(directory_.VersionPath(version)); manifest.ok()) {
      summary.manifest = *std::move(manifest);
    }
  }
  return summary;
}

absl::StatusOr<std::vector<SnapshotSummary>> SnapshotManager::List() const {
  SWIFTLET_ASSIGN_OR_RETURN(std::vector<int64_t> versions, directory_.ListVersions());
  {
    // In memory, but gone from disk: still there for requests.
    MutexLock lock(mu_);
    for (const auto& [version, status] : states_) {
      if (status.state == SnapshotState::kServing || status.state == SnapshotState::kDraining) {
        versions.push_back(version);
      }
    }
  }
  std::sort(versions.rbegin(), versions.rend());
  versions.erase(std::unique(versions.begin(), versions.end()), versions.end());
  std::vector<SnapshotSummary> summaries;
  summaries.reserve(versions.size());
  for (const int64_t version : versions) summaries.push_back(Summary(version));
  return summaries;
}

std::optional<SnapshotSummary> SnapshotManager::Serving() const {
  MutexLock lock(mu_);
  if (!serving_manifest_.has_value()) return std::nullopt;
  SnapshotSummary summary;
  summary.version = serving_manifest_->version;
  summary.state = SnapshotState::kServing;
  summary.manifest = serving_manifest_;
  summary.pinned = pinned_ == summary.version;
  return summary;
}

std::string SnapshotManager::last_error() const {
  MutexLock lock(mu_);
  return last_error_;
}

int SnapshotManager::num_resident() const {
  MutexLock lock(mu_);
  return num_resident_;
}

int64_t SnapshotManager::serving_since_ms() const {
  MutexLock lock(mu_);
  return serving_since_ms_;
}

}  // namespace swiftlet
