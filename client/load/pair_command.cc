// swiftlet-load compare and swiftlet-load ab.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/text.h"
#include "client/load/commands.h"

namespace swiftlet::load {
namespace {

using cli::kFailed;
using cli::kOk;

// Windows of two subjects, and B against A.
int RunPair(Context& context, Subject& a, Subject& b, const std::string& name_a, const std::string& name_b) {
  WindowOptions window = ToWindowOptions(context.flags);
  if (const absl::Status status = SetRate(context, b, window); !status.ok()) return context.Fail(status);
  const PairedResult result = RunPaired(a, b, window, window, context.flags.rounds, context.Progress());
  std::ostream& out = context.Text();
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
      {"stage_us", {{"a", a.StageUs()}, {"b", b.StageUs()}}},
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
  PrintStages(a.StageUs(), out);
  out << "\n" << name_b << ", all windows:\n";
  PrintWindow(result.all_b, out);
  PrintStages(b.StageUs(), out);
  const absl::Status status = WriteOutputs(context, json, absl::StrCat(name_a, " and ", name_b),
                                           {{name_a, &result.all_a}, {name_b, &result.all_b}});
  if (!status.ok()) return context.Fail(status);
  return Acceptable(result.all_a, context.flags) && Acceptable(result.all_b, context.flags) ? kOk : kFailed;
}

}  // namespace

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

}  // namespace swiftlet::load
