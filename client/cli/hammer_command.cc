// swiftlet hammer.
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/command.h"
#include "client/cli/hammer.h"
#include "client/cli/text.h"

namespace swiftlet::cli {
namespace {

struct Flags {
  double seconds = 10;
  int threads = 2;
  int k = 10;
  std::string users;
  int64_t until_version = 0;
  bool allow_rollback = false;
  bool expect_stable = false;
};

// A file with one id a line, or ids between commas.
absl::StatusOr<std::vector<std::string>> ReadUsers(const std::string& text) {
  std::vector<std::string> users;
  std::error_code error;
  if (std::filesystem::exists(text, error)) {
    std::ifstream file(text);
    for (std::string line; std::getline(file, line);) {
      line = std::string(absl::StripAsciiWhitespace(line));
      if (!line.empty()) users.push_back(line);
    }
  } else {
    users = absl::StrSplit(text, ',', absl::SkipEmpty());
  }
  if (users.empty()) return absl::InvalidArgumentError(absl::StrCat("no user ids in \"", text, "\""));
  return users;
}

nlohmann::json ToJson(const HammerReport& report) {
  nlohmann::json versions = nlohmann::json::object();
  for (const auto& [version, calls] : report.calls_by_version) versions[absl::StrCat(version)] = calls;
  return {{"calls", report.num_calls},
          {"failures", report.num_failures},
          {"failure_reasons", report.failures},
          {"seconds", report.seconds},
          {"p50_ms", report.p50_ms},
          {"p99_ms", report.p99_ms},
          {"max_ms", report.max_ms},
          {"versions", versions},
          {"calls_per_second", static_cast<double>(report.num_calls) / report.seconds}};
}

void PrintReport(const HammerReport& report, std::ostream& out) {
  out << absl::StrFormat(
             "%s in %.1f s (%s a second), %s failed\n", Count(report.num_calls, "call"), report.seconds,
             WithThousands(static_cast<int64_t>(static_cast<double>(report.num_calls) / report.seconds)),
             report.num_failures == 0 ? "none" : WithThousands(report.num_failures))
      << absl::StrFormat("Latency: half within %.3f ms, 99 %% within %.3f ms, longest %.3f ms\n",
                         report.p50_ms, report.p99_ms, report.max_ms);
  for (const auto& [version, calls] : report.calls_by_version) {
    out << "Snapshot " << version << ": " << Count(calls, "answer") << "\n";
  }
  for (const auto& [reason, calls] : report.failures) {
    out << "Failed: " << Printable(reason) << " (" << Count(calls, "call") << ")\n";
  }
}

int RunCommand(Session& session, const Flags& flags) {
  absl::StatusOr<std::vector<std::string>> users = ReadUsers(flags.users);
  if (!users.ok()) return session.Usage("hammer", absl::StrCat("--users: ", users.status().message()));
  const std::unique_ptr<Client> client = session.Connect("hammer");
  if (client == nullptr) return kFailed;
  HammerOptions options;
  options.duration = absl::Seconds(flags.seconds);
  options.num_threads = flags.threads;
  options.users = *std::move(users);
  options.k = flags.k;
  options.call = session.Call();
  if (flags.until_version > 0) options.until_version = flags.until_version;
  options.allow_rollback = flags.allow_rollback;
  options.expect_stable = flags.expect_stable;
  const HammerReport report = RunHammer(*client, options);
  if (session.json) {
    session.io.out << ToJson(report).dump(1) << "\n";
  } else {
    PrintReport(report, session.io.out);
  }
  if (report.num_failures > 0) {
    session.io.err << "swiftlet: hammer: " << Count(report.num_failures, "call") << " failed\n";
    return kFailed;
  }
  if (options.until_version && !report.until_version_seen) {
    session.io.err << "swiftlet: hammer: no answer of snapshot " << flags.until_version << " was seen\n";
    return kFailed;
  }
  return kOk;
}

}  // namespace

void AddHammerCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* hammer = AddCommand(app, session, "hammer",
                                "Asks for recommendations without pause and checks every answer: a smoke "
                                "check while snapshots are swapped.\n"
                                "A call fails by its status, by other than k items, an item twice, or a "
                                "snapshot older than one that has\n"
                                "answered before. Exit code 1 when any call failed.",
                                "  swiftlet hammer --users 1,2,3 --threads 4 --seconds 30 --until-version 2",
                                [&session, flags] { return RunCommand(session, *flags); });
  hammer
      ->add_option("--users", flags->users, "A file with one user id a line, or ids with commas between them")
      ->required()
      ->type_name("FILE|ID,...")
      ->default_str("");
  hammer->add_option("--seconds", flags->seconds, "How long, at most")->check(PositiveSeconds());
  hammer->add_option("--threads", flags->threads, "Calls in flight")->check(CLI::Range(1, 256));
  hammer->add_option("-k", flags->k, "Items of a request");
  hammer
      ->add_option("--until-version", flags->until_version,
                   "Stop a second after this snapshot first answered; it is a failure if it never does")
      ->check(WholeNumber(1))
      ->default_str("");
  hammer->add_flag("--allow-rollback", flags->allow_rollback, "An older snapshot may follow a newer one");
  hammer->add_flag(
      "--expect-stable", flags->expect_stable,
      "Nobody writes meanwhile: a user must get the same items and scores from the same snapshot");
}

}  // namespace swiftlet::cli
