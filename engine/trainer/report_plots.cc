#include "engine/trainer/report_plots.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace swiftlet {
namespace {

// Length of the UTF-8 sequence at text[i], 0 when it is none.
size_t SequenceLength(std::string_view text, size_t i) {
  const auto byte = static_cast<unsigned char>(text[i]);
  const size_t length = byte < 0x80   ? 1
                        : byte < 0xC2 ? 0
                        : byte < 0xE0 ? 2
                        : byte < 0xF0 ? 3
                        : byte < 0xF5 ? 4
                                      : 0;
  if (length == 0 || i + length > text.size()) return 0;
  uint32_t point = length == 1 ? byte : byte & (0x7Fu >> length);
  for (size_t k = 1; k < length; ++k) {
    const auto next = static_cast<unsigned char>(text[i + k]);
    if ((next & 0xC0) != 0x80) return 0;
    point = point << 6 | (next & 0x3Fu);
  }
  const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
  return overlong || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000) ? 0 : length;
}

size_t NumCharacters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// At most `max` characters, the last of them an ellipsis where some were cut.
std::string Shortened(const std::string& text, size_t max) {
  if (NumCharacters(text) <= max) return text;
  size_t end = 0, characters = 0;
  while (end < text.size() && (characters += (text[end] & 0xC0) != 0x80 ? 1 : 0) < max) ++end;
  return text.substr(0, end) + "\u2026";
}

// A step of 1, 2 or 5 times a power of ten that cuts `range` into at most `count` pieces.
double NiceStep(double range, int count) {
  const double raw = range / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

// With as many decimals as the step needs.
std::string TickText(double value, double step) {
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return absl::StrFormat("%.*f", std::min(decimals, 6), value);
}

std::string Marker(size_t style, double x, double y, bool faint, const std::string& tooltip) {
  const double r = 4.5;
  std::string shape;
  switch (style % 4) {
    case 0:
      shape = absl::StrFormat("<circle cx='%.1f' cy='%.1f' r='%.1f'", x, y, r);
      break;
    case 1:
      shape = absl::StrFormat("<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f'", x - r + .5, y - r + .5,
                              2 * r - 1, 2 * r - 1);
      break;
    case 2:
      shape =
          absl::StrFormat("<path d='M%.1f %.1fl%.1f %.1fh-%.1fz'", x, y - r - .5, r + .5, 2 * r, 2 * r + 1);
      break;
    default:
      shape = absl::StrFormat("<path d='M%.1f %.1fl%.1f %.1fl-%.1f %.1fl-%.1f -%.1fz'", x, y - r - 1, r + 1,
                              r + 1, r + 1, r + 1, r + 1, r + 1);
  }
  const std::string color = absl::StrCat("var(--s", style % kNumPlotStyles, ")");
  absl::StrAppend(&shape, " class='m' style='fill:", faint ? "var(--card)" : color, ";stroke:", color, "'");
  if (tooltip.empty()) return shape + "/>";
  const size_t space = shape.find(' ');
  return absl::StrCat(shape, "><title>", EscapeHtml(tooltip), "</title></", shape.substr(1, space - 1), ">");
}

std::string Open(const std::string& title, double width, double height) {
  return absl::StrFormat("<svg viewBox='0 0 %.0f %.0f' role='img' aria-label='%s'>", width, height,
                         EscapeHtml(title));
}

std::string TextAt(double x, double y, std::string_view anchor, std::string_view css,
                   const std::string& text) {
  return absl::StrFormat("<text x='%.1f' y='%.1f' text-anchor='%s' class='%s'>%s</text>", x, y, anchor, css,
                         EscapeHtml(text));
}

std::string Line(double x1, double y1, double x2, double y2, std::string_view css) {
  return absl::StrFormat("<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' class='%s'/>", x1, y1, x2, y2, css);
}

// Maps values of an axis to [begin, end] of the picture, with ticks.
class Scale {
 public:
  Scale(const Axis& axis, double low, double high, double begin, double end)
      : logarithmic_(axis.logarithmic), begin_(begin), end_(end) {
    if (!axis.categories.empty()) {
      low_ = -0.5;
      high_ = static_cast<double>(axis.categories.size()) - 0.5;
      return;
    }
    if (logarithmic_) {
      low_ = std::floor(std::log10(low) * 3 + 1e-9) / 3;
      high_ = std::ceil(std::log10(high) * 3 - 1e-9) / 3;
      if (high_ - low_ < 0.5) high_ = low_ + 0.7;
      for (int power = static_cast<int>(std::floor(low_)); power <= high_; ++power) {
        for (const int factor : {1, 2, 5}) {
          const double value = factor * std::pow(10, power);
          if (std::log10(value) < low_ - 1e-9 || std::log10(value) > high_ + 1e-9) continue;
          if (high_ - low_ > 2.2 && factor != 1) continue;
          ticks_.emplace_back(value,
                              value < 1 ? absl::StrFormat("%g", value) : absl::StrFormat("%.0f", value));
        }
      }
      return;
    }
    if (axis.from_zero) low = std::min(low, 0.0);
    if (!(high > low)) high = low + (low == 0 ? 1 : std::fabs(low) * 0.1);
    if (!axis.from_zero) {
      const double margin = (high - low) * 0.12;
      low -= margin;
      high += margin;
    }
    const double step = NiceStep(high - low, 5);
    low_ = axis.from_zero ? std::floor(low / step + 1e-9) * step : low;
    high_ = axis.from_zero ? std::ceil(high / step - 1e-9) * step : high;
    for (double t = std::ceil(low_ / step - 1e-9) * step; t <= high_ + step * 1e-6; t += step) {
      ticks_.emplace_back(t, TickText(std::fabs(t) < step * 1e-6 ? 0 : t, step));
    }
  }
  double operator()(double value) const {
    const double v = logarithmic_ ? std::log10(value) : value;
    return begin_ + (v - low_) / (high_ - low_) * (end_ - begin_);
  }
  const std::vector<std::pair<double, std::string>>& ticks() const { return ticks_; }

 private:
  bool logarithmic_;
  double begin_, end_, low_ = 0, high_ = 1;
  std::vector<std::pair<double, std::string>> ticks_;
};

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = SequenceLength(text, i);
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length == 0 || (byte < 0x20 && byte != '\t' && byte != '\n')) {
      out += "\uFFFD";
      ++i;
      continue;
    }
    switch (text[i]) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out.append(text, i, length);
    }
    i += length;
  }
  return out;
}

std::string LegendMarker(size_t style) {
  return absl::StrCat("<svg class='key' viewBox='0 0 14 14' aria-hidden='true'>",
                      Marker(style, 7, 7, false, ""), "</svg>");
}

std::string BarPlot(const std::string& title, std::span<const Bar> bars) {
  constexpr double kWidth = 560, kRow = 34, kTop = 8, kBottom = 26, kRight = 96;
  size_t longest = 4;
  double high = 0;
  for (const Bar& bar : bars) {
    longest = std::max(longest, std::min<size_t>(NumCharacters(bar.name), 22));
    high = std::max(high, bar.value.high);
  }
  const double left = 18 + 7.0 * static_cast<double>(longest);
  const double height = kTop + kRow * static_cast<double>(bars.size()) + kBottom;
  Scale x(Axis{}, 0, high, left, kWidth - kRight);
  std::string svg = Open(title, kWidth, height);
  for (const auto& [value, text] : x.ticks()) {
    absl::StrAppend(&svg, Line(x(value), kTop, x(value), height - kBottom, "grid"),
                    TextAt(x(value), height - 8, "middle", "tick", text));
  }
  for (size_t i = 0; i < bars.size(); ++i) {
    const Bar& bar = bars[i];
    const double y = kTop + kRow * (static_cast<double>(i) + 0.5);
    absl::StrAppend(&svg, TextAt(left - 10, y + 4, "end", "name", Shortened(bar.name, 22)));
    absl::StrAppend(
        &svg,
        absl::StrFormat("<rect x='%.1f' y='%.1f' width='%.1f' height='18' rx='3' class='bar' "
                        "style='fill:var(--s%d)'><title>%s: %.4f, 95 %% interval %.4f to %.4f</title></rect>",
                        left, y - 9, std::max(1.0, x(bar.value.mean) - left), bar.style % kNumPlotStyles,
                        EscapeHtml(bar.name), bar.value.mean, bar.value.low, bar.value.high));
    const double low_x = x(bar.value.low), high_x = x(bar.value.high);
    absl::StrAppend(&svg, Line(low_x, y, high_x, y, "whisker"), Line(low_x, y - 5, low_x, y + 5, "whisker"),
                    Line(high_x, y - 5, high_x, y + 5, "whisker"),
                    TextAt(high_x + 9, y + 4, "start", "value", absl::StrFormat("%.4f", bar.value.mean)));
  }
  return absl::StrCat(svg, Line(left, kTop, left, height - kBottom, "axis"), "</svg>");
}

std::string XyPlot(const std::string& title, const Axis& x_axis, const Axis& y_axis,
                   std::span<const Series> series) {
  const bool two_lines = !x_axis.category_counts.empty();
  const double kWidth = 560, kHeight = 330, kLeft = 58, kTop = 24, kBottom = two_lines ? 66 : 50, kRight = 20;
  double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
  for (const Series& s : series) {
    for (const PlotPoint& p : s.points) {
      x_low = std::min(x_low, p.x);
      x_high = std::max(x_high, p.x);
      y_low = std::min(y_low, p.y);
      y_high = std::max(y_high, p.y);
    }
  }
  if (!(x_low <= x_high)) return "<p class='none'>There is nothing to show here.</p>";
  const Scale x(x_axis, x_low, x_high, kLeft, kWidth - kRight),
      y(y_axis, y_low, y_high, kHeight - kBottom, kTop);
  std::string svg = Open(title, kWidth, kHeight);
  for (const auto& [value, text] : y.ticks()) {
    absl::StrAppend(&svg, Line(kLeft, y(value), kWidth - kRight, y(value), "grid"),
                    TextAt(kLeft - 8, y(value) + 4, "end", "tick", text));
  }
  for (const auto& [value, text] : x.ticks()) {
    absl::StrAppend(&svg, Line(x(value), kHeight - kBottom, x(value), kHeight - kBottom + 5, "axis"),
                    TextAt(x(value), kHeight - kBottom + 19, "middle", "tick", text));
  }
  for (size_t c = 0; c < x_axis.categories.size(); ++c) {
    const double at = x(static_cast<double>(c));
    absl::StrAppend(&svg, TextAt(at, kHeight - kBottom + 18, "middle", "name", x_axis.categories[c]));
    if (two_lines) {
      absl::StrAppend(&svg, TextAt(at, kHeight - kBottom + 33, "middle", "tick", x_axis.category_counts[c]));
    }
  }
  absl::StrAppend(&svg, Line(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "axis"),
                  TextAt((kLeft + kWidth - kRight) / 2, kHeight - 8, "middle", "label", x_axis.label),
                  TextAt(4, 13, "start", "label", y_axis.label));
  for (const Series& s : series) {
    if (!s.line || s.points.size() < 2) continue;
    std::string path;
    for (const PlotPoint& p : s.points) {
      absl::StrAppend(&path, absl::StrFormat("%s%.1f %.1f", path.empty() ? "M" : "L", x(p.x), y(p.y)));
    }
    absl::StrAppend(&svg, "<path d='", path, "' class='line' style='stroke:var(--s", s.style % kNumPlotStyles,
                    ")'/>");
  }
  for (const Series& s : series) {
    for (const PlotPoint& p : s.points) {
      absl::StrAppend(&svg, Marker(s.style, x(p.x), y(p.y), p.faint, p.tooltip));
    }
  }
  // Names beside points, moved down or up where they would cover one that is there already.
  struct Box {
    double left, right, y;
  };
  std::vector<Box> boxes;
  for (const Series& s : series) {
    for (const PlotPoint& p : s.points) boxes.push_back({x(p.x) - 6, x(p.x) + 6, y(p.y)});
  }
  for (const Series& s : series) {
    if (!s.labelled || s.points.empty()) continue;
    const double px = x(s.points.back().x), py = y(s.points.back().y);
    const std::string name = Shortened(s.name, 24);
    const double width = 6.6 * static_cast<double>(NumCharacters(name));
    const bool at_left = px + 10 + width > kWidth - 4;
    const double left = at_left ? px - 10 - width : px + 10;
    double at = py;
    for (const double shift : {0.0, 15.0, -15.0, 30.0, -30.0, 45.0, -45.0, 60.0}) {
      at = py + shift - (s.line ? 14 : 0);  // above the line's end
      const bool free = at > kTop - 8 && at < kHeight - kBottom - 4 &&
                        std::none_of(boxes.begin(), boxes.end(), [&](const Box& b) {
                          return std::fabs(b.y - at) < 14 && left < b.right && b.left < left + width;
                        });
      if (free) break;
    }
    boxes.push_back({left, left + width, at});
    // In the color of the point: a name that was moved may stand nearer to another's.
    absl::StrAppend(&svg, "<g style='--name:var(--s", s.style % kNumPlotStyles, ")'>",
                    TextAt(at_left ? px - 10 : px + 10, at + 4, at_left ? "end" : "start", "name", name),
                    "</g>");
  }
  return svg + "</svg>";
}

}  // namespace swiftlet
