#include "client/cli/cli.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/security_flags.h"
#include "client/cli/text.h"
#include "engine/base/trace_parent.h"

namespace swiftlet::cli {
namespace {

constexpr char kDescription[] =
    "swiftlet asks a Swiftlet server for recommendations, records events and looks after its catalogue, "
    "users and "
    "snapshots.";

constexpr char kFooter[] =
    "Examples:\n"
    "  swiftlet recommend 42 -k 5 --explain\n"
    "  swiftlet event add 42 318 --type view\n"
    "  swiftlet --server 10.0.0.7:50051 --tls-ca ca.pem --token-file ops.token status\n"
    "\n"
    "Every command explains itself: swiftlet COMMAND --help.\n"
    "Exit code: 0 done, 1 a call failed, 2 the arguments make no sense.";

// Says what is wrong with the arguments, and where help is: that of the command as far as it was recognised.
int Refuse(const CLI::App& app, const CLI::ParseError& error, CliIo& io) {
  std::string name;
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    absl::StrAppend(&name, name.empty() ? "" : " ", command->get_name());
  }
  std::string reason = error.what();
  const std::vector<std::string> rest = app.remaining(true);
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && !command->get_subcommands({}).empty()) {
    reason =
        rest.empty() ? "a command is missing" : absl::StrCat("there is no command \"", rest.front(), "\"");
  }
  io.err << "swiftlet: " << (name.empty() ? "" : name + ": ") << Printable(reason) << "\nTry: swiftlet "
         << (name.empty() ? "" : name + " ") << "--help\n";
  return kUsage;
}

}  // namespace

int Run(std::vector<std::string> args, CliIo& io) {
  Session session(io);
  CLI::App app(kDescription, "swiftlet");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  app.option_defaults()->always_capture_default();
  app.add_option("--server", session.server, "The server's host:port")->envname("SWIFTLET_SERVER");
  AddSecurityFlags(app, session.security);
  app.add_option(
         "--timeout", session.timeout,
         "How long a call may take, retries included: 500ms, 2s, 1m, or seconds (default 5s; 2m to load a "
         "snapshot, 24h to make or verify a backup)")
      ->check([](const std::string& text) {
        const absl::StatusOr<absl::Duration> timeout = ParseTimeout(text);
        return timeout.ok() ? std::string() : std::string(timeout.status().message());
      });
  app.add_flag("--json", session.json, "Print one JSON object for programs instead of text for people")
      ->default_str("");
  app.add_option(
         "--traceparent", session.traceparent,
         "The trace that the call is a part of (W3C Trace Context); the server's log names it; default: "
         "$TRACEPARENT, if it is one")
      ->check([](const std::string& text) {
        return text.empty() || ParseTraceParent(text).has_value()
                   ? std::string()
                   : absl::StrCat("\"", Printable(text),
                                  "\" is not like 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
      })
      ->type_name("TRACEPARENT")
      ->default_str("");
  app.add_option("--request-id", session.request_id,
                 "What the server's log calls the call; default: it makes one")
      ->type_name("ID")
      ->default_str("");
  app.add_flag("--server-timing", session.server_timing,
               "Say on standard error what the call was called, and where its time went in the server")
      ->default_str("");
  AddRecommendationCommands(app, session);
  AddEventCommands(app, session);
  AddItemCommands(app, session);
  AddUserCommands(app, session);
  AddAdminCommands(app, session);
  AddBackupCommands(app, session);
  AddTokenCommands(app, session);
  AddDoctorCommand(app, session);
  AddHammerCommand(app, session);

  std::reverse(args.begin(), args.end());  // CLI11 takes them from the back
  try {
    app.parse(args);
    // That of somebody else's making which is none is passed over, as the recommendation has it.
    if (const char* const inherited = std::getenv("TRACEPARENT");
        session.traceparent.empty() && inherited != nullptr && ParseTraceParent(inherited).has_value()) {
      session.traceparent = inherited;
    }
  } catch (const CLI::Success& help) {
    app.exit(help, io.out, io.err);
    return kOk;
  } catch (const CLI::ParseError& error) {
    return Refuse(app, error, io);
  }
  const int code = session.command();
  io.out.flush();
  if (session.server_timing && !session.info.request_id.empty()) {
    io.err << "request " << Printable(session.info.request_id) << ": "
           << Printable(session.info.server_timing) << " (milliseconds)\n";
  }
  if (!io.out) {
    io.err << "swiftlet: cannot write the output\n";
    return kFailed;
  }
  return code;
}

}  // namespace swiftlet::cli
