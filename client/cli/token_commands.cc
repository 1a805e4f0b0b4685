// swiftlet token new.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/command.h"
#include "client/cli/text.h"
#include "engine/base/status_macros.h"
#include "server/security/token_file.h"
#include "storage/file_handle.h"

namespace swiftlet::cli {
namespace {

struct NewFlags {
  std::string name, roles, expires, file;
};

// "90d", "720h", or a time such as 2027-01-31T00:00:00Z, in milliseconds since 1970.
absl::StatusOr<int64_t> ParseExpiry(const std::string& text) {
  int64_t days = 0;
  absl::Duration after;
  absl::Time at;
  std::string ignored;
  if (text.ends_with('d') && absl::SimpleAtoi(text.substr(0, text.size() - 1), &days) && days > 0 &&
      days <= 36500) {
    at = absl::Now() + absl::Hours(24 * days);
  } else if (absl::ParseDuration(text, &after) && after > absl::ZeroDuration()) {
    at = absl::Now() + after;
  } else if (!absl::ParseTime(absl::RFC3339_full, text, &at, &ignored)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--expires: \"", text,
                     "\" is neither a duration such as 90d nor a time such as 2027-01-31T00:00:00Z"));
  }
  if (at <= absl::Now()) return absl::InvalidArgumentError(absl::StrCat("--expires: ", text, " has passed"));
  return absl::ToUnixSeconds(at) * 1000;
}

// The file with one more line, whole or not at all: a server may read it at any time, and another of these
// may add to it. Who owns it, who may read it and where it is stay as they are.
absl::Status AddLine(const std::string& given, const std::string& line) {
  std::error_code ignored;
  std::filesystem::path target = given;
  for (int links = 0; links < 40 && std::filesystem::is_symlink(target, ignored); ++links) {
    target = target.parent_path() / std::filesystem::read_symlink(target, ignored);
  }
  const std::string path = target.string();
  const auto fail = [&](const char* what) {
    return absl::UnavailableError(absl::StrCat(path, ": ", what, ": ", std::strerror(errno)));
  };
  const std::string directory = target.has_parent_path() ? target.parent_path().string() : ".";
  const FileHandle lock(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (lock.fd() < 0 || flock(lock.fd(), LOCK_EX) != 0) return fail("cannot lock its directory");
  std::string text;
  struct stat info = {};
  const bool exists = stat(path.c_str(), &info) == 0;
  if (exists) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream all;
    all << in.rdbuf();
    if (!in) return absl::UnavailableError(absl::StrCat(path, ": cannot read"));
    text = all.str();
    if (!text.empty() && !text.ends_with('\n')) text += '\n';
  }
  text += line;
  if (absl::Status status = ParseTokenFile(text, path).status(); !status.ok()) return status;
  const std::string temporary = absl::StrCat(path, ".tmp.", getpid());
  const FileHandle file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file.fd() < 0) return fail("cannot write");
  const auto written = [&]() -> absl::Status {
    if (write(file.fd(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      return fail("cannot write");
    if (exists && fchown(file.fd(), info.st_uid, info.st_gid) != 0) return fail("cannot keep its owner");
    if (exists && fchmod(file.fd(), info.st_mode & 0777) != 0) return fail("cannot keep its mode");
    if (fsync(file.fd()) != 0 || std::rename(temporary.c_str(), path.c_str()) != 0)
      return fail("cannot write");
    return absl::OkStatus();
  };
  absl::Status status = written();
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

int RunNew(Session& session, const NewFlags& flags) {
  TokenEntry token;
  token.name = flags.name;
  if (absl::Status status = CheckTokenName(flags.name); !status.ok()) {
    return session.Usage("token new", std::string(status.message()));
  }
  const absl::StatusOr<RoleSet> roles = ParseRoles(flags.roles);
  if (!roles.ok()) return session.Usage("token new", std::string(roles.status().message()));
  token.roles = *roles;
  if (!flags.expires.empty()) {
    const absl::StatusOr<int64_t> expires = ParseExpiry(flags.expires);
    if (!expires.ok()) return session.Usage("token new", std::string(expires.status().message()));
    token.expires_ms = *expires;
  }
  const std::string secret = NewTokenSecret();
  token.digest = Sha256(secret);
  const std::string line = FormatToken(token);
  if (!flags.file.empty()) {
    if (absl::Status status = AddLine(flags.file, line); !status.ok())
      return session.Fail("token new", status);
  }
  if (session.json) {
    session.io.out << nlohmann::json{{"name", token.name},
                                     {"roles", token.roles.ToString()},
                                     {"token", secret},
                                     {"line", line.substr(0, line.size() - 1)}}
                          .dump(1)
                   << "\n";
    return kOk;
  }
  // Nothing but the token, for `> shop.token`.
  session.io.out << secret << "\n";
  session.io.err << "This is the token of " << token.name
                 << ", for its client alone. It is not kept anywhere.\n";
  if (flags.file.empty()) {
    session.io.err << "Add this line to the server's token file:\n" << line;
  } else {
    session.io.err << Printable(flags.file)
                   << " knows it by its hash; servers with this file do within seconds.\n";
  }
  return kOk;
}

}  // namespace

void AddTokenCommands(CLI::App& app, Session& session) {
  CLI::App* token = app.add_subcommand("token", "Tokens that a server asks for (its --token-file)");
  token->require_subcommand(1);
  token->footer("Example:\n  swiftlet token new --name shop --role recommend --file tokens > shop.token");
  const auto flags = std::make_shared<NewFlags>();
  CLI::App* make = AddCommand(*token, session, "new",
                              "Makes a token, prints it once, and adds its hash to a file of tokens",
                              "  swiftlet token new --name shop --role recommend --file tokens > shop.token",
                              [&session, flags] { return RunNew(session, *flags); });
  make->add_option("--name", flags->name, "Who gets it: for logs and rate limits")
      ->required()
      ->type_name("NAME")
      ->default_str("");
  make->add_option("--role", flags->roles, "recommend, ingest, admin, or several separated by commas")
      ->required()
      ->type_name("ROLE")
      ->default_str("");
  make->add_option("--expires", flags->expires, "After so long (90d, 12h), or at a time; default: never")
      ->type_name("WHEN")
      ->default_str("");
  make->add_option("--file", flags->file,
                   "The file of tokens; made when missing. Default: only print its line")
      ->type_name("FILE")
      ->default_str("");
}

}  // namespace swiftlet::cli
