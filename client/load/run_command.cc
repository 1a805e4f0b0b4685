// swiftlet-load run.
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/text.h"
#include "client/load/commands.h"
#include "client/load/swapper.h"

namespace swiftlet::load {
namespace {

using cli::kFailed;
using cli::kOk;

// After the beginning of a window.
constexpr absl::Duration kFirstSwap = absl::Seconds(1);

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

}  // namespace

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
    absl::StatusOr<std::unique_ptr<Swapper>> started = Swapper::Start(
        (*subject)->address(), (*subject)->security(), context.flags.swap_versions,
        window.warmup + kFirstSwap, absl::Seconds(context.flags.swap_every), context.flags.swaps);
    if (!started.ok()) return context.Fail(started.status());
    swapper = *std::move(started);
    window.event = &swapper->swapping();
  }
  const WindowStats stats = (*subject)->Run(window);
  const SwapReport swaps = swapper != nullptr ? swapper->Stop() : SwapReport();
  std::ostream& out = context.Text();
  out << (*subject)->description() << " at " << (*subject)->address() << "\n";
  out << (window.rate ? absl::StrFormat("open loop, %s", window.poisson ? "Poisson" : "constant rate")
                      : absl::StrFormat("closed loop, %d in flight", context.flags.concurrency))
      << ", " << cli::Count(context.flags.channels, "connection") << ", seed " << context.flags.workload.seed
      << "\n\n";
  PrintWindow(stats, out);
  const std::map<std::string, double> stages = (*subject)->StageUs();
  PrintStages(stages, out);
  nlohmann::json json = WindowJson(stats);
  json["server"] = (*subject)->description();
  json["stage_us"] = stages;
  json["channels"] = context.flags.channels;
  if (!window.rate) json["concurrency"] = context.flags.concurrency;
  if (const std::optional<pid_t> pid = (*subject)->pid(); pid) {
    const int64_t memory = ResidentBytes(*pid);
    out << "Server memory: " << cli::BytesText(memory_before) << " before, " << cli::BytesText(memory)
        << " after\n";
    json["resident_bytes"] = {{"before", memory_before}, {"after", memory}};
  }
  if ((*subject)->start_seconds() > 0) {
    out << absl::StrFormat("Server start: %.2f s until it listened\n", (*subject)->start_seconds());
    json["server_start_seconds"] = (*subject)->start_seconds();
  }
  const auto num_cold = static_cast<int64_t>(context.flags.workload.num_cold_users);
  if (stats.kinds[static_cast<size_t>(Kind::kCold)].count() > 0) {
    const int64_t cached = (*subject)->CachedUsers();
    json["cached_users"] = cached;
    if (cached >= num_cold) {
      out << "Note: " << cli::WithThousands(cached)
          << " users are in the server's cache now: " << cli::WithThousands(num_cold)
          << " cold users fit into it, and are cold only the first time\n";
    }
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

}  // namespace swiftlet::load
