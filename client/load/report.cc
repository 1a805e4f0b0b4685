#include "client/load/report.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/text.h"
#include "client/rpc_status.h"

namespace swiftlet::load {
namespace {

using cli::WithThousands;

std::string RateText(double rate) {
  return rate < 100 ? absl::StrFormat("%.1f", rate) : WithThousands(static_cast<int64_t>(rate + 0.5));
}

std::vector<std::string> Row(std::string name, const KindStats& kind, double seconds) {
  const auto quantile = [&](double q) {
    return kind.latency.count() == 0 ? std::string("-")
                                     : LatencyText(static_cast<double>(kind.latency.Quantile(q)));
  };
  return {std::move(name),
          WithThousands(kind.count()),
          WithThousands(kind.count() - kind.good()),
          RateText(seconds > 0 ? static_cast<double>(kind.good()) / seconds : 0),
          quantile(0.5),
          quantile(0.9),
          quantile(0.99),
          quantile(0.999),
          quantile(1)};
}

nlohmann::json KindJson(const KindStats& kind, double seconds) {
  nlohmann::json json = {{"calls", kind.count()},
                         {"good", kind.good()},
                         {"wrong", kind.wrong},
                         {"good_per_second", seconds > 0 ? static_cast<double>(kind.good()) / seconds : 0}};
  nlohmann::json errors = nlohmann::json::object();
  for (int code = 1; code < kNumCodes; ++code) {
    if (kind.by_code[code] > 0) errors[CodeName(static_cast<absl::StatusCode>(code))] = kind.by_code[code];
  }
  json["errors"] = errors;
  const auto us = [&](double q) { return static_cast<double>(kind.latency.Quantile(q)) / 1e3; };
  json["latency_us"] = {{"mean", kind.latency.mean() / 1e3},
                        {"p50", us(0.5)},
                        {"p90", us(0.9)},
                        {"p99", us(0.99)},
                        {"p99.9", us(0.999)},
                        {"max", us(1)}};
  return json;
}

}  // namespace

std::string LatencyText(double ns) {
  if (ns < 9'999'500) return absl::StrFormat("%.0f us", ns / 1e3);
  if (ns < 999.5e6) return absl::StrFormat("%.1f ms", ns / 1e6);
  return absl::StrFormat("%.2f s", ns / 1e9);
}

void PrintStages(const std::map<std::string, double>& stage_us, std::ostream& out) {
  const char* separator = "Server stages by its own clock, mean: ";
  for (const auto& [stage, us] : stage_us) {
    out << separator << stage << absl::StrFormat(" %.1f us", us);
    separator = ", ";
  }
  if (!stage_us.empty()) out << "\n";
}

void PrintWindow(const WindowStats& stats, std::ostream& out) {
  using Align = cli::Table::Align;
  cli::Table table({{"Call"},
                    {"Calls", Align::kRight},
                    {"Failed", Align::kRight},
                    {"Good/s", Align::kRight},
                    {"p50", Align::kRight},
                    {"p90", Align::kRight},
                    {"p99", Align::kRight},
                    {"p99.9", Align::kRight},
                    {"Max", Align::kRight}});
  int num_kinds = 0;
  for (int i = 0; i < kNumKinds; ++i) {
    if (stats.kinds[i].count() == 0) continue;
    table.AddRow(Row(std::string(KindName(static_cast<Kind>(i))), stats.kinds[i], stats.seconds));
    ++num_kinds;
  }
  if (num_kinds != 1) table.AddRow(Row("all", stats.Total(), stats.seconds));
  table.Print(out);
  out << absl::StrFormat("%.1f s%s, %s calls a second ended, %s of them good\n", stats.seconds,
                         stats.interrupted ? " (interrupted)" : "", RateText(stats.qps()),
                         RateText(stats.goodput()));
  if (stats.offered_rate > 0) {
    out << absl::StrFormat("Open loop at %s calls a second: sent late by %s (p50), %s (p99)",
                           RateText(stats.offered_rate),
                           LatencyText(static_cast<double>(stats.send_lag.Quantile(0.5))),
                           LatencyText(static_cast<double>(stats.send_lag.Quantile(0.99))));
    if (stats.unsent > 0) out << "; " << WithThousands(stats.unsent) << " never sent";
    out << "\n";
  }
  if (stats.server_cpu_us() >= 0) {
    out << absl::StrFormat("Server CPU: %.1f us a call (%.2f cores)\n", stats.server_cpu_us(),
                           stats.server_cpu_seconds / stats.seconds);
  }
  if (stats.completed > 0) {
    out << absl::StrFormat("Client CPU: %.1f us a call (%.2f cores)\n", stats.client_cpu_us(),
                           stats.client_cpu_seconds / stats.seconds);
  }
  if (stats.refusal.count() > 0) {
    out << absl::StrFormat("Calls that failed took %s (p50), %s (p99)\n",
                           LatencyText(static_cast<double>(stats.refusal.Quantile(0.5))),
                           LatencyText(static_cast<double>(stats.refusal.Quantile(0.99))));
  }
  for (const auto& [reason, number] : stats.failures) {
    out << "Failed: " << cli::Printable(reason, 160) << " (" << cli::Count(number, "call") << ")\n";
  }
}

nlohmann::json WindowJson(const WindowStats& stats) {
  nlohmann::json json = {{"seconds", stats.seconds},
                         {"interrupted", stats.interrupted},
                         {"completed_per_second", stats.qps()},
                         {"goodput_per_second", stats.goodput()},
                         {"client_cpu_us_per_call", stats.client_cpu_us()},
                         {"failures", stats.failures}};
  if (stats.offered_rate > 0) {
    json["offered_per_second"] = stats.offered_rate;
    json["unsent"] = stats.unsent;
    json["send_lag_us"] = {{"p50", static_cast<double>(stats.send_lag.Quantile(0.5)) / 1e3},
                           {"p99", static_cast<double>(stats.send_lag.Quantile(0.99)) / 1e3}};
  }
  json["server_cpu_us_per_call"] =
      stats.server_cpu_us() < 0 ? nlohmann::json(nullptr) : nlohmann::json(stats.server_cpu_us());
  if (stats.refusal.count() > 0) {
    json["failed_call_us"] = {{"p50", static_cast<double>(stats.refusal.Quantile(0.5)) / 1e3},
                              {"p99", static_cast<double>(stats.refusal.Quantile(0.99)) / 1e3}};
  }
  nlohmann::json kinds = nlohmann::json::object();
  for (int i = 0; i < kNumKinds; ++i) {
    if (stats.kinds[i].count() > 0) {
      kinds[std::string(KindName(static_cast<Kind>(i)))] = KindJson(stats.kinds[i], stats.seconds);
    }
  }
  json["kinds"] = kinds;
  json["all"] = KindJson(stats.Total(), stats.seconds);
  nlohmann::json by_second = nlohmann::json::array();
  for (const Histogram& second : stats.by_second) {
    by_second.push_back({{"good", second.count()},
                         {"p50_us", static_cast<double>(second.Quantile(0.5)) / 1e3},
                         {"p99_us", static_cast<double>(second.Quantile(0.99)) / 1e3}});
  }
  json["by_second"] = by_second;
  return json;
}

absl::Status WriteTextFile(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (out) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

}  // namespace swiftlet::load
