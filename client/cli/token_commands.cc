// swiftlet token new.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
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

// The file with one more line, whole or not at all: a server may read it at any time.
absl::Status AddLine(const std::string& path, const std::string& line) {
  std::string text;
  struct stat info = {};
  info.st_mode = 0600;
  if (stat(path.c_str(), &info) == 0) {
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
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, info.st_mode & 0777);
  const bool written =
      fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
  int error = errno;
  if (fd >= 0) close(fd);
  if (written && std::rename(temporary.c_str(), path.c_str()) == 0) return absl::OkStatus();
  if (written) error = errno;
  if (fd >= 0) unlink(temporary.c_str());
  return absl::UnavailableError(absl::StrCat(path, ": cannot write: ", std::strerror(error)));
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
