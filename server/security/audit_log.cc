#include "server/security/audit_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "spdlog/sinks/basic_file_sink.h"
#include "spdlog/spdlog.h"

namespace swiftlet {

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(const std::string& path) {
  std::unique_ptr<AuditLog> log(new AuditLog(path));
  MutexLock lock(log->mu_);
  SWIFTLET_RETURN_IF_ERROR(log->OpenFile());
  return log;
}

absl::Status AuditLog::OpenFile() {
  if (path_.empty()) {
    const auto& sinks = spdlog::default_logger()->sinks();
    logger_ = std::make_shared<spdlog::logger>("audit", sinks.begin(), sinks.end());
  } else {
    // With the mode that spdlog would not give it.
    const int fd = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct stat info = {};
    const bool ok = fd >= 0 && fstat(fd, &info) == 0;
    const int error = errno;
    if (fd >= 0) close(fd);
    if (!ok) {
      return absl::UnavailableError(
          absl::StrCat("audit_log: cannot write ", path_, ": ", std::strerror(error)));
    }
    inode_ = info.st_ino;
    try {
      logger_ = std::make_shared<spdlog::logger>("audit",
                                                 std::make_shared<spdlog::sinks::basic_file_sink_mt>(path_));
    } catch (const spdlog::spdlog_ex& e) {
      return absl::UnavailableError(absl::StrCat("audit_log: ", e.what()));
    }
    logger_->set_pattern("%v");
  }
  logger_->set_level(spdlog::level::info);
  logger_->flush_on(spdlog::level::info);
  return absl::OkStatus();
}

void AuditLog::Write(const AuditRecord& record, const absl::Status& result, absl::Duration took) {
  nlohmann::ordered_json line;
  line["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  line["method"] = std::string(MethodName(record.method));
  line["client"] = record.client;
  line["certificate"] = record.certificate;
  line["peer"] = record.peer;
  line["what"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : record.what) line["what"][name] = value;
  line["result"] = absl::StatusCodeToString(result.code());
  line["error"] = std::string(result.message());
  line["request_id"] = record.request_id;
  line["trace_id"] = record.trace_id;
  line["ms"] = std::round(absl::ToDoubleMilliseconds(took) * 1000) / 1000;
  if (absl::IsUnauthenticated(result) || absl::IsPermissionDenied(result)) {
    const int64_t now_ns = std::chrono::steady_clock::now().time_since_epoch().count();
    if (denials_.Take(now_ns) > 0) {
      num_dropped_.fetch_add(1);
      return;
    }
    if (const uint64_t dropped = num_dropped_.exchange(0); dropped > 0) line["not_kept_before"] = dropped;
  }
  const std::string text = line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  MutexLock lock(mu_);
  struct stat info = {};
  if (!path_.empty() && (stat(path_.c_str(), &info) != 0 || info.st_ino != inode_)) {
    if (absl::Status status = OpenFile(); !status.ok()) {
      spdlog::error("{}; the line: {}", std::string(status.message()), text);
      return;
    }
  }
  logger_->log(spdlog::level::info, path_.empty() ? absl::StrCat("audit: ", text) : text);
}

}  // namespace swiftlet
