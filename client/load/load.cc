#include "client/load/load.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/text.h"
#include "client/load/commands.h"

namespace swiftlet::load {
namespace {

using cli::kFailed;
using cli::kOk;
using cli::kUsage;

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

struct Command {
  CLI::App* app;
  Flags& flags;  // as long as `app`
};

// Each command has flags of its own: CLI11 takes variables of the environment for the options of every
// command, also of those that the arguments did not choose.
Command AddCommand(CLI::App& app, Context& context, const std::string& name, const std::string& description,
                   int (*run)(Context&)) {
  CLI::App* command = app.add_subcommand(name, description);
  command->option_defaults()->always_capture_default();
  const auto flags = std::make_shared<Flags>();
  command->callback([&context, name, run, flags] {
    context.name = name;
    context.flags = *flags;
    context.command = [&context, run] { return run(context); };
  });
  return {command, *flags};
}

void AddCommands(CLI::App& app, Context& context, NullFlags& null_flags) {
  const auto [run, run_flags] = AddCommand(app, context, "run", "One window of load on one server", RunRun);
  AddServerFlags(run, run_flags);
  run->add_flag("--null", run_flags.null, "Start a null server and call that instead");
  AddLoadFlags(run, run_flags);
  run->add_option("--swap-versions", run_flags.swap_versions,
                  "Swap the server's snapshots during the run: these versions, round and round")
      ->delimiter(',')
      ->type_name("VERSION,...")
      ->default_str("");
  run->add_option("--swap-every", run_flags.swap_every, "Seconds between swaps")
      ->check(cli::PositiveSeconds());
  run->add_option("--swaps", run_flags.swaps, "Number of swaps; 0: until the end")
      ->check(cli::WholeNumber(0));
  AddWorkloadFlags(run, run_flags);
  AddOutputFlags(run, run_flags);

  const auto [saturate, saturate_flags] =
      AddCommand(app, context, "saturate",
                 "The most good calls a second: closed loop with 1, 2, 4, ... calls in flight, a window each",
                 RunSaturate);
  AddServerFlags(saturate, saturate_flags);
  saturate->add_flag("--null", saturate_flags.null, "Start a null server and call that instead");
  AddLoadFlags(saturate, saturate_flags);
  AddWorkloadFlags(saturate, saturate_flags);
  AddOutputFlags(saturate, saturate_flags);

  const auto [compare, compare_flags] = AddCommand(
      app, context, "compare",
      "A server against one that does nothing (same gRPC set-up), in windows that take turns", RunCompare);
  AddServerFlags(compare, compare_flags);
  AddLoadFlags(compare, compare_flags);
  AddWorkloadFlags(compare, compare_flags);
  AddOutputFlags(compare, compare_flags);

  const auto [ab, ab_flags] =
      AddCommand(app, context, "ab",
                 "Two servers against each other, in windows in the order A B B A; both are started", RunAb);
  ab->option_defaults()->group("Server");
  ab->add_option("--server-a", ab_flags.server_a, "swiftlet-server A")
      ->required()
      ->type_name("FILE")
      ->default_str("");
  ab->add_option("--server-b", ab_flags.server_b, "swiftlet-server B; may be the same, with other arguments")
      ->required()
      ->type_name("FILE")
      ->default_str("");
  AddStartFlags(ab, ab_flags);
  ab->add_option("--model-dir-b", ab_flags.model_dir_b, "Snapshots of B, where they are others")
      ->type_name("DIR");
  for (const bool b : {false, true}) {
    ab->add_option(b ? "--server-arg-b" : "--server-arg-a",
                   b ? ab_flags.server_args_b : ab_flags.server_args_a,
                   b ? "One more argument of B (repeatable)" : "One more argument of A (repeatable)")
        ->allow_extra_args(false)
        ->default_str("");
  }
  AddLoadFlags(ab, ab_flags);
  AddWorkloadFlags(ab, ab_flags);
  AddOutputFlags(ab, ab_flags);
  for (const auto& [command, flags] : {Command{run, run_flags}, Command{saturate, saturate_flags},
                                       Command{compare, compare_flags}, Command{ab, ab_flags}}) {
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
