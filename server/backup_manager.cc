#include "server/backup_manager.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

constexpr double kMegabyte = 1e6;

// As storage's, but a directory that is not there holds none.
absl::StatusOr<BackupList> ReadList(const std::string& directory) {
  absl::StatusOr<BackupList> list = ListBackups(directory);
  if (absl::IsNotFound(list.status())) return BackupList();
  return list;
}

// Null: nothing to count. A verification fails by damage alone, since an alert says so: not by a number that
// is none of a backup, and not by a disk that is not there.
std::optional<BackupResult> ResultOf(BackupWork work, const absl::Status& status, bool wanted) {
  if (status.ok()) return BackupResult::kOk;
  if (!wanted) return BackupResult::kStopped;
  if (work == BackupWork::kVerify && !absl::IsDataLoss(status)) return std::nullopt;
  return BackupResult::kFailed;
}

}  // namespace

BackupManager::BackupManager(BackupSettings settings, Database* database, ServerMetrics* metrics,
                             std::function<int64_t()> now_ms)
    : database_(database), metrics_(metrics), now_ms_(std::move(now_ms)) {
  // Which looks for the newest, but not here: a directory of a network may take its time, and the server
  // starts without it.
  SetSettings(std::move(settings));
}

BackupManager::~BackupManager() { Stop(); }

void BackupManager::Stop() { stopping_.store(true); }

void BackupManager::LookForNewest() {
  const std::string directory = Settings().directory;
  const absl::StatusOr<BackupList> list = ReadList(directory);
  if (!list.ok()) {
    spdlog::warn("backup.directory: {}", std::string(list.status().message()));
    return;
  }
  if (list->backups.empty()) return;
  MutexLock lock(mu_);
  if (settings_.directory != directory) return;  // by now
  newest_ = BackupDone{.backup = list->backups.back(), .took = absl::ZeroDuration()};
}

BackupSettings BackupManager::Settings() const {
  MutexLock lock(mu_);
  return settings_;
}

void BackupManager::SetSettings(BackupSettings settings) {
  {
    MutexLock lock(mu_);
    std::swap(settings_, settings);
    if (settings_.directory == settings.directory) return;
    newest_.reset();
    last_error_.clear();
    found_damaged_.clear();
    if (settings_.directory.empty()) return;
  }
  thread_.Schedule([this] { LookForNewest(); });
}

absl::StatusOr<BackupState> BackupManager::List() {
  const std::string directory = Settings().directory;
  if (directory.empty()) return absl::FailedPreconditionError("backup.directory is not configured");
  BackupState state;
  for (bool listed = false; !listed;) {
    if (directory_mu_.TryLock()) {
      absl::StatusOr<BackupList> list = ReadList(directory);
      directory_mu_.Unlock();
      if (!list.ok()) return list.status();
      state.list = *std::move(list);
      listed = true;
    } else {
      // Held for long only while a backup is made.
      MutexLock lock(mu_);
      listed = before_.has_value();
      if (listed) state.list = *before_;
    }
    if (!listed) absl::SleepFor(absl::Milliseconds(1));
  }
  {
    MutexLock lock(mu_);
    state.running = running_;
    state.last_error = last_error_;
    state.found_damaged = found_damaged_;
  }
  if (state.running.has_value()) state.running->num_bytes = num_bytes_.load();
  return state;
}

BackupGauges BackupManager::Gauges() {
  BackupGauges gauges;
  MutexLock lock(mu_);
  gauges.expected_every_seconds = absl::ToInt64Seconds(settings_.expected_every);
  gauges.running = running_.has_value();
  if (newest_.has_value()) {
    gauges.last_success_ms = newest_->backup.created_ms;
    gauges.last_seconds = absl::ToDoubleSeconds(newest_->took);
    gauges.last_bytes = newest_->backup.bytes;
  }
  return gauges;
}

void BackupManager::Create(Wanted wanted, OnDone done) {
  Start(BackupWork::kCreate, std::move(wanted), std::move(done),
        [this](const BackupSettings& settings, const BackupProgress& progress) {
          return MakeBackup(settings, progress);
        });
}

void BackupManager::Verify(uint32_t id, Wanted wanted, OnDone done) {
  Start(BackupWork::kVerify, std::move(wanted), std::move(done),
        [this, id](const BackupSettings& settings, const BackupProgress& progress) {
          return Check(settings, id, progress);
        });
}

absl::StatusOr<BackupInfo> BackupManager::Check(const BackupSettings& settings, uint32_t id,
                                                const BackupProgress& progress) {
  if (id == 0) {  // by its number, so that it is known which one is damaged
    SWIFTLET_ASSIGN_OR_RETURN(const BackupList list, ReadList(settings.directory));
    if (!list.backups.empty()) id = list.backups.back().id;
  }
  absl::StatusOr<BackupInfo> verified = VerifyBackup(settings.directory, id, progress);
  MutexLock lock(mu_);
  if (settings_.directory != settings.directory) return verified;  // by now
  if (verified.ok()) found_damaged_.erase(verified->id);
  if (absl::IsDataLoss(verified.status())) found_damaged_.insert(id);
  return verified;
}

absl::StatusOr<BackupInfo> BackupManager::MakeBackup(const BackupSettings& settings,
                                                     const BackupProgress& progress) {
  MutexLock directory_lock(directory_mu_);
  SWIFTLET_ASSIGN_OR_RETURN(BackupList before, ReadList(settings.directory));
  std::set<uint32_t> damaged;
  {
    MutexLock lock(mu_);
    if (settings_.directory == settings.directory) damaged = found_damaged_;
    // Those that are too many go before the new one is made.
    const std::vector<uint32_t> gone = TooMany(before.backups, settings.keep, damaged);
    std::erase_if(before.backups, [&](const BackupInfo& backup) {
      return std::binary_search(gone.begin(), gone.end(), backup.id);
    });
    before_ = std::move(before);
  }
  absl::StatusOr<BackupInfo> made = database_->CreateBackup({.directory = settings.directory,
                                                             .bytes_per_second = settings.bytes_per_second,
                                                             .keep = settings.keep,
                                                             .damaged = std::move(damaged),
                                                             .progress = progress});
  MutexLock lock(mu_);
  before_.reset();
  return made;
}

void BackupManager::Start(BackupWork kind, Wanted wanted, OnDone done, Work work) {
  absl::Status refused;
  if (directory().empty()) {
    refused = absl::FailedPreconditionError("backup.directory is not configured");
  } else if (stopping_.load()) {
    refused = absl::UnavailableError("the server is shutting down");
  } else {
    MutexLock lock(mu_);
    if (running_.has_value()) {
      refused = absl::AbortedError(running_->work == BackupWork::kCreate ? "a backup is being made"
                                                                         : "a backup is being verified");
    } else {
      running_ = {.work = kind, .start_time_ms = now_ms_(), .num_bytes = 0};
      num_bytes_.store(0);
    }
  }
  if (!refused.ok()) return done(refused);
  thread_.Schedule([this, kind, wanted = std::move(wanted), done = std::move(done), work = std::move(work)] {
    Run(kind, wanted, done, work);
  });
}

void BackupManager::Run(BackupWork kind, const Wanted& wanted, const OnDone& done, const Work& work) {
  const BackupSettings settings = Settings();
  const auto start = std::chrono::steady_clock::now();
  std::atomic<bool> is_wanted{true};
  const absl::StatusOr<BackupInfo> info = work(settings, [&](uint64_t num_bytes) -> absl::Status {
    num_bytes_.store(num_bytes);
    absl::Status status = stopping_.load() ? absl::UnavailableError("the server is shutting down") : wanted();
    if (!status.ok()) is_wanted.store(false);
    return status;
  });
  const absl::Duration took = absl::FromChrono(std::chrono::steady_clock::now() - start);
  const bool creates = kind == BackupWork::kCreate;
  const std::optional<BackupResult> result = ResultOf(kind, info.status(), is_wanted.load());
  if (result.has_value()) metrics_->CountBackup(kind, *result);
  if (info.ok()) {
    spdlog::info("backup {} {}: {:.1f} MB in {:.2f} s", info->id, creates ? "is made" : "is whole",
                 static_cast<double>(info->bytes) / kMegabyte, absl::ToDoubleSeconds(took));
  } else if (absl::IsNotFound(info.status())) {
    spdlog::warn("a backup was not {}: {}", creates ? "made" : "verified",
                 std::string(info.status().message()));
  } else if (is_wanted.load()) {
    spdlog::error("a backup was not {}: {}", creates ? "made" : "verified",
                  std::string(info.status().message()));
  } else {
    spdlog::warn("a backup was stopped: {}", std::string(info.status().message()));
  }
  {
    MutexLock lock(mu_);
    running_.reset();
    const bool is_current = settings.directory == settings_.directory;
    if (creates && is_current) last_error_ = std::string(info.status().message());
    if (creates && is_current && info.ok()) newest_ = BackupDone{.backup = *info, .took = took};
  }
  if (!info.ok()) return done(info.status());
  done(BackupDone{.backup = *info, .took = took});
}

}  // namespace swiftlet
