#include "client/load/commands.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/text.h"
#include "client/load/null_server.h"
#include "client/rpc_status.h"
#include "engine/base/status_macros.h"
#include "server/io_threads.h"

namespace swiftlet::load {

int Context::Fail(const absl::Status& status) const {
  const std::string message(status.message());
  io.err << "swiftlet-load: " << name << ": " << CodeName(status.code()) << ": " << cli::Printable(message)
         << "\n";
  return absl::IsInvalidArgument(status) && message.rfind("--", 0) == 0 ? cli::kUsage : cli::kFailed;
}

Subject::Progress Context::Progress() const {
  if (flags.quiet) return {};
  return [this](std::string_view what) { io.err << "... " << what << std::endl; };
}

std::ostream& Context::Text() const { return flags.json == "-" ? io.err : io.out; }

bool Acceptable(const WindowStats& stats, const Flags& flags) {
  const KindStats total = stats.Total();
  return total.wrong == 0 && (flags.allow_errors || total.good() == total.count());
}

absl::Status WriteOutputs(const Context& context, const nlohmann::json& json, const std::string& title,
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

Saturation Saturate(const Context& context, Subject& subject) {
  WindowOptions window = ToWindowOptions(context.flags);
  window.duration = absl::Seconds(context.flags.search_seconds);
  window.warmup = std::min(window.warmup, absl::Milliseconds(500));
  const Subject::Progress progress = context.Progress();
  return FindSaturation(subject, window, context.flags.max_concurrency, [&](const SaturationStep& step) {
    if (!progress) return;
    progress(absl::StrFormat("%d in flight: %s good calls a second", step.concurrency,
                             cli::WithThousands(static_cast<int64_t>(step.stats.goodput()))));
  });
}

absl::Status SetRate(const Context& context, Subject& subject, WindowOptions& window) {
  SWIFTLET_ASSIGN_OR_RETURN(const Rate rate, ParseRate(context.flags.rate));
  if (rate.number == 0) return absl::OkStatus();
  window.rate = rate.number;
  if (!rate.of_saturation) return absl::OkStatus();
  const Saturation saturation = Saturate(context, subject);
  if (saturation.goodput <= 0)
    return absl::UnavailableError("no call succeeded: there is no saturation to find");
  window.rate = saturation.goodput * rate.number / 100;
  return absl::OkStatus();
}

int RunSaturate(Context& context) {
  absl::StatusOr<SubjectOptions> options = ToSubjectOptions(context.flags);
  if (!options.ok()) return context.Fail(options.status());
  absl::StatusOr<std::unique_ptr<Subject>> subject = Subject::Open(*options, context.Progress());
  if (!subject.ok()) return context.Fail(subject.status());
  context.flags.search_seconds = context.flags.seconds;
  const Saturation saturation = Saturate(context, **subject);
  using cli::kFailed, cli::kOk;
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
  std::ostream& out = context.Text();
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

int RunNullServer(Context& context, const NullFlags& flags) {
  const IoThreads io_threads(0);
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
  return cli::kOk;
}

}  // namespace swiftlet::load
