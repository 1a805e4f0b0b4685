#include "server/snapshot_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "server/snapshot_files.h"

namespace swiftlet {

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

void SnapshotRegistry::SetState(int64_t version, SnapshotState state) {
  MutexLock lock(mu_);
  states_[version] = {.state = state, .failure = {}};
}

void SnapshotRegistry::SetFailed(int64_t version, SnapshotFailure failure) {
  MutexLock lock(mu_);
  last_error_ = absl::StrCat("snapshot ", version, ": ", failure.reason);
  states_[version] = {.state = SnapshotState::kFailed, .failure = std::move(failure)};
}

void SnapshotRegistry::Forget(int64_t version) {
  MutexLock lock(mu_);
  states_.erase(version);
}

void SnapshotRegistry::SetServing(const Manifest& manifest, int64_t since_ms) {
  MutexLock lock(mu_);
  serving_ = manifest;
  serving_since_ms_ = since_ms;
}

bool SnapshotRegistry::SetPinned(std::optional<int64_t> version) {
  MutexLock lock(mu_);
  return std::exchange(pinned_, version) != version;
}

void SnapshotRegistry::SetLastError(std::string error) {
  MutexLock lock(mu_);
  last_error_ = std::move(error);
}

void SnapshotRegistry::AddResident(int change) {
  MutexLock lock(mu_);
  num_resident_ += change;
}

bool SnapshotRegistry::ShouldSkip(int64_t version, const std::string& current_stamp) const {
  const std::string files = FilesStamp(directory_, version);
  MutexLock lock(mu_);
  const auto it = states_.find(version);
  if (it == states_.end() || it->second.state != SnapshotState::kFailed) return false;
  const SnapshotFailure& failure = it->second.failure;
  return failure.files == files && failure.current == current_stamp && absl::Now() < failure.retry_at;
}

std::vector<int64_t> SnapshotRegistry::UselessVersions() const {
  std::map<int64_t, std::string> refused;
  {
    MutexLock lock(mu_);
    for (const auto& [version, status] : states_) {
      if (status.state == SnapshotState::kFailed && status.failure.retry_at == absl::InfiniteFuture()) {
        refused[version] = status.failure.files;
      }
    }
  }
  std::vector<int64_t> useless;
  for (const auto& [version, files] : refused) {
    if (FilesStamp(directory_, version) == files) useless.push_back(version);
  }
  for (const int64_t version : directory_.ListVersions().value_or(std::vector<int64_t>())) {
    if (!refused.contains(version) && !HasItsFiles(directory_, version)) useless.push_back(version);
  }
  return useless;
}

std::optional<int64_t> SnapshotRegistry::pinned() const {
  MutexLock lock(mu_);
  return pinned_;
}

SnapshotSummary SnapshotRegistry::Summary(int64_t version) const {
  SnapshotSummary summary;
  summary.version = version;
  {
    MutexLock lock(mu_);
    if (const auto it = states_.find(version); it != states_.end()) {
      summary.state = it->second.state;
      summary.error = it->second.failure.reason;
    }
    summary.pinned = pinned_ == version;
    if (serving_.has_value() && serving_->version == version) summary.manifest = serving_;
  }
  if (!summary.manifest.has_value()) {
    if (absl::StatusOr<Manifest> manifest = ReadManifest(directory_.VersionPath(version)); manifest.ok()) {
      summary.manifest = *std::move(manifest);
    }
  }
  return summary;
}

absl::StatusOr<std::vector<SnapshotSummary>> SnapshotRegistry::List() const {
  SWIFTLET_ASSIGN_OR_RETURN(std::vector<int64_t> versions, directory_.ListVersions());
  const std::vector<int64_t> on_disk = versions;
  {
    // In memory, but gone from disk: still there for requests. A pin says what is wanted.
    MutexLock lock(mu_);
    if (serving_.has_value()) versions.push_back(serving_->version);
    if (pinned_.has_value()) versions.push_back(*pinned_);
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
  for (const int64_t version : versions) {
    SnapshotSummary& summary = summaries.emplace_back(Summary(version));
    if (std::find(on_disk.begin(), on_disk.end(), version) == on_disk.end() &&
        (summary.state == SnapshotState::kAvailable || summary.state == SnapshotState::kRetired)) {
      summary.state = SnapshotState::kFailed;
      summary.error = absl::StrCat("is not in ", directory_.path());
    }
  }
  return summaries;
}

std::optional<SnapshotSummary> SnapshotRegistry::Serving() const {
  MutexLock lock(mu_);
  if (!serving_.has_value()) return std::nullopt;
  SnapshotSummary summary;
  summary.version = serving_->version;
  summary.state = SnapshotState::kServing;
  summary.manifest = serving_;
  summary.pinned = pinned_ == summary.version;
  return summary;
}

int64_t SnapshotRegistry::serving_since_ms() const {
  MutexLock lock(mu_);
  return serving_since_ms_;
}

std::string SnapshotRegistry::last_error() const {
  MutexLock lock(mu_);
  return last_error_;
}

int SnapshotRegistry::num_resident() const {
  MutexLock lock(mu_);
  return num_resident_;
}

}  // namespace swiftlet
