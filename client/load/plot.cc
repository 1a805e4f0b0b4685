// PlotSvg of report.h.
#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/load/report.h"

namespace swiftlet::load {
namespace {

constexpr double kWidth = 900, kPanelHeight = 300, kLeft = 80, kRight = 150, kTop = 50, kGap = 80;
constexpr std::array<const char*, 6> kColours = {"#1f6feb", "#d1242f", "#1a7f37",
                                                 "#9a6700", "#8250df", "#57606a"};

std::string Escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
    }
  }
  return out;
}

std::string Text(double x, double y, const std::string& anchor, const std::string& text, int size = 12) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" font-size=\"%d\">%s</text>\n", x, y,
                         anchor, size, Escape(text));
}

std::string Line(double x1, double y1, double x2, double y2) {
  return absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#d0d7de\"/>\n", x1,
                         y1, x2, y2);
}

// Latencies on a logarithmic axis from one power of ten to another.
class LatencyAxis {
 public:
  // The range in ns that must fit.
  LatencyAxis(double least, double most, double top) : top_(top) {
    low_ = std::floor(std::log10(std::max(least, 1e3)));
    high_ = std::max(low_ + 1, std::ceil(std::log10(std::max(most, 1e3))));
  }
  double Y(double ns) const {
    const double at = std::clamp((std::log10(std::max(ns, 1.0)) - low_) / (high_ - low_), 0.0, 1.0);
    return top_ + kPanelHeight * (1 - at);
  }
  std::string Grid() const {
    std::string svg;
    for (int power = static_cast<int>(low_); power <= static_cast<int>(high_); ++power) {
      for (const int step : {1, 2, 5}) {
        if (power == static_cast<int>(high_) && step > 1) break;
        const double ns = step * std::pow(10, power), y = Y(ns);
        svg += Line(kLeft, y, kWidth - kRight, y) + Text(kLeft - 8, y + 4, "end", LatencyText(ns));
      }
    }
    return svg;
  }

 private:
  double top_, low_, high_;
};

std::string Polyline(const std::string& points, int colour, bool dashed) {
  return absl::StrFormat("<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s points=\"%s\"/>\n",
                         kColours[static_cast<size_t>(colour) % kColours.size()],
                         dashed ? " stroke-dasharray=\"6 4\"" : "", points);
}

std::string Percentiles(const std::vector<PlotSeries>& series, double top) {
  // x is log10(1 / (1 - q)): 0 to 5 nines.
  static constexpr double kNines = 5;
  const auto x = [](double q) {
    return kLeft + (kWidth - kLeft - kRight) * std::min(-std::log10(1 - q), kNines) / kNines;
  };
  std::vector<KindStats> totals;
  double least = 1e18, most = 0;
  for (const PlotSeries& s : series) {
    totals.push_back(s.stats->Total());
    const Histogram& latency = totals.back().latency;
    if (latency.count() == 0) continue;
    least = std::min(least, static_cast<double>(latency.Quantile(0)));
    most = std::max(most, static_cast<double>(latency.max()));
  }
  if (most == 0) return "";
  const LatencyAxis axis(least, most, top);
  std::string svg = Text(kLeft, top - 10, "start", "Latency by percentile", 14) + axis.Grid();
  for (const double q : {0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999}) {
    svg += Line(x(q), top, x(q), top + kPanelHeight) +
           Text(x(q), top + kPanelHeight + 18, "middle", absl::StrFormat("%g %%", q * 100));
  }
  for (size_t i = 0; i < series.size(); ++i) {
    const Histogram& latency = totals[i].latency;
    if (latency.count() == 0) continue;
    std::string points;
    const double finest = 1 - 1 / static_cast<double>(latency.count());
    for (double nines = 0; nines <= kNines; nines += 0.05) {
      const double q = 1 - std::pow(10, -nines);
      if (q > finest && nines > 0) break;
      absl::StrAppendFormat(&points, "%.1f,%.1f ", x(q), axis.Y(static_cast<double>(latency.Quantile(q))));
    }
    svg += Polyline(points, static_cast<int>(i), false) +
           absl::StrFormat("<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"%s\"/>\n",
                           kWidth - kRight + 12, top + 20.0 * static_cast<double>(i),
                           kColours[i % kColours.size()]) +
           Text(kWidth - kRight + 30, top + 20.0 * static_cast<double>(i) + 11, "start", series[i].name);
  }
  return svg;
}

std::string OverTime(const std::vector<PlotSeries>& series, double top) {
  size_t seconds = 0;
  double least = 1e18, most = 0;
  for (const PlotSeries& s : series) {
    seconds = std::max(seconds, s.stats->by_second.size());
    for (const Histogram& second : s.stats->by_second) {
      if (second.count() == 0) continue;
      least = std::min(least, static_cast<double>(second.Quantile(0.5)));
      most = std::max(most, static_cast<double>(second.Quantile(0.99)));
    }
  }
  if (most == 0) return "";
  const double span = std::max<double>(1, static_cast<double>(seconds) - 1);
  const auto x = [&](double second) { return kLeft + (kWidth - kLeft - kRight) * second / span; };
  const LatencyAxis axis(least, most, top);
  std::string svg =
      Text(kLeft, top - 10, "start", "Over time, by second: p50 (line), p99 (dashed)", 14) + axis.Grid();
  const auto step = std::max<size_t>(1, (seconds + 9) / 10);
  for (size_t second = 0; second < seconds; second += step) {
    svg +=
        Text(x(static_cast<double>(second)), top + kPanelHeight + 18, "middle", absl::StrCat(second, " s"));
  }
  for (size_t i = 0; i < series.size(); ++i) {
    for (const double q : {0.5, 0.99}) {
      std::string points;
      const std::vector<Histogram>& by_second = series[i].stats->by_second;
      for (size_t second = 0; second < by_second.size(); ++second) {
        if (by_second[second].count() == 0) continue;
        absl::StrAppendFormat(&points, "%.1f,%.1f ", x(static_cast<double>(second)),
                              axis.Y(static_cast<double>(by_second[second].Quantile(q))));
      }
      svg += Polyline(points, static_cast<int>(i), q > 0.5);
    }
  }
  return svg;
}

}  // namespace

std::string PlotSvg(const std::string& title, const std::vector<PlotSeries>& series) {
  const double height = kTop + 30 + 2 * kPanelHeight + kGap + 50;
  return absl::StrFormat(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f "
             "%.0f\" "
             "font-family=\"sans-serif\" fill=\"#1f2328\">\n<rect width=\"100%%\" height=\"100%%\" "
             "fill=\"white\"/>\n",
             kWidth, height, kWidth, height) +
         Text(kLeft, 24, "start", title, 16) + Percentiles(series, kTop + 30) +
         OverTime(series, kTop + 30 + kPanelHeight + kGap) + "</svg>\n";
}

}  // namespace swiftlet::load
