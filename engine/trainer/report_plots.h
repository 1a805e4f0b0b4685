// The plots of a report, as inline SVG elements. Colours are the CSS variables --s0 .. --s7 of the page;
// every series also has a marker of its own, so that nothing is told by colour alone. Values appear as
// tooltips.
#ifndef SWIFTLET_ENGINE_TRAINER_REPORT_PLOTS_H_
#define SWIFTLET_ENGINE_TRAINER_REPORT_PLOTS_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/trainer/bootstrap.h"

namespace swiftlet {

inline constexpr size_t kNumPlotStyles = 8;

// Text as HTML; bytes that are not UTF-8 become U+FFFD.
std::string EscapeHtml(std::string_view text);

// A little picture of style `style`'s marker, for legends.
std::string LegendMarker(size_t style);

struct Bar {
  std::string name;
  size_t style = 0;
  Interval value;
};
// Horizontal bars from 0, with whiskers for the intervals.
std::string BarPlot(const std::string& title, std::span<const Bar> bars);

struct PlotPoint {
  double x = 0, y = 0;
  std::string tooltip = {};
  bool faint = false;  // rests on little data: drawn hollow
};
struct Series {
  std::string name;
  size_t style = 0;
  std::vector<PlotPoint> points = {};  // by x
  bool line = true;                    // joined
  bool labelled = false;               // the name beside the last point
};
struct Axis {
  std::string label;
  std::vector<std::string> categories = {};       // names of x = 0, 1, ..; empty: a scale of numbers
  std::vector<std::string> category_counts = {};  // a second line below them; empty, or as many
  bool from_zero = true;
  bool logarithmic = false;  // requires positive values
};
std::string XyPlot(const std::string& title, const Axis& x, const Axis& y, std::span<const Series> series);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_REPORT_PLOTS_H_
