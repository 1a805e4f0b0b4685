#include "client/load/load.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/cli/text.h"
#include "client/load/experiment.h"
#include "client/load/flags.h"
#include "client/load/null_server.h"
#include "client/load/report.h"
#include "client/load/swapper.h"
#include "client/rpc_status.h"
#include "engine/base/status_macros.h"

namespace swiftlet::load {
namespace {

using cli::kFailed;
using cli::kOk;
using cli::kUsage;

// After the beginning of a window.
constexpr absl::Duration kFirstSwap = absl::Seconds(1);

constexpr char kDescription[] =
    "swiftlet-load puts a Swiftlet server under load, checks every answer, and says what it cost.\n"
    "It records events of users of its own (load-user-N, load-cold-N, load-fresh-N) and, with upsert in the "
    "mix, "
    "items load-item-N:\nuse a server whose data may be thrown away.";

constexpr char kFooter[] =
    "Examples:\n"
    "  swiftlet-load run --seconds 10 --concurrency 32 --channels 4\n"
    "  swiftlet-load run --rate 50% --mix recommend=90,anonymous=5,events=5 --svg load.svg\n"
    "  swiftlet-load run --check-freshness --trials 1000000 --seconds 600 --concurrency 64\n"
    "  swiftlet-load compare --server-binary build/release/bin/swiftlet-server --model-dir models "
    "--server-cpus 1\n"
    "  swiftlet-load ab --server-a old/swiftlet-server --server-b new/swiftlet-server --model-dir models\n"
    "\n"
    "Every command explains itself: swiftlet-load COMMAND --help. Ctrl-C ends a run with what was measured.\n"
    "Exit code: 0 done, 1 a call failed or an answer was wrong, 2 the arguments make no sense.";

// One run of the program.
struct Context {
  cli::CliIo& io;
  Flags flags;
  std::function<int()> command;
  std::string name;

  int Fail(const absl::Status& status) const {
    const std::string message(status.message());
    io.err << "swiftlet-load: " << name << ": " << CodeName(status.code()) << ": " << cli::Printable(message)
           << "\n";
    return absl::IsInvalidArgument(status) && message.rfind("--", 0) == 0 ? kUsage : kFailed;
  }
  Subject::Progress Progress() const {
    if (flags.quiet) return {};
    return [this](std::string_view what) { io.err << "... " << what << std::endl; };
  }
};

// Anything wrong: a failed call, or (also with --allow-errors) a wrong answer.
bool Acceptable(const WindowStats& stats, const Flags& flags) {
  const KindStats total = stats.Total();
  return total.wrong == 0 && (flags.allow_errors || total.good() == total.count());
}

absl::Status WriteOutputs(const Context& context, nlohmann::json json, const std::string& title,
                          const std::vector<PlotSeries>& series) {
  const Flags& flags = context.flags;
  if (!flags.svg.empty()) SWIFTLET_RETURN_IF_ERROR(WriteTextFile(flags.svg, PlotSvg(title, series)));
  if (flags.json.empty()) return absl::OkStatus();
  const std::string text = json.dump(1) + "\n";
  if (flags.json == "-") {
    context.io.out << text;
    return absl::OkStatus();
  }
  return WriteTextFile(flags.json, text);
}

// Text for people goes to standard output unless JSON does.
std::ostream& Text(const Context& context) {
  return context.flags.json == "-" ? context.io.err : context.io.out;
}

// The closed loop that finds out what a subject can do, in short windows.
Saturation Saturate(const Context& context, Subject& subject, bool print) {
  WindowOptions window = ToWindowOptions(context.flags);
  window.duration = absl::Seconds(context.flags.search_seconds);
  window.warmup = std::min(window.warmup, absl::Milliseconds(500));
  const Subject::Progress progress = context.Progress();
  return FindSaturation(subject, window, context.flags.max_concurrency, [&](const SaturationStep& step) {
    if (print || !progress) return;
    progress(absl::StrFormat("%d in flight: %s good calls a second", step.concurrency,
                             cli::WithThousands(static_cast<int64_t>(step.stats.goodput()))));
  });
}

// Sets the rate of `window` from --rate, against the saturation of `subject`.
absl::Status SetRate(const Context& context, Subject& subject, WindowOptions& window) {
  SWIFTLET_ASSIGN_OR_RETURN(const Rate rate, ParseRate(context.flags.rate));
  if (rate.number == 0) return absl::OkStatus();
  window.rate = rate.number;
  if (!rate.of_saturation) return absl::OkStatus();
  const Saturation saturation = Saturate(context, subject, /*print=*/false);
  if (saturation.goodput <= 0)
    return absl::UnavailableError("no call succeeded: there is no saturation to find");
  window.rate = saturation.goodput * rate.number / 100;
  return absl::OkStatus();
}

// Where a swap's window holds no slow call, its share of calls is too small to tell: see the number of calls.
void PrintSwaps(const SwapReport& swaps, const WindowStats& stats, std::ostream& out) {
  const Spread ready = SpreadOf(swaps.ready_seconds), window = SpreadOf(swaps.window_seconds);
  out << absl::StrFormat(
      "%s: ready after %.3f s (median; at most %.3f s), old one gone after %.3f s (at most %.3f s)\n",
      cli::Count(swaps.num_swaps, "swap"), ready.median, ready.most, window.median, window.most);
  const auto during = static_cast<double>(stats.during_event.Quantile(0.99));
  const auto outside = static_cast<double>(stats.outside_event.Quantile(0.99));
  out << absl::StrFormat("During swaps: %s, p50 %s, p99 %s; outside: %s, p50 %s, p99 %s",
                         cli::Count(stats.during_event.count(), "call"),
                         LatencyText(static_cast<double>(stats.during_event.Quantile(0.5))),
                         LatencyText(during), cli::Count(stats.outside_event.count(), "call"),
                         LatencyText(static_cast<double>(stats.outside_event.Quantile(0.5))),
                         LatencyText(outside));
  if (during > 0 && outside > 0) out << absl::StrFormat("; ratio of p99 %.2f", during / outside);
  out << "\n";
  for (const std::string& failure : swaps.failures) out << "Swap failed: " << cli::Printable(failure) << "\n";
}

nlohmann::json SwapsJson(const SwapReport& swaps, const WindowStats& stats) {
  const auto us = [](const Histogram& h, double q) { return static_cast<double>(h.Quantile(q)) / 1e3; };
  return {{"swaps", swaps.num_swaps},
          {"ready_seconds", swaps.ready_seconds},
          {"window_seconds", swaps.window_seconds},
          {"failures", swaps.failures},
          {"during",
           {{"calls", stats.during_event.count()},
            {"p50_us", us(stats.during_event, 0.5)},
            {"p99_us", us(stats.during_event, 0.99)}}},
          {"outside",
           {{"calls", stats.outside_event.count()},
            {"p50_us", us(stats.outside_event, 0.5)},
            {"p99_us", us(stats.outside_event, 0.99)}}}};
}

int RunRun(Context& context) {
  absl::StatusOr<SubjectOptions> options = ToSubjectOptions(context.flags);
  if (!options.ok()) return context.Fail(options.status());
  absl::StatusOr<std::unique_ptr<Subject>> subject = Subject::Open(*options, context.Progress());
  if (!subject.ok()) return context.Fail(subject.status());
  WindowOptions window = ToWindowOptions(context.flags);
  if (const absl::Status status = SetRate(context, **subject, window); !status.ok())
    return context.Fail(status);
  const int64_t memory_before = (*subject)->pid() ? ResidentBytes(*(*subject)->pid()) : 0;
  std::unique_ptr<Swapper> swapper;
  if (!context.flags.swap_versions.empty()) {
    absl::StatusOr<std::unique_ptr<Swapper>> started =
        Swapper::Start((*subject)->address(), context.flags.swap_versions, window.warmup + kFirstSwap,
                       absl::Seconds(context.flags.swap_every), context.flags.swaps);
    if (!started.ok()) return context.Fail(started.status());
    swapper = *std::move(started);
    window.event = &swapper->swapping();
  }
  const WindowStats stats = (*subject)->Run(window);
  const SwapReport swaps = swapper != nullptr ? swapper->Stop() : SwapReport();
  std::ostream& out = Text(context);
  out << (*subject)->description() << " at " << (*subject)->address() << "\n";
  out << (window.rate ? absl::StrFormat("open loop, %s", window.poisson ? "Poisson" : "constant rate")
                      : absl::StrFormat("closed loop, %d in flight", context.flags.concurrency))
      << ", " << cli::Count(context.flags.channels, "connection") << ", seed " << context.flags.workload.seed
      << "\n\n";
  PrintWindow(stats, out);
  nlohmann::json json = WindowJson(stats);
  json["server"] = (*subject)->description();
  json["channels"] = context.flags.channels;
  if (!window.rate) json["concurrency"] = context.flags.concurrency;
  if (const std::optional<pid_t> pid = (*subject)->pid(); pid) {
    const int64_t memory = ResidentBytes(*pid);
    out << "Server memory: " << cli::BytesText(memory_before) << " before, " << cli::BytesText(memory)
        << " after\n";
    json["resident_bytes"] = {{"before", memory_before}, {"after", memory}};
  }
  if (swapper != nullptr) {
    PrintSwaps(swaps, stats, out);
    json["swaps"] = SwapsJson(swaps, stats);
  }
  bool stale = false;
  if (const Workload* workload = (*subject)->workload(); workload != nullptr && workload->num_trials() > 0) {
    stale = workload->num_stale() > 0;
    out << "Freshness: " << cli::WithThousands(workload->num_trials()) << " trials (warm-up included), "
        << (stale ? cli::WithThousands(workload->num_stale()) : "none") << " stale\n";
    json["freshness"] = {{"trials", workload->num_trials()}, {"stale", workload->num_stale()}};
  }
  if (const absl::Status status =
          WriteOutputs(context, json, (*subject)->description(), {{"latency", &stats}});
      !status.ok()) {
    return context.Fail(status);
  }
  if (stats.Total().count() == 0 && !stats.interrupted) {
    return context.Fail(absl::UnavailableError("no call was sent inside the window"));
  }
  return Acceptable(stats, context.flags) && !stale && swaps.failures.empty() ? kOk : kFailed;
}

int RunSaturate(Context& context) {
  absl::StatusOr<SubjectOptions> options = ToSubjectOptions(context.flags);
  if (!options.ok()) return context.Fail(options.status());
  absl::StatusOr<std::unique_ptr<Subject>> subject = Subject::Open(*options, context.Progress());
  if (!subject.ok()) return context.Fail(subject.status());
  context.flags.search_seconds = context.flags.seconds;
  const Saturation saturation = Saturate(context, **subject, /*print=*/false);
  using Align = cli::Table::Align;
  cli::Table table({{"In flight", Align::kRight},
                    {"Good/s", Align::kRight},
                    {"p50", Align::kRight},
                    {"p99", Align::kRight},
                    {"Server us/call", Align::kRight},
                    {"Client us/call", Align::kRight},
                    {"Failed", Align::kRight}});
  nlohmann::json steps = nlohmann::json::array();
  bool acceptable = true;
  for (const SaturationStep& step : saturation.steps) {
    const Figures figures = FiguresOf(step.stats);
    const KindStats total = step.stats.Total();
    table.AddRow({absl::StrCat(step.concurrency), cli::WithThousands(static_cast<int64_t>(figures.goodput)),
                  LatencyText(figures.p50_us * 1e3), LatencyText(figures.p99_us * 1e3),
                  figures.server_cpu_us < 0 ? "-" : absl::StrFormat("%.1f", figures.server_cpu_us),
                  absl::StrFormat("%.1f", step.stats.client_cpu_us()),
                  cli::WithThousands(total.count() - total.good())});
    nlohmann::json json = WindowJson(step.stats);
    json["concurrency"] = step.concurrency;
    steps.push_back(std::move(json));
    acceptable &= Acceptable(step.stats, context.flags);
  }
  std::ostream& out = Text(context);
  out << (*subject)->description() << " at " << (*subject)->address() << "\n\n";
  table.Print(out);
  out << "Saturation: " << cli::WithThousands(static_cast<int64_t>(saturation.goodput))
      << " good calls a second, reached with " << saturation.concurrency << " in flight over "
      << cli::Count(context.flags.channels, "connection") << "\n";
  std::vector<PlotSeries> series;
  for (const SaturationStep& step : saturation.steps) {
    series.push_back({absl::StrCat(step.concurrency, " in flight"), &step.stats});
  }
  const absl::Status status = WriteOutputs(context,
                                           {{"server", (*subject)->description()},
                                            {"channels", context.flags.channels},
                                            {"saturation_per_second", saturation.goodput},
                                            {"concurrency", saturation.concurrency},
                                            {"steps", steps}},
                                           (*subject)->description(), series);
  if (!status.ok()) return context.Fail(status);
  return acceptable ? kOk : kFailed;
}

// Windows of two subjects, and B against A.
int RunPair(Context& context, Subject& a, Subject& b, const std::string& name_a, const std::string& name_b) {
  WindowOptions window = ToWindowOptions(context.flags);
  if (const absl::Status status = SetRate(context, b, window); !status.ok()) return context.Fail(status);
  const PairedResult result = RunPaired(a, b, window, window, context.flags.rounds, context.Progress());
  std::ostream& out = Text(context);
  out << name_a << ": " << a.description() << "\n" << name_b << ": " << b.description() << "\n";
  out << (window.rate ? absl::StrFormat("open loop, %s calls a second",
                                        cli::WithThousands(static_cast<int64_t>(*window.rate + 0.5)))
                      : absl::StrFormat("closed loop, %d in flight", window.concurrency))
      << ", " << cli::Count(context.flags.channels, "connection") << ", "
      << cli::Count(static_cast<int64_t>(std::min(result.a.size(), result.b.size())), "pair")
      << " of windows of " << cli::NumberText(context.flags.seconds) << " s\n\n";
  using Align = cli::Table::Align;
  const std::string ratio = name_b + " / " + name_a;
  cli::Table table({{"Median of windows"},
                    {name_a, Align::kRight},
                    {name_b, Align::kRight},
                    {ratio, Align::kRight},
                    {"Range", Align::kRight},
                    {name_b + " - " + name_a, Align::kRight}});
  nlohmann::json json = {
      {"a", {{"name", name_a}, {"server", a.description()}, {"all", WindowJson(result.all_a)}}},
      {"b", {{"name", name_b}, {"server", b.description()}, {"all", WindowJson(result.all_b)}}},
      {"channels", context.flags.channels},
      {"ratios", nlohmann::json::object()}};
  const auto add = [&](const std::string& label, const std::string& key, double Figures::*member,
                       int digits) {
    std::vector<double> of_a, of_b, ratios;
    for (size_t i = 0; i < std::min(result.a.size(), result.b.size()); ++i) {
      const double x = result.a[i].*member, y = result.b[i].*member;
      if (x <= 0 || y <= 0) continue;
      of_a.push_back(x);
      of_b.push_back(y);
      ratios.push_back(y / x);
    }
    const Spread in_a = SpreadOf(of_a), in_b = SpreadOf(of_b), spread = SpreadOf(ratios);
    const auto number = [digits](double x) {
      return digits == 0 ? cli::WithThousands(static_cast<int64_t>(x + 0.5))
                         : absl::StrFormat("%.*f", digits, x);
    };
    if (ratios.empty()) {
      table.AddRow({label, "-", "-", "-", "-", "-"});
      return;
    }
    const double difference = in_b.median - in_a.median;
    table.AddRow({label, number(in_a.median), number(in_b.median), absl::StrFormat("%.3f", spread.median),
                  absl::StrFormat("%.3f to %.3f", spread.least, spread.most),
                  digits == 0 ? cli::WithThousands(static_cast<int64_t>(std::lround(difference)))
                              : absl::StrFormat("%+.*f", digits, difference)});
    json["ratios"][key] = {{"a_median", in_a.median},       {"b_median", in_b.median},
                           {"ratio_median", spread.median}, {"ratio_least", spread.least},
                           {"ratio_most", spread.most},     {"windows", ratios.size()}};
  };
  add("p50 (us)", "p50_us", &Figures::p50_us, 0);
  add("p99 (us)", "p99_us", &Figures::p99_us, 0);
  add("good calls a second", "goodput", &Figures::goodput, 0);
  add("server CPU (us a call)", "server_cpu_us", &Figures::server_cpu_us, 1);
  table.Print(out);
  out << "\n" << name_a << ", all windows:\n";
  PrintWindow(result.all_a, out);
  out << "\n" << name_b << ", all windows:\n";
  PrintWindow(result.all_b, out);
  const absl::Status status = WriteOutputs(context, json, absl::StrCat(name_a, " and ", name_b),
                                           {{name_a, &result.all_a}, {name_b, &result.all_b}});
  if (!status.ok()) return context.Fail(status);
  return Acceptable(result.all_a, context.flags) && Acceptable(result.all_b, context.flags) ? kOk : kFailed;
}

int RunCompare(Context& context) {
  absl::StatusOr<SubjectOptions> options = ToSubjectOptions(context.flags);
  if (!options.ok()) return context.Fail(options.status());
  SubjectOptions null_options = *options;
  null_options.target.null = true;
  absl::StatusOr<std::unique_ptr<Subject>> null = Subject::Open(null_options, context.Progress());
  if (!null.ok()) return context.Fail(null.status());
  absl::StatusOr<std::unique_ptr<Subject>> real = Subject::Open(*options, context.Progress());
  if (!real.ok()) return context.Fail(real.status());
  return RunPair(context, **null, **real, "null", "swiftlet");
}

int RunAb(Context& context) {
  absl::StatusOr<std::unique_ptr<Subject>> subjects[2];
  for (const int i : {0, 1}) {
    Flags flags = context.flags;
    flags.server_binary = i == 0 ? flags.server_a : flags.server_b;
    if (i == 1 && !flags.model_dir_b.empty()) flags.model_dir = flags.model_dir_b;
    const std::vector<std::string>& more = i == 0 ? flags.server_args_a : flags.server_args_b;
    flags.server_args.insert(flags.server_args.end(), more.begin(), more.end());
    absl::StatusOr<SubjectOptions> options = ToSubjectOptions(flags);
    if (!options.ok()) return context.Fail(options.status());
    subjects[i] = Subject::Open(*options, context.Progress());
    if (!subjects[i].ok()) return context.Fail(subjects[i].status());
  }
  return RunPair(context, **subjects[0], **subjects[1], "A", "B");
}

struct NullFlags {
  std::string listen = "127.0.0.1:0", port_file;
};

int RunNullServer(Context& context, const NullFlags& flags) {
  absl::StatusOr<std::unique_ptr<NullServer>> server = NullServer::Start(flags.listen);
  if (!server.ok()) return context.Fail(server.status());
  context.io.out << "null server, port " << (*server)->port() << std::endl;
  if (!flags.port_file.empty()) {
    const std::string temporary = flags.port_file + ".tmp";
    absl::Status status = WriteTextFile(temporary, absl::StrCat((*server)->port(), " 0\n"));
    if (status.ok() && std::rename(temporary.c_str(), flags.port_file.c_str()) != 0) {
      status = absl::UnavailableError(absl::StrCat("cannot write ", flags.port_file));
    }
    if (!status.ok()) return context.Fail(status);
  }
  while (!Interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return kOk;
}

CLI::App* AddCommand(CLI::App& app, Context& context, const std::string& name, const std::string& description,
                     int (*run)(Context&)) {
  CLI::App* command = app.add_subcommand(name, description);
  command->option_defaults()->always_capture_default();
  command->callback([&context, name, run] {
    context.name = name;
    context.command = [&context, run] { return run(context); };
  });
  return command;
}

void AddCommands(CLI::App& app, Context& context, NullFlags& null_flags) {
  Flags& flags = context.flags;
  CLI::App* run = AddCommand(app, context, "run", "One window of load on one server", RunRun);
  AddServerFlags(run, flags);
  run->add_flag("--null", flags.null, "Start a null server and call that instead");
  AddLoadFlags(run, flags);
  run->add_option("--swap-versions", flags.swap_versions,
                  "Swap the server's snapshots during the run: these versions, round and round")
      ->delimiter(',')
      ->type_name("VERSION,...")
      ->default_str("");
  run->add_option("--swap-every", flags.swap_every, "Seconds between swaps")->check(cli::PositiveSeconds());
  run->add_option("--swaps", flags.swaps, "Number of swaps; 0: until the end")->check(cli::WholeNumber(0));
  AddWorkloadFlags(run, flags);
  AddOutputFlags(run, flags);

  CLI::App* saturate =
      AddCommand(app, context, "saturate",
                 "The most good calls a second: closed loop with 1, 2, 4, ... calls in flight, a window each",
                 RunSaturate);
  AddServerFlags(saturate, flags);
  saturate->add_flag("--null", flags.null, "Start a null server and call that instead");
  AddLoadFlags(saturate, flags);
  AddWorkloadFlags(saturate, flags);
  AddOutputFlags(saturate, flags);

  CLI::App* compare = AddCommand(
      app, context, "compare",
      "A server against one that does nothing (same gRPC set-up), in windows that take turns", RunCompare);
  AddServerFlags(compare, flags);
  AddLoadFlags(compare, flags);
  AddWorkloadFlags(compare, flags);
  AddOutputFlags(compare, flags);

  CLI::App* ab =
      AddCommand(app, context, "ab",
                 "Two servers against each other, in windows in the order A B B A; both are started", RunAb);
  ab->option_defaults()->group("Server");
  ab->add_option("--server-a", flags.server_a, "swiftlet-server A")
      ->required()
      ->type_name("FILE")
      ->default_str("");
  ab->add_option("--server-b", flags.server_b, "swiftlet-server B; may be the same, with other arguments")
      ->required()
      ->type_name("FILE")
      ->default_str("");
  AddStartFlags(ab, flags);
  ab->add_option("--model-dir-b", flags.model_dir_b, "Snapshots of B, where they are others")
      ->type_name("DIR");
  for (const bool b : {false, true}) {
    ab->add_option(b ? "--server-arg-b" : "--server-arg-a", b ? flags.server_args_b : flags.server_args_a,
                   b ? "One more argument of B (repeatable)" : "One more argument of A (repeatable)")
        ->allow_extra_args(false)
        ->default_str("");
  }
  AddLoadFlags(ab, flags);
  AddWorkloadFlags(ab, flags);
  AddOutputFlags(ab, flags);
  for (CLI::App* command : {run, saturate, compare, ab}) {
    command->option_defaults()->group("Load");
    if (command != run && command != saturate) {
      command->add_option("--rounds", flags.rounds, "Rounds of four windows: A B B A")
          ->check(CLI::Range(1, 1000));
    }
    command
        ->add_option("--max-concurrency", flags.max_concurrency,
                     "Search for saturation: most calls in flight")
        ->check(CLI::Range(1, 100'000));
    if (command != saturate) {
      command
          ->add_option("--search-seconds", flags.search_seconds, "Search for saturation: length of a window")
          ->check(cli::PositiveSeconds());
    }
  }

  CLI::App* null_server =
      app.add_subcommand("null-server", "Runs the server that does nothing, until a signal");
  null_server->option_defaults()->always_capture_default();
  null_server->add_option("--listen", null_flags.listen, "Where; port 0 picks a free one")
      ->type_name("HOST:PORT");
  null_server->add_option("--port-file", null_flags.port_file, "Receives the port once it listens")
      ->type_name("FILE");
  null_server->callback([&] {
    context.name = "null-server";
    context.command = [&] { return RunNullServer(context, null_flags); };
  });
}

}  // namespace

int Run(std::vector<std::string> args, cli::CliIo& io) {
  Context context{.io = io, .flags = {}, .command = {}, .name = {}};
  NullFlags null_flags;
  CLI::App app(kDescription, "swiftlet-load");
  app.footer(kFooter);
  app.require_subcommand(1);
  AddCommands(app, context, null_flags);
  std::reverse(args.begin(), args.end());  // CLI11 takes them from the back
  try {
    app.parse(args);
  } catch (const CLI::Success& help) {
    app.exit(help, io.out, io.err);
    return kOk;
  } catch (const CLI::ParseError& error) {
    std::string name;
    for (const CLI::App* command : app.get_subcommands()) name = " " + command->get_name();
    std::string reason = error.what();
    if (const std::vector<std::string> rest = app.remaining(); name.empty() && !rest.empty()) {
      reason = absl::StrCat("there is no command \"", rest.front(), "\"");
    }
    io.err << "swiftlet-load:" << name << (name.empty() ? " " : ": ") << cli::Printable(reason)
           << "\nTry: swiftlet-load" << name << " --help\n";
    return kUsage;
  }
  const int code = context.command();
  io.out.flush();
  if (!io.out) {
    io.err << "swiftlet-load: cannot write the output\n";
    return kFailed;
  }
  return code;
}

}  // namespace swiftlet::load
