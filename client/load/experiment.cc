#include "client/load/experiment.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace swiftlet::load {

Saturation FindSaturation(Subject& subject, const WindowOptions& window, int max_concurrency,
                          const std::function<void(const SaturationStep&)>& on_step) {
  Saturation result;
  int without_gain = 0;
  for (int concurrency = 1; concurrency <= max_concurrency && without_gain < 2 && !Interrupted();
       concurrency *= 2) {
    WindowOptions options = window;
    options.rate.reset();
    options.concurrency = concurrency;
    result.steps.push_back({.concurrency = concurrency, .stats = subject.Run(options)});
    const double goodput = result.steps.back().stats.goodput();
    without_gain = goodput > result.goodput * 1.03 ? 0 : without_gain + 1;
    result.goodput = std::max(result.goodput, goodput);
    if (on_step) on_step(result.steps.back());
  }
  for (const SaturationStep& step : result.steps) {
    if (step.stats.goodput() < result.goodput * 0.98) continue;
    result.concurrency = step.concurrency;
    break;
  }
  return result;
}

Figures FiguresOf(const WindowStats& stats) {
  const Histogram latency = stats.Total().latency;
  return {.p50_us = static_cast<double>(latency.Quantile(0.5)) / 1e3,
          .p99_us = static_cast<double>(latency.Quantile(0.99)) / 1e3,
          .goodput = stats.goodput(),
          .server_cpu_us = stats.server_cpu_us()};
}

Spread SpreadOf(std::vector<double> numbers) {
  if (numbers.empty()) return {};
  std::sort(numbers.begin(), numbers.end());
  const size_t n = numbers.size();
  return {.median = (numbers[(n - 1) / 2] + numbers[n / 2]) / 2,
          .least = numbers.front(),
          .most = numbers.back()};
}

PairedResult RunPaired(Subject& a, Subject& b, const WindowOptions& window_a, const WindowOptions& window_b,
                       int rounds, const std::function<void(std::string_view)>& progress) {
  PairedResult result;
  const auto run = [](Subject& subject, const WindowOptions& window, std::vector<Figures>& figures,
                      WindowStats& all) {
    if (Interrupted()) return;
    WindowStats stats = subject.Run(window);
    // A window that was cut short is in what was counted, not in what is compared.
    if (!stats.interrupted) figures.push_back(FiguresOf(stats));
    const double cpu = std::max(0.0, all.server_cpu_seconds) + stats.server_cpu_seconds;
    all.server_cpu_seconds = stats.server_cpu_seconds < 0 ? -1 : cpu;
    all.client_cpu_seconds += stats.client_cpu_seconds;
    all.seconds += stats.seconds;
    all.offered_rate = stats.offered_rate;
    all.interrupted |= stats.interrupted;
    // One after the other, not on top of each other.
    std::vector<Histogram> by_second = std::move(all.by_second);
    all.by_second.clear();
    all.Merge(stats);
    by_second.insert(by_second.end(), all.by_second.begin(), all.by_second.end());
    all.by_second = std::move(by_second);
  };
  for (int round = 0; round < rounds && !Interrupted(); ++round) {
    if (progress) progress(absl::StrCat("round ", round + 1, " of ", rounds));
    run(a, window_a, result.a, result.all_a);
    run(b, window_b, result.b, result.all_b);
    run(b, window_b, result.b, result.all_b);
    run(a, window_a, result.a, result.all_a);
  }
  return result;
}

}  // namespace swiftlet::load
