// Measurements of more than one window: saturation, and two subjects side by side.
#ifndef SWIFTLET_CLIENT_LOAD_EXPERIMENT_H_
#define SWIFTLET_CLIENT_LOAD_EXPERIMENT_H_

#include <functional>
#include <string>
#include <vector>

#include "client/load/subject.h"
#include "client/load/window.h"

namespace swiftlet::load {

struct SaturationStep {
  int concurrency = 0;
  WindowStats stats;
};

struct Saturation {
  std::vector<SaturationStep> steps;
  double goodput = 0;   // the best of the steps
  int concurrency = 0;  // the least that comes within 2 % of it
};

// Closed loop with 1, 2, 4, ... calls in flight, up to `max_concurrency`, a window each; ends early when
// twice doubling has added less than 3 %. `on_step` is told of every step as it ends.
Saturation FindSaturation(Subject& subject, const WindowOptions& window, int max_concurrency,
                          const std::function<void(const SaturationStep&)>& on_step);

// What is compared.
struct Figures {
  double p50_us = 0, p99_us = 0, goodput = 0, server_cpu_us = -1;
};
Figures FiguresOf(const WindowStats& stats);

// The median of numbers and their range.
struct Spread {
  double median = 0, least = 0, most = 0;
};
Spread SpreadOf(std::vector<double> numbers);  // all 0 when empty

struct PairedResult {
  std::vector<Figures> a, b;  // window by window
  WindowStats all_a, all_b;   // all windows together
};

// Windows in the order A B B A, `rounds` times: what drifts hits both. Ends early on an interrupt.
PairedResult RunPaired(Subject& a, Subject& b, const WindowOptions& window_a, const WindowOptions& window_b,
                       int rounds, const std::function<void(std::string_view)>& progress);

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_EXPERIMENT_H_
