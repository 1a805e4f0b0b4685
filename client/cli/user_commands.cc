// swiftlet user get, export, delete.
#include <google/protobuf/util/json_util.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/text.h"

namespace swiftlet::cli {
namespace {

// Titles of the items of a history. They are a courtesy: an item whose title cannot be had has none.
absl::flat_hash_map<std::string, std::string> TitlesOf(const v1::GetUserResponse& user, Client& client,
                                                       const CallOptions& call) {
  constexpr int kMaxItems = 1000;  // of one GetItems call
  absl::flat_hash_set<std::string> ids;
  v1::GetItemsRequest request;
  for (const v1::Event& event : user.events()) {
    if (request.item_ids_size() == kMaxItems) break;
    if (ids.insert(event.item_id()).second) request.add_item_ids(event.item_id());
  }
  absl::flat_hash_map<std::string, std::string> titles;
  if (request.item_ids_size() == 0) return titles;
  const absl::StatusOr<v1::GetItemsResponse> items = client.GetItems(request, call);
  if (!items.ok()) return titles;
  for (const v1::Item& item : items->items()) {
    if (!item.metadata().title().empty()) titles[item.item_id()] = item.metadata().title();
  }
  return titles;
}

struct GetFlags {
  std::string user;
  int max_events = 20;
};

int RunGet(Session& session, const GetFlags& flags) {
  v1::GetUserRequest request;
  request.set_user_id(flags.user);
  request.set_max_events(flags.max_events);
  const std::unique_ptr<Client> client = session.Connect("user get");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::GetUserResponse> user = client->GetUser(request, session.Call());
  if (!user.ok()) return session.Fail("user get", user.status());
  if (session.json) return session.PrintJson(*user);
  session.io.out << "User " << Printable(user->user_id()) << ": " << Count(user->events_size(), "event")
                 << (flags.max_events > 0 && user->events_size() == flags.max_events ? " (the newest)" : "")
                 << ", "
                 << (user->has_long_term_vector() ? "known to the serving snapshot"
                                                  : "without a vector in the serving snapshot")
                 << "\n";
  if (user->events_size() == 0) return kOk;
  const auto titles = TitlesOf(*user, *client, session.Call());
  Table table({{"Time (UTC)"},
               {"Event"},
               {"Value", Table::Align::kRight},
               {"Item"},
               {"Title", Table::Align::kLeft, 60}});
  for (const v1::Event& event : user->events()) {
    const auto title = titles.find(event.item_id());
    table.AddRow({TimeText(event.timestamp_ms()), event.type(), NumberText(event.value()), event.item_id(),
                  title == titles.end() ? "" : title->second});
  }
  session.io.out << "\n";
  table.Print(session.io.out, session.io.out_is_terminal);
  return kOk;
}

int RunExport(Session& session, const std::string& user) {
  v1::ExportUserRequest request;
  request.set_user_id(user);
  const std::unique_ptr<Client> client = session.Connect("user export");
  if (client == nullptr) return kFailed;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  v1::ExportSummary summary;
  const absl::Status status = client->ExportUser(
      request,
      [&](const v1::ExportUserResponse& part) {
        std::string line;
        if (!google::protobuf::util::MessageToJsonString(part, &line, options).ok()) {
          return absl::InternalError("a part of the export has no JSON form");
        }
        session.io.out << line << "\n";
        if (part.has_summary()) summary = part.summary();
        return session.io.out ? absl::OkStatus() : absl::UnavailableError("cannot write the output");
      },
      session.Call(absl::Minutes(10)));
  if (!status.ok()) return session.Fail("user export", status);
  session.io.err << "User " << Printable(user) << ": " << Count(summary.num_history_events(), "event")
                 << " in the history, " << WithThousands(summary.num_logged_events()) << " in the event log"
                 << (summary.erased_ms() > 0
                         ? absl::StrCat(", erased last at ", TimeText(summary.erased_ms()), " UTC")
                         : std::string())
                 << ".\n";
  return kOk;
}

struct DeleteFlags {
  std::string user;
  bool yes = false;
};

int RunDelete(Session& session, const DeleteFlags& flags) {
  if (!flags.yes) {
    if (!session.io.in_is_terminal) {
      return session.Usage("user delete", "erasing a user needs --yes when nobody can be asked");
    }
    session.io.err << "Erase everything that is stored about user " << Printable(flags.user) << "? [y/N] "
                   << std::flush;
    std::string reply;
    std::getline(session.io.in, reply);
    if (reply != "y" && reply != "Y" && reply != "yes") {
      session.io.err << "swiftlet: user delete: nothing was erased\n";
      return kFailed;
    }
  }
  v1::DeleteUserRequest request;
  request.set_user_id(flags.user);
  const std::unique_ptr<Client> client = session.Connect("user delete");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::DeleteUserResponse> answer = client->DeleteUser(request, session.Call());
  if (!answer.ok()) return session.Fail("user delete", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << "User " << Printable(flags.user) << " is erased.\n";
  return kOk;
}

}  // namespace

void AddUserCommands(CLI::App& app, Session& session) {
  CLI::App* user = app.add_subcommand("user", "What the server holds about a user");
  user->require_subcommand(1);
  user->footer("Example:\n  swiftlet user get 42");
  const auto get_flags = std::make_shared<GetFlags>();
  CLI::App* get = AddCommand(*user, session, "get", "A user's stored events, newest first",
                             "  swiftlet user get 42 --max-events 5",
                             [&session, get_flags] { return RunGet(session, *get_flags); });
  get->add_option("user", get_flags->user, "The user's id")->required()->type_name("USER");
  get->add_option("--max-events", get_flags->max_events, "Newest events to show; 0 for all that are kept")
      ->check(WholeNumber(0));
  const auto exported = std::make_shared<std::string>();
  CLI::App* all = AddCommand(
      *user, session, "export", "Everything that is stored about a user, as JSON, a part a line",
      "  swiftlet user export 42 > 42.jsonl", [&session, exported] { return RunExport(session, *exported); });
  all->add_option("user", *exported, "The user's id")->required()->type_name("USER");
  const auto delete_flags = std::make_shared<DeleteFlags>();
  CLI::App* erase =
      AddCommand(*user, session, "delete",
                 "Erases a user: history, vectors in every snapshot, and the events that training reads",
                 "  swiftlet user delete 42 --yes",
                 [&session, delete_flags] { return RunDelete(session, *delete_flags); });
  erase->add_option("user", delete_flags->user, "The user's id")->required()->type_name("USER");
  erase->add_flag("--yes", delete_flags->yes, "Do not ask");
}

}  // namespace swiftlet::cli
