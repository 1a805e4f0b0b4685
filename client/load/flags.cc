#include "client/load/flags.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/security_flags.h"
#include "engine/base/status_macros.h"

namespace swiftlet::load {
namespace {

using cli::PositiveSeconds;
using cli::SecondsFrom0;
using cli::WholeNumber;

constexpr char kServerGroup[] = "Server";
constexpr char kLoadGroup[] = "Load";
constexpr char kCallsGroup[] = "Calls";
constexpr char kOutputGroup[] = "Output";

CLI::Validator Parsed(absl::Status (*parse)(const std::string&)) {
  return CLI::Validator(
      [parse](const std::string& text) {
        const absl::Status status = parse(text);
        return status.ok() ? std::string() : std::string(status.message());
      },
      "");
}

}  // namespace

void AddStartFlags(CLI::App* command, Flags& flags) {
  command->option_defaults()->group(kServerGroup);
  cli::AddSecurityFlags(*command, flags.security);
  command->add_option("--model-dir", flags.model_dir, "Snapshots of a server that is started")
      ->type_name("DIR");
  command
      ->add_option("--server-config", flags.server_config, "Configuration file of a server that is started")
      ->type_name("FILE");
  command
      ->add_option("--server-arg", flags.server_args,
                   "One more argument of a server that is started (repeatable)")
      ->allow_extra_args(false)
      ->default_str("");
  command
      ->add_option("--server-cpus", flags.server_cpus,
                   "CPUs of a server that is started, such as 1 or 0-3 (this program's own by taskset)")
      ->check(Parsed([](const std::string& text) { return ParseCpus(text).status(); }))
      ->type_name("CPUS");
  command->add_flag(
      "--restart", flags.restart,
      "Start the server again between recording histories and measuring: nothing is cached then");
}

void AddServerFlags(CLI::App* command, Flags& flags) {
  command->option_defaults()->group(kServerGroup);
  command->add_option("--server", flags.server, "A server that runs: host:port or unix:/path")
      ->envname("SWIFTLET_SERVER");
  command
      ->add_option("--server-pid", flags.server_pid,
                   "Its process, for CPU time (found by its port when it is on this machine)")
      ->check(WholeNumber(1))
      ->default_str("");
  command->add_option("--server-binary", flags.server_binary, "Start this swiftlet-server instead")
      ->type_name("FILE");
  command
      ->add_option("--data-dir", flags.data_dir,
                   "Data of the server that is started; default: a scratch directory, removed at the end")
      ->type_name("DIR");
  AddStartFlags(command, flags);
}

void AddLoadFlags(CLI::App* command, Flags& flags) {
  command->option_defaults()->group(kLoadGroup);
  command->add_option("--concurrency", flags.concurrency, "Closed loop: calls in flight")
      ->check(CLI::Range(1, 100'000));
  command
      ->add_option(
          "--rate", flags.rate,
          "Open loop: calls a second, or a share of saturation such as 50% (which is then searched for)")
      ->check(Parsed([](const std::string& text) { return ParseRate(text).status(); }))
      ->type_name("RATE");
  command->add_flag("--constant", flags.constant, "Open loop: calls at equal distances, not Poisson");
  command->add_flag(
      "--spin", flags.spin,
      "Open loop: never sleep, for a client that has a core of its own; latencies are then without "
      "its wake-ups");
  command->add_option("--max-in-flight", flags.max_in_flight, "Open loop: calls beyond wait in the client")
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--channels", flags.channels, "Connections")->check(CLI::Range(1, 1024));
  command->add_option("--threads", flags.threads, "Threads of the client; each needs a connection")
      ->check(CLI::Range(1, 256));
  command->add_option("--seconds", flags.seconds, "Length of a measurement window")->check(PositiveSeconds());
  command->add_option("--warmup", flags.warmup, "Seconds of load before a window, not counted")
      ->check(SecondsFrom0());
  command->add_option("--timeout", flags.timeout, "Seconds that a call may take")->check(PositiveSeconds());
}

void AddWorkloadFlags(CLI::App* command, Flags& flags) {
  WorkloadOptions& workload = flags.workload;
  command->option_defaults()->group(kCallsGroup);
  command
      ->add_option(
          "--mix", flags.mix,
          "Weights of recommend (a user asked for often), cold (a user not asked for lately), anonymous "
          "(inline history), similar, events, upsert, freshness (an event, then a Recommend that must "
          "reflect it)")
      ->check(Parsed([](const std::string& text) { return ParseMix(text).status(); }))
      ->type_name("KIND=WEIGHT,...");
  command->add_option("-k", workload.k, "Items of an answer")->check(CLI::Range(1, 100'000));
  command->add_option("--users", workload.num_users, "Users that are asked for often")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command
      ->add_option("--cold-users", workload.num_cold_users,
                   "Users in the store, asked for in turn; must be more than the server's cache holds")
      ->check(WholeNumber(0));
  command
      ->add_option("--history-events", workload.history_events, "Events of every user before the measurement")
      ->check(CLI::Range(0, 10'000));
  command->add_option("--history-limit", workload.history_limit, "Events that the server keeps of a user")
      ->check(CLI::Range(1, 10'000));
  command->add_option("--inline-events", workload.inline_events, "Events of an anonymous session")
      ->check(CLI::Range(1, 1000));
  command->add_option("--events-per-call", workload.events_per_call, "Events of a RecordEvents")
      ->check(CLI::Range(1, 100'000));
  command->add_option("--items-per-upsert", workload.items_per_upsert, "Items of an UpsertItems")
      ->check(CLI::Range(1, 1000));
  command->add_option("--event-type", workload.event_type, "Type of the events");
  command->add_option("--zipf", workload.user_zipf, "Exponent of the users' frequencies; 0: all alike")
      ->check(CLI::Range(0.0, 10.0));
  command->add_option("--item-zipf", workload.item_zipf, "Exponent of the items' frequencies in histories")
      ->check(CLI::Range(0.0, 10.0));
  command->add_option("--seed", workload.seed, "Users, items and times are a function of it");
  command->add_flag("--no-prepare", flags.no_prepare,
                    "An earlier run with the same seed and numbers has recorded the histories");
  command->add_flag("--allow-rollback", workload.allow_rollback, "An older snapshot may follow a newer one");
  command->add_flag("--check-freshness", flags.check_freshness,
                    "Adds freshness to the mix (half of the calls, unless --mix says how much)");
  command
      ->add_option("--trials", workload.num_trials,
                   "Ends after so many freshness trials (give --seconds that suffice); 0: no such end")
      ->check(WholeNumber(0));
  command->add_option("--items-file", flags.items.file, "Item ids, one a line; default: the server is asked")
      ->type_name("FILE");
  command->add_option("--items-prefix", flags.items.prefix, "With --num-items: ids PREFIX0, PREFIX1, ...")
      ->type_name("PREFIX");
  command->add_option("--num-items", flags.items.num_items, "Number of items of --items-prefix")
      ->check(WholeNumber(0));
}

void AddOutputFlags(CLI::App* command, Flags& flags) {
  command->option_defaults()->group(kOutputGroup);
  command->add_option("--json", flags.json, "Write the results to this file; - is standard output")
      ->type_name("FILE");
  command->add_option("--svg", flags.svg, "Write a plot of the latencies to this file")->type_name("FILE");
  command->add_flag("-q,--quiet", flags.quiet, "Say nothing of progress");
  command->add_flag("--allow-errors", flags.allow_errors,
                    "Exit with 0 although calls failed, for overload; wrong answers still count");
}

absl::StatusOr<Rate> ParseRate(const std::string& text) {
  Rate rate;
  std::string number = text;
  if (number.empty()) return rate;
  if (number.back() == '%') {
    rate.of_saturation = true;
    number.pop_back();
  }
  if (!absl::SimpleAtod(number, &rate.number) || !std::isfinite(rate.number) || rate.number <= 0 ||
      rate.number > 1e7) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is neither calls a second nor a percentage of saturation"));
  }
  return rate;
}

absl::StatusOr<SubjectOptions> ToSubjectOptions(const Flags& flags) {
  SubjectOptions options;
  TargetOptions& target = options.target;
  target.address = flags.server;
  if (flags.server_pid > 0) target.pid = flags.server_pid;
  target.binary = flags.server_binary;
  target.null = flags.null;
  target.model_dir = flags.model_dir;
  target.data_dir = flags.data_dir;
  target.config = flags.server_config;
  target.args = flags.server_args;
  SWIFTLET_ASSIGN_OR_RETURN(target.security, cli::ResolveSecurity(flags.security));
  if (!flags.server_cpus.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(target.cpus, ParseCpus(flags.server_cpus));
  }
  if (!target.binary.empty() && target.model_dir.empty()) {
    return absl::InvalidArgumentError("--model-dir: a server that is started needs snapshots");
  }
  if (flags.items.prefix.empty() != (flags.items.num_items == 0)) {
    return absl::InvalidArgumentError("--items-prefix and --num-items go together");
  }
  if (flags.threads > flags.channels) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--threads: ", flags.threads, " threads need as many --channels (", flags.channels, ")"));
  }
  options.driver = {
      .channels = flags.channels, .threads = flags.threads, .timeout = absl::Seconds(flags.timeout)};
  options.items = flags.items;
  options.workload = flags.workload;
  SWIFTLET_ASSIGN_OR_RETURN(options.workload.mix, ParseMix(flags.mix));
  std::array<double, kNumKinds>& mix = options.workload.mix;
  double& freshness = mix[static_cast<size_t>(Kind::kFreshEvent)];
  if (flags.check_freshness && freshness == 0) {
    for (const double weight : mix) freshness += weight;
  }
  if (freshness == 0 && flags.workload.num_trials > 0) {
    return absl::InvalidArgumentError("--trials: the mix has no freshness (see --check-freshness)");
  }
  if (mix[static_cast<size_t>(Kind::kCold)] > 0 && flags.workload.num_cold_users == 0) {
    return absl::InvalidArgumentError("--mix: cold needs --cold-users");
  }
  // Going round the versions goes back to older ones.
  options.workload.allow_rollback |= !flags.swap_versions.empty();
  options.prepare = !flags.no_prepare;
  options.restart = flags.restart;
  return options;
}

WindowOptions ToWindowOptions(const Flags& flags) {
  return {.warmup = absl::Seconds(flags.warmup),
          .duration = absl::Seconds(flags.seconds),
          .concurrency = flags.concurrency,
          .poisson = !flags.constant,
          .spin = flags.spin,
          .max_in_flight = flags.max_in_flight};
}

}  // namespace swiftlet::load
