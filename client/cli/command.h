// What the commands of the CLI share. Private to client/cli.
#ifndef SWIFTLET_CLIENT_CLI_COMMAND_H_
#define SWIFTLET_CLIENT_CLI_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/cli.h"
#include "client/client.h"
#include "google/protobuf/message.h"

namespace swiftlet::cli {

// One run of the CLI. One thread.
struct Session {
  explicit Session(CliIo& streams) : io(streams) {}

  CliIo& io;
  // The global flags.
  std::string server = "127.0.0.1:50051";
  ChannelSecurityFiles security;
  std::string timeout;
  bool json = false;
  std::string traceparent, request_id;
  bool server_timing = false;
  mutable CallInfo info;  // of the call that ended last
  // Set by the command that the arguments chose; called after parsing.
  std::function<int()> command;

  // A client of `server`; null after the failure has been reported.
  std::unique_ptr<Client> Connect(std::string_view command_name);
  // Deadline of one call: --timeout, else `fallback`.
  CallOptions Call(absl::Duration fallback = absl::Seconds(5)) const;
  // Writes "swiftlet: <command>: INVALID_ARGUMENT: <message>" and returns kFailed. Where the server was not
  // reached the address is part of the message; where it is at fault, the id by which its log names the call.
  int Fail(std::string_view command_name, const absl::Status& status) const;
  // Writes "swiftlet: <command>: <message>" and returns kUsage.
  int Usage(std::string_view command_name, std::string_view message) const;
  // Writes `message` in protobuf's JSON mapping, with the names of the .proto files and fields of default
  // value included.
  int PrintJson(const google::protobuf::Message& message) const;
};

// The protobuf JSON mapping that --json prints.
std::string ToJson(const google::protobuf::Message& message);

// Adds a subcommand whose help ends with `example`. `run` is what it does.
CLI::App* AddCommand(CLI::App& parent, Session& session, const std::string& name,
                     const std::string& description, const std::string& example, std::function<int()> run);
// An option that may be given many times, one value each time.
CLI::Option* AddRepeated(CLI::App* app, const std::string& name, std::vector<std::string>& values,
                         const std::string& description);

// Validators: a whole number of at least `least`; a number of seconds of at least 0, or more than 0.
CLI::Validator WholeNumber(int64_t least);
CLI::Validator SecondsFrom0();
CLI::Validator PositiveSeconds();

// "500ms", "2s", "1m", or a number of seconds. Must be positive.
absl::StatusOr<absl::Duration> ParseTimeout(std::string_view text);
// Milliseconds since the epoch, or RFC 3339 ("2026-11-22T03:38:27Z"), to milliseconds.
absl::StatusOr<int64_t> ParseTime(std::string_view text);
// ITEM, ITEM:TYPE or ITEM:TYPE:VALUE; a backslash before a colon makes it part of the id. The type is "view"
// when it is not given.
absl::StatusOr<v1::Event> ParseHistoryEvent(std::string_view text);
absl::Status ParseHistory(const std::vector<std::string>& texts, v1::InlineHistory& history);

// One function per group of commands.
void AddRecommendationCommands(CLI::App& app, Session& session);
void AddEventCommands(CLI::App& app, Session& session);
void AddItemCommands(CLI::App& app, Session& session);
void AddUserCommands(CLI::App& app, Session& session);
void AddAdminCommands(CLI::App& app, Session& session);
void AddBackupCommands(CLI::App& app, Session& session);
void AddTokenCommands(CLI::App& app, Session& session);
void AddHammerCommand(CLI::App& app, Session& session);
void AddDoctorCommand(CLI::App& app, Session& session);

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_COMMAND_H_
