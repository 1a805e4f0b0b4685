// Windows as text for people, as JSON for programs, and as a plot.
#ifndef SWIFTLET_CLIENT_LOAD_REPORT_H_
#define SWIFTLET_CLIENT_LOAD_REPORT_H_

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/load/window.h"

namespace swiftlet::load {

// "143 us", "2.35 ms", "1.20 s".
std::string LatencyText(double ns);

// "Server stages, mean: encode 0.9 us, ..."; nothing when there are none.
void PrintStages(const std::map<std::string, double>& stage_us, std::ostream& out);
void PrintWindow(const WindowStats& stats, std::ostream& out);
nlohmann::json WindowJson(const WindowStats& stats);

// A line of a plot, and what it is called.
struct PlotSeries {
  std::string name;
  const WindowStats* stats;
};
// Latency by percentile (the tail stretched), and p50 and p99 of every second.
std::string PlotSvg(const std::string& title, const std::vector<PlotSeries>& series);

// UNAVAILABLE names the file and why it could not be written.
absl::Status WriteTextFile(const std::string& path, const std::string& text);

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_REPORT_H_
