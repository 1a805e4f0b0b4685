// swiftlet-server: see `swiftlet-server --help`.
#include <signal.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/doctor.h"
#include "server/flags.h"
#include "server/io_threads.h"
#include "server/logging.h"
#include "server/reload.h"
#include "server/security/accept_limit.h"
#include "server/server.h"
#include "spdlog/spdlog.h"
#include "storage/backup.h"
#include "storage/database.h"

// jemalloc's settings, read before main; MALLOC_CONF in the environment comes after them. Memory that a swap,
// a flush or a change of the catalogue has freed goes back to the system within seconds, by a thread of its
// own: many threads take turns at allocating and freeing, and glibc's arenas then keep several times of what
// is in use.
extern "C" const char* malloc_conf;
const char* malloc_conf = "background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:0";

namespace {

int RunDoctor(const swiftlet::CommandLine& line) {
  const auto findings = line.error.empty() ? swiftlet::Examine(line.options, swiftlet::ReadHostFacts())
                                           : swiftlet::ConfigurationProblems(line.error);
  const bool json = line.action == swiftlet::CommandLine::Action::kDoctorJson;
  std::fputs((json ? swiftlet::FindingsJson(findings) : swiftlet::FindingsText(findings)).c_str(), stdout);
  return swiftlet::HasProblem(findings) ? 1 : 0;
}

int RunBackup(const swiftlet::CommandLine& line) {
  const auto fails = [](const absl::Status& status) {
    std::fprintf(stderr, "swiftlet-server: cannot make a backup: %s\n",
                 std::string(status.message()).c_str());
    return 1;
  };
  const std::string& data_dir = line.options.data_dir;
  if (!std::filesystem::exists(data_dir)) return fails(absl::NotFoundError(data_dir + " is not there"));
  const auto database = swiftlet::Database::Open(
      {.path = data_dir, .max_history_events = static_cast<uint32_t>(line.options.limits.max_history_events)},
      line.options.event_types);
  if (!database.ok()) return fails(database.status());
  const absl::StatusOr<swiftlet::BackupInfo> backup = (*database)->CreateBackup({.directory = line.backups});
  if (!backup.ok()) return fails(backup.status());
  std::printf("%s: backup %u of %s, %.1f MB\n", line.backups.c_str(), backup->id, data_dir.c_str(),
              static_cast<double>(backup->bytes) / 1e6);
  return 0;
}

std::string TimeText(int64_t unix_ms) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(unix_ms), absl::UTCTimeZone());
}

int RunListBackups(const swiftlet::CommandLine& line) {
  const absl::StatusOr<swiftlet::BackupList> list = swiftlet::ListBackups(line.backups);
  if (!list.ok()) {
    std::fprintf(stderr, "swiftlet-server: cannot list the backups: %s\n",
                 std::string(list.status().message()).c_str());
    return 1;
  }
  if (list->backups.empty() && list->damaged.empty()) {
    std::printf("%s: holds no backup\n", line.backups.c_str());
    return 0;
  }
  std::printf("%6s  %-19s  %11s  %6s\n", "Backup", "Made (UTC)", "Size", "Files");
  for (const swiftlet::BackupInfo& backup : list->backups) {
    std::printf("%6u  %-19s  %8.1f MB  %6u\n", backup.id, TimeText(backup.created_ms).c_str(),
                static_cast<double>(backup.bytes) / 1e6, backup.num_files);
  }
  for (const uint32_t id : list->damaged) std::printf("%6u  damaged: it cannot be restored\n", id);
  return 0;
}

int RunRestore(const swiftlet::CommandLine& line) {
  const std::string& data_dir = line.options.data_dir;
  const absl::StatusOr<swiftlet::BackupInfo> backup =
      swiftlet::RestoreBackup(line.backups, line.backup_id, data_dir);
  if (!backup.ok()) {
    std::fprintf(stderr, "swiftlet-server: cannot restore: %s\n",
                 std::string(backup.status().message()).c_str());
    return 1;
  }
  std::printf("%s: restored from backup %u of %s (%s UTC), %.1f MB\n", data_dir.c_str(), backup->id,
              line.backups.c_str(), TimeText(backup->created_ms).c_str(),
              static_cast<double>(backup->bytes) / 1e6);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  using Action = swiftlet::CommandLine::Action;
  const swiftlet::CommandLine line = swiftlet::ParseCommandLine(argc, argv);
  if (line.exit_code.has_value()) {
    if (!line.error.empty()) std::fprintf(stderr, "%s\n", line.error.c_str());
    return *line.exit_code;
  }
  if (line.action == Action::kDoctor || line.action == Action::kDoctorJson) return RunDoctor(line);
  if (line.action == Action::kBackup) return RunBackup(line);
  if (line.action == Action::kRestore) return RunRestore(line);
  if (line.action == Action::kListBackups) return RunListBackups(line);
  swiftlet::InitLogging(line.options.log);
  // Debian's Abseil looks for deadlocks in everybody's absl::Mutex: each of gRPC's keeps a graph of who holds
  // what, under one lock of the whole process; 2 % of the samples of a profile.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  // Blocked before any thread starts, so that every thread inherits it and sigwait gets the signals.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  signal(SIGHUP, SIG_DFL);  // nohup ignores it, and what is ignored nobody can wait for
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  const int64_t max_connections = swiftlet::LimitConnections(line.options.max_connections);
  if (max_connections < line.options.max_connections) {
    spdlog::warn("limits.max_connections: {} at most, by the hard limit of descriptors (ulimit -Hn)",
                 max_connections);
  }
  const swiftlet::IoThreads io_threads(line.options.num_io_threads);
  absl::StatusOr<std::unique_ptr<swiftlet::Server>> server = swiftlet::Server::Start(line.options);
  if (!server.ok()) {
    spdlog::critical("cannot start: {}", std::string(server.status().message()));
    return 1;
  }
  spdlog::debug("calls are read by {} threads", io_threads.num_threads());
  int signal_number = 0;
  while (sigwait(&signals, &signal_number) == 0 && signal_number == SIGHUP) {
    if (!line.has_config_file) {
      (*server)->ReloadFiles();
      continue;
    }
    const swiftlet::CommandLine again = swiftlet::ParseCommandLine(argc, argv);
    if (again.exit_code.has_value()) {
      (*server)->RefuseReload(again.error);
    } else {
      (*server)->Reload(again.options, swiftlet::ChangedFields(line.config, again.config));
    }
  }
  spdlog::info("signal {}: draining", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
  (*server)->Shutdown();
  server->reset();
  spdlog::info("stopped");
  return 0;
}
