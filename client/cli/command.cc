#include "client/cli/command.h"

#include <google/protobuf/util/json_util.h>

#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/security_flags.h"
#include "client/cli/text.h"
#include "client/rpc_status.h"

namespace swiftlet::cli {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

std::unique_ptr<Client> Session::Connect(std::string_view command_name) {
  absl::StatusOr<ChannelSecurity> how = ResolveSecurity(security);
  if (!how.ok()) {
    Fail(command_name, how.status());
    return nullptr;
  }
  absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect({.address = server, .user_agent = "swiftlet-cli", .security = *std::move(how)});
  if (client.ok()) return *std::move(client);
  Fail(command_name, client.status());
  return nullptr;
}

CallOptions Session::Call(absl::Duration fallback) const {
  return {.timeout = timeout.empty() ? fallback : ParseTimeout(timeout).value_or(fallback),
          .traceparent = traceparent,
          .request_id = request_id,
          .server_timing = server_timing,
          .info = &info};
}

int Session::Fail(std::string_view command_name, const absl::Status& status) const {
  const bool unreached = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
  const std::string message = unreached ? std::string(status.message()) : ServerMessage(status);
  const bool in_log = absl::IsInternal(status) || absl::IsUnknown(status) || absl::IsDataLoss(status);
  io.err << "swiftlet: " << command_name << ": " << CodeName(status.code()) << ": " << Printable(message)
         << (in_log && !info.request_id.empty() ? " (request " + Printable(info.request_id) + ")" : "")
         << "\n";
  return kFailed;
}

int Session::Usage(std::string_view command_name, std::string_view message) const {
  io.err << "swiftlet: " << command_name << ": " << message << "\nTry: swiftlet " << command_name
         << " --help\n";
  return kUsage;
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // Only an Any of an unknown type can fail, and the API has none.
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) json = "{}\n";
  return json;
}

int Session::PrintJson(const google::protobuf::Message& message) const {
  io.out << ToJson(message);
  return kOk;
}

CLI::App* AddCommand(CLI::App& parent, Session& session, const std::string& name,
                     const std::string& description, const std::string& example, std::function<int()> run) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->footer("Example:\n" + example);
  command->callback([&session, run = std::move(run)] { session.command = run; });
  return command;
}

CLI::Option* AddRepeated(CLI::App* app, const std::string& name, std::vector<std::string>& values,
                         const std::string& description) {
  return app->add_option(name, values, description + " (may be repeated)")
      ->allow_extra_args(false)
      ->default_str("");
}

CLI::Validator WholeNumber(int64_t least) {
  return CLI::Validator(
      [least](const std::string& text) {
        int64_t number = 0;
        if (absl::SimpleAtoi(text, &number) && number >= least) return std::string();
        return absl::StrCat("\"", text, "\" is not a whole number of at least ", least);
      },
      "");
}

CLI::Validator SecondsFrom0() {
  return CLI::Validator(
      [](const std::string& text) {
        double seconds = 0;
        if (absl::SimpleAtod(text, &seconds) && std::isfinite(seconds) && seconds >= 0) return std::string();
        return absl::StrCat("\"", text, "\" is not a number of seconds");
      },
      "");
}

CLI::Validator PositiveSeconds() {
  return CLI::Validator(
      [](const std::string& text) {
        double seconds = 0;
        if (absl::SimpleAtod(text, &seconds) && std::isfinite(seconds) && seconds > 0) return std::string();
        return absl::StrCat("\"", text, "\" is not a positive number of seconds");
      },
      "");
}

absl::StatusOr<absl::Duration> ParseTimeout(std::string_view text) {
  absl::Duration timeout;
  double seconds = 0;
  if (absl::SimpleAtod(View(text), &seconds) && std::isfinite(seconds)) {
    timeout = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(View(text), &timeout)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(text), "\" is not a duration such as 500ms, 2s or 1m"));
  }
  if (timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text), "\" is not positive"));
  }
  return timeout;
}

absl::StatusOr<int64_t> ParseTime(std::string_view text) {
  int64_t timestamp_ms = 0;
  if (absl::SimpleAtoi(View(text), &timestamp_ms)) return timestamp_ms;
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, View(text), &time, &error)) return absl::ToUnixMillis(time);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", std::string(text),
                   "\" is neither milliseconds since 1970 nor a time such as 2026-11-22T03:38:27Z"));
}

absl::StatusOr<v1::Event> ParseHistoryEvent(std::string_view text) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == ':' || text[i + 1] == '\\')) {
      parts.back() += text[++i];
    } else if (text[i] == ':') {
      parts.emplace_back();
    } else {
      parts.back() += text[i];
    }
  }
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("history event \"", std::string(text), "\": ", std::string(why),
                     "; expected ITEM[:TYPE[:VALUE]] (a colon of the item's id is written \\:)"));
  };
  if (parts.size() > 3) return refuse("more than three parts");
  if (parts[0].empty()) return refuse("no item");
  v1::Event event;
  event.set_item_id(parts[0]);
  event.set_type(parts.size() > 1 ? parts[1] : "view");
  if (event.type().empty()) return refuse("no type after the colon");
  if (parts.size() > 2) {
    float value = 0;
    if (!absl::SimpleAtof(parts[2], &value) || !std::isfinite(value)) return refuse("the value is no number");
    event.set_value(value);
  }
  return event;
}

absl::Status ParseHistory(const std::vector<std::string>& texts, v1::InlineHistory& history) {
  for (const std::string& text : texts) {
    absl::StatusOr<v1::Event> event = ParseHistoryEvent(text);
    if (!event.ok()) return event.status();
    *history.add_events() = *std::move(event);
  }
  return absl::OkStatus();
}

}  // namespace swiftlet::cli
