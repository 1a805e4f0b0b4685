// swiftlet event add, load.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/bulk_loader.h"
#include "client/cli/command.h"
#include "client/cli/event_sink.h"
#include "client/cli/text.h"

namespace swiftlet::cli {
namespace {

struct AddFlags {
  std::string user, item, type = "view", time, event_id;
  float value = 0;
};

int RunAdd(Session& session, const AddFlags& flags) {
  v1::RecordEventsRequest request;
  v1::Event& event = *request.add_events();
  event.set_user_id(flags.user);
  event.set_item_id(flags.item);
  event.set_type(flags.type);
  event.set_value(flags.value);
  event.set_event_id(flags.event_id);
  if (!flags.time.empty()) {
    const absl::StatusOr<int64_t> time = ParseTime(flags.time);
    if (!time.ok()) return session.Usage("event add", absl::StrCat("--time: ", time.status().message()));
    event.set_timestamp_ms(*time);
  }
  const std::unique_ptr<Client> client = session.Connect("event add");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::RecordEventsResponse> answer = client->RecordEvents(request, session.Call());
  if (!answer.ok()) return session.Fail("event add", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << (answer->num_recorded() > 0 ? "Stored: user " : "Already there: user ")
                 << Printable(flags.user) << ", " << Printable(flags.type) << ", item "
                 << Printable(flags.item);
  if (flags.value != 0) session.io.out << ", value " << NumberText(flags.value);
  session.io.out << ". The next recommendation reflects it.\n";
  return kOk;
}

struct LoadFlags {
  std::string file;
  EventFileOptions options;
  std::string time_unit = "auto";
  size_t batch = 1000;
  bool skip_bad = false;
  uint64_t from_line = 0;
};

int RunLoad(Session& session, const LoadFlags& flags) {
  const absl::StatusOr<std::unique_ptr<TextTable>> table = OpenTable(flags.file);
  if (!table.ok()) return session.Fail("event load", table.status());
  const std::unique_ptr<Client> client = session.Connect("event load");
  if (client == nullptr) return kFailed;
  EventFileOptions options = flags.options;
  if (flags.time_unit == "s") options.time_unit = TimeUnit::kSeconds;
  if (flags.time_unit == "ms") options.time_unit = TimeUnit::kMilliseconds;
  absl::StatusOr<std::unique_ptr<EventLoad>> load =
      client->LoadEvents({.timeout = *session.Call(absl::Seconds(30)).timeout});
  if (!load.ok()) return session.Fail("event load", load.status());
  absl::StatusOr<EventSink> sink = EventSink::Create(options, **table, *std::move(load));
  if (!sink.ok()) return session.Fail("event load", sink.status());
  return LoadTable(session, **table, *sink,
                   {.command = "event load",
                    .noun = "event",
                    .field = "events",
                    .batch_size = flags.batch,
                    .skip_bad = flags.skip_bad,
                    .from_line = flags.from_line,
                    .has_from_line = true,
                    .resume_hint = "Load the file again: what is stored is not stored twice while the server "
                                   "remembers the ids (24 h by default)."});
}

}  // namespace

void AddEventCommands(CLI::App& app, Session& session) {
  CLI::App* event = app.add_subcommand("event", "Records what users do");
  event->require_subcommand(1);
  event->footer("Example:\n  swiftlet event add 42 318 --type view");

  const auto add_flags = std::make_shared<AddFlags>();
  CLI::App* add = AddCommand(*event, session, "add", "Records one event",
                             "  swiftlet event add 42 318 --type rating --value 5",
                             [&session, add_flags] { return RunAdd(session, *add_flags); });
  add->add_option("user", add_flags->user, "The user's id")->required()->type_name("USER");
  add->add_option("item", add_flags->item, "The item's id")->required()->type_name("ITEM");
  add->add_option("--type", add_flags->type, "view, click, like, cart, purchase, rating, dislike, ...");
  add->add_option("--value", add_flags->value, "How much: stars, an amount, seconds");
  add->add_option(
      "--time", add_flags->time,
      "When: milliseconds since 1970 or 2026-11-22T03:38:27Z (default: now, by the server's clock)");
  add->add_option("--event-id", add_flags->event_id, "Makes the call repeatable: an id is stored once");

  const auto load_flags = std::make_shared<LoadFlags>();
  CLI::App* load = AddCommand(
      *event, session, "load",
      "Records the events of a CSV or TSV file with a header line, plain or gzip.\n"
      "Columns user and item are needed; type, value and time are used where they exist (also under names "
      "such as\n"
      "user_id, movieId, rating, timestamp). A time is seconds or milliseconds since 1970, or RFC 3339.\n"
      "Each event's id is derived from its content, so that a load that broke off, or a file that is loaded "
      "twice,\n"
      "counts nothing twice while the server remembers the ids (24 h by default). Lines that agree in user, "
      "item,\n"
      "type, value and time are one event. A connection that breaks is made again; --timeout is how long the "
      "server may\n"
      "store nothing. Ctrl-C ends the load and says how far it came.",
      "  swiftlet event load ratings.csv.gz\n"
      "  swiftlet event load clicks.tsv --columns user=visitor,item=sku,time=at --type click\n"
      "  zcat log.tsv.gz | swiftlet event load -",
      [&session, load_flags] { return RunLoad(session, *load_flags); });
  load->add_option("file", load_flags->file, "The file; - reads the standard input")
      ->required()
      ->type_name("FILE");
  load->add_option("--columns", load_flags->options.columns,
                   "Which column is what: field=column,... with the fields user, item, type, value, time");
  load->add_option("--type", load_flags->options.default_type,
                   "Type of the events of a file without a type column (default: rating where there is a "
                   "rating, else view)");
  load->add_option("--time-unit", load_flags->time_unit,
                   "s, ms, or auto: numbers below 100,000,000,000 are seconds")
      ->check(CLI::IsMember({"auto", "s", "ms"}))
      ->type_name("UNIT");
  load->add_option("--batch", load_flags->batch, "Events stored together")->check(CLI::Range(1, 100000));
  load->add_flag("--skip-bad", load_flags->skip_bad,
                 "Skip and count bad lines instead of stopping at the first");
  load->add_option("--from-line", load_flags->from_line,
                   "Pass over the lines before this one: where a load that broke off says to go on")
      ->check(WholeNumber(1))
      ->default_str("");
}

}  // namespace swiftlet::cli
