#include "client/cli/text.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace swiftlet::cli {
namespace {

constexpr char32_t kInvalid = 0xFFFFFFFF;

// Takes one character off the front of `text`: its code point, or kInvalid for one byte that begins no valid
// one.
char32_t TakeCodePoint(std::string_view& text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const int length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
  char32_t code = length == 1 ? lead : lead & (0x7F >> length);
  bool valid = length > 0 && text.size() >= static_cast<size_t>(length);
  for (int i = 1; valid && i < length; ++i) {
    valid = byte(i) >> 6 == 2;
    code = code << 6 | (byte(i) & 0x3F);
  }
  static constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (!valid || code < kLeast[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
    text.remove_prefix(1);
    return kInvalid;
  }
  text.remove_prefix(length);
  return code;
}

struct Range {
  char32_t first, last;
};

bool In(char32_t code, const Range* begin, const Range* end) {
  const Range* range =
      std::upper_bound(begin, end, code, [](char32_t c, const Range& r) { return c < r.first; });
  return range != begin && code <= std::prev(range)->last;
}

// The blocks that terminals draw over their neighbour, and those that take two columns (Unicode's
// East_Asian_Width W and F, and emoji).
constexpr Range kZeroWidth[] = {{0x300, 0x36F},   {0x483, 0x489},   {0x591, 0x5BD},   {0x610, 0x61A},
                                {0x64B, 0x65F},   {0x6D6, 0x6DC},   {0x93A, 0x93A},   {0x93C, 0x93C},
                                {0x941, 0x948},   {0x94D, 0x94D},   {0xE31, 0xE31},   {0xE34, 0xE3A},
                                {0xE47, 0xE4E},   {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200B, 0x200F},
                                {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}};
constexpr Range kDoubleWidth[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x23E9, 0x23EC},  {0x2E80, 0x303E}, {0x3041, 0x33FF},
    {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xA000, 0xA4CF},  {0xA960, 0xA97F}, {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},  {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F},
    {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};

int WidthOf(char32_t code) {
  if (code == kInvalid) return 1;
  if (In(code, std::begin(kZeroWidth), std::end(kZeroWidth))) return 0;
  return In(code, std::begin(kDoubleWidth), std::end(kDoubleWidth)) ? 2 : 1;
}

// Bidirectional overrides re-order what follows them on the line; they go with the control characters.
bool IsControl(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x202A && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0x2028 || code == 0x2029;
}

}  // namespace

int DisplayWidth(std::string_view text) {
  int width = 0;
  while (!text.empty()) width += WidthOf(TakeCodePoint(text));
  return width;
}

std::string Printable(std::string_view text, int max_width) {
  std::string printable;
  int width = 0;
  size_t cut_at = 0;  // the longest prefix of `printable` that leaves a column for the ellipsis
  while (!text.empty()) {
    std::string_view rest = text;
    const char32_t code = TakeCodePoint(rest);
    const bool bad = code == kInvalid || IsControl(code);
    width += bad ? 1 : WidthOf(code);
    if (width > max_width) {
      printable.resize(cut_at);
      return printable + "…";
    }
    printable.append(bad ? std::string_view("\uFFFD") : text.substr(0, text.size() - rest.size()));
    if (width < max_width) cut_at = printable.size();
    text = rest;
  }
  return printable;
}

std::string WithThousands(int64_t number) {
  std::string digits = absl::StrCat(number);
  const int first = number < 0 ? 1 : 0;
  for (int i = static_cast<int>(digits.size()) - 3; i > first; i -= 3) digits.insert(i, ",");
  return digits;
}

std::string TimeText(int64_t timestamp_ms) {
  if (timestamp_ms == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(timestamp_ms), absl::UTCTimeZone());
}

std::string BytesText(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double amount = static_cast<double>(bytes);
  size_t unit = 0;
  while (amount >= 1024 && unit + 1 < std::size(kUnits)) {
    amount /= 1024;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(bytes, " B") : absl::StrFormat("%.1f %s", amount, kUnits[unit]);
}

std::string NumberText(double number) { return absl::StrFormat("%g", number); }

std::string Count(int64_t number, std::string_view noun) {
  return absl::StrCat(WithThousands(number), " ", std::string(noun), number == 1 ? "" : "s");
}

void Table::AddRow(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (size_t i = 0; i < cells.size(); ++i) cells[i] = Printable(cells[i], columns_[i].max_width);
  rows_.push_back({std::move(cells), {}});
}

void Table::AddNote(std::string note) { rows_.back().notes.push_back(Printable(note)); }

void Table::Print(std::ostream& out, bool bold_header) const {
  std::vector<int> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    int width = DisplayWidth(columns_[i].header);
    for (const Row& row : rows_) width = std::max(width, DisplayWidth(row.cells[i]));
    widths.push_back(width);
  }
  const auto line = [&](auto cell) {
    std::string text;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string& content = cell(i);
      const std::string padding(widths[i] - DisplayWidth(content), ' ');
      if (i > 0) text += "  ";
      text += columns_[i].align == Align::kRight ? padding + content : content + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  };
  const std::string header = line([&](size_t i) -> const std::string& { return columns_[i].header; });
  out << (bold_header ? "\x1b[1m" + header + "\x1b[0m" : header) << "\n";
  for (const Row& row : rows_) {
    out << line([&](size_t i) -> const std::string& { return row.cells[i]; }) << "\n";
    for (const std::string& note : row.notes) out << "    " << note << "\n";
  }
}

}  // namespace swiftlet::cli
