// The doctor: what the configuration names beside data_dir, model_dir and addresses, and who reaches the
// server.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/doctor.h"
#include "server/security/listen_rule.h"
#include "server/security/tls_files.h"
#include "server/security/token_file.h"
#include "storage/backup.h"
#include "storage/data_directory.h"

namespace swiftlet {
namespace fs = std::filesystem;

namespace {

using Verdict = Finding::Verdict;
constexpr absl::Duration kExpiresSoon = absl::Hours(24 * 14);

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", time, absl::UTCTimeZone());
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) return absl::UnavailableError(absl::StrCat(path, ": cannot read: ", std::strerror(errno)));
  return text;
}

void LookAtTls(const SecurityOptions& security, std::vector<Finding>& findings) {
  const std::string about = "security.tls_certificate";
  TlsMaterial material = {.certificate_chain = "", .private_key = "", .client_ca = "", .not_after = {}};
  for (const auto& [path, text] : {std::pair(&security.tls_certificate, &material.certificate_chain),
                                   {&security.tls_private_key, &material.private_key},
                                   {&security.tls_client_ca, &material.client_ca}}) {
    if (path->empty()) continue;
    absl::StatusOr<std::string> read = ReadText(*path);
    if (!read.ok()) {
      findings.push_back({Verdict::kProblem, about, std::string(read.status().message()),
                          "name files that the user that the server runs as may read"});
      return;
    }
    *text = *std::move(read);
  }
  const absl::StatusOr<TlsMaterial> checked = CheckTls(std::move(material), absl::Now());
  if (absl::IsFailedPrecondition(checked.status())) {  // its dates
    findings.push_back(
        {Verdict::kProblem, about, absl::StrCat(security.tls_certificate, ": ", checked.status().message()),
         "put a valid certificate and its key where these are (is the machine's clock right?): a "
         "running server takes them up without a restart"});
    return;
  }
  if (!checked.ok()) {
    findings.push_back({Verdict::kProblem, about, std::string(checked.status().message()),
                        "the certificate, its key and the authorities are PEM files that belong together"});
    return;
  }
  const std::string detail =
      absl::StrCat(security.tls_certificate, " is valid until ", TimeText(checked->not_after),
                   security.tls_client_ca.empty() ? "" : "; clients need certificates, too");
  if (checked->not_after - absl::Now() < kExpiresSoon) {
    findings.push_back({Verdict::kAdvice, about, detail,
                        "renew it: a running server takes the new one up without a restart"});
  } else {
    findings.push_back({Verdict::kOk, about, detail, ""});
  }
}

void LookAtTokens(const std::string& path, std::vector<Finding>& findings) {
  const std::string about = "security.token_file";
  const absl::StatusOr<std::string> text = ReadText(path);
  if (!text.ok()) {
    findings.push_back({Verdict::kProblem, about, std::string(text.status().message()),
                        "make it with `swiftlet token new`, for the user that the server runs as"});
    return;
  }
  const absl::StatusOr<std::vector<TokenEntry>> tokens = ParseTokenFile(*text, path);
  if (!tokens.ok()) {
    findings.push_back({Verdict::kProblem, about, std::string(tokens.status().message()),
                        "`swiftlet token new` writes lines that are right"});
    return;
  }
  size_t num_expired = 0;
  for (const TokenEntry& token : *tokens) {
    if (token.expires_ms != 0 && token.expires_ms <= absl::ToUnixMillis(absl::Now())) ++num_expired;
  }
  findings.push_back(
      {num_expired == 0 ? Verdict::kOk : Verdict::kAdvice, about,
       absl::StrCat(path, " has ", tokens->size(), tokens->size() == 1 ? " token" : " tokens",
                    num_expired == 0 ? "" : absl::StrCat(", ", num_expired, " of them expired")),
       num_expired == 0 ? "" : "give their clients new ones, or delete the lines"});
}

void LookAtBackups(const BackupSettings& settings, std::vector<Finding>& findings) {
  const std::string about = "backup.directory";
  const std::string& path = settings.directory;
  std::error_code error;
  if (!fs::exists(path, error)) {
    findings.push_back({Verdict::kAdvice, about, path + " is not there",
                        "the first `swiftlet backup create` makes it, if its disk is mounted"});
    return;
  }
  const absl::StatusOr<BackupList> list = ListBackups(path);
  if (!list.ok() && !absl::IsNotFound(list.status())) {
    findings.push_back({Verdict::kProblem, about, std::string(list.status().message()), "name another one"});
    return;
  }
  if (access(path.c_str(), W_OK) != 0) {
    findings.push_back({Verdict::kProblem, about,
                        absl::StrCat(path, ": cannot write: ", std::strerror(errno)),
                        "give it to the user that the server runs as"});
    return;
  }
  if (!list.ok() || list->backups.empty()) {
    const bool foreign = !list.ok() && !IsEmptyDirectory(path).value_or(false);
    findings.push_back({foreign ? Verdict::kProblem : Verdict::kAdvice, about,
                        path + (foreign ? " holds other things" : " holds no backup"),
                        foreign ? "name another directory, or one that is not there yet"
                                : "`swiftlet backup create` makes one"});
    return;
  }
  const BackupInfo& newest = list->backups.back();
  const absl::Time made = absl::FromUnixMillis(newest.created_ms);
  const std::string detail =
      absl::StrCat(list->backups.size(), list->backups.size() == 1 ? " backup" : " backups", ", the newest (",
                   newest.id, ") of ", TimeText(made));
  if (!list->damaged.empty()) {
    findings.push_back({Verdict::kAdvice, about,
                        absl::StrCat(detail, "; ", list->damaged.size(), " cannot be restored"),
                        "files are missing there: see after that disk, `swiftlet backup verify`"});
  } else if (settings.expected_every > absl::ZeroDuration() && absl::Now() - made > settings.expected_every) {
    findings.push_back({Verdict::kAdvice, about, detail + ": older than backup.expected_every_hours",
                        "see why nothing calls `swiftlet backup create`"});
  } else {
    findings.push_back({Verdict::kOk, about, detail, ""});
  }
}

// Whether the server can write to a file, or make it; "" or the reason why not. replaced: a new file takes
// its place, so that only its directory counts.
std::string WhyNotWritable(const std::string& path, bool replaced) {
  const auto because = [](const std::string& what, int error) {
    return absl::StrCat(what, ": ", std::strerror(error));
  };
  std::error_code error;
  const fs::file_status found = fs::status(path, error);
  if (fs::is_directory(found)) return because(path, EISDIR);
  if (fs::exists(found) && !replaced) {
    return access(path.c_str(), W_OK) == 0 ? "" : because(path, errno);
  }
  fs::path parent = fs::path(path).parent_path();
  if (parent.empty()) parent = ".";
  if (!fs::is_directory(parent, error)) {
    return because(parent.string(), fs::exists(parent, error) ? ENOTDIR : ENOENT);
  }
  return access(parent.c_str(), W_OK | X_OK) == 0 ? "" : because(parent.string(), errno);
}

}  // namespace

std::vector<Finding> ExamineWrittenFiles(const ServerOptions& options) {
  std::vector<Finding> findings;
  for (const auto& [about, path, replaced] :
       {std::tuple("security.audit_log", &options.security.audit_log, false),
        {"port_file", &options.port_file, true}}) {
    if (path->empty()) continue;
    const std::string reason = WhyNotWritable(*path, replaced);
    if (reason.empty()) {
      findings.push_back({Verdict::kOk, about, absl::StrCat(*path, " can be written"), ""});
    } else {
      findings.push_back({Verdict::kProblem, about, absl::StrCat("cannot write ", *path, ": ", reason),
                          "name a file in a directory that is there, for the user that the server runs as"});
    }
  }
  return findings;
}

std::vector<Finding> ConfigurationProblems(const std::string& errors) {
  std::vector<Finding> findings;
  std::istringstream lines(errors);
  for (std::string line; std::getline(lines, line);) {
    findings.push_back(
        {Verdict::kProblem, "configuration", line,
         "deploy/swiftlet.textproto has every setting with its default; nothing else was looked at"});
  }
  return findings;
}

std::vector<Finding> ExamineSecurity(const ServerOptions& options) {
  std::vector<Finding> findings;
  const SecurityOptions& security = options.security;
  const bool tls = !security.tls_certificate.empty();
  if (tls) LookAtTls(security, findings);
  if (!security.token_file.empty()) LookAtTokens(security.token_file, findings);
  // Without TLS the configuration itself was refused, unless it says that it is meant.
  std::string reached;
  for (const std::string& address : {options.listen_address, options.http.listen_address}) {
    if (!address.empty() && !IsLocalAddress(address)) {
      absl::StrAppend(&reached, reached.empty() ? "" : " or ", address);
    }
  }
  if (!reached.empty() && (!tls || security.token_file.empty())) {
    const std::string whoever = "whoever reaches " + reached;
    const bool tokens = !security.token_file.empty();
    findings.push_back(
        {Verdict::kAdvice, "security",
         tls      ? whoever + " may call everything"
         : tokens ? whoever + " reads what others say, tokens included"
                  : whoever + " may call everything and read what others say",
         tls ? "set security.token_file, unless the network keeps others out"
             : "set security.tls_certificate and security.token_file, unless the network keeps others out"});
  }
  return findings;
}

std::vector<Finding> ExamineBackups(const ServerOptions& options) {
  std::vector<Finding> findings;
  if (options.backup.directory.empty()) {
    findings.push_back({Verdict::kAdvice, "backup.directory", "no backups are made",
                        "set it, on another disk, and call `swiftlet backup create` every day"});
  } else {
    LookAtBackups(options.backup, findings);
  }
  return findings;
}

}  // namespace swiftlet
