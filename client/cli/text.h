// Text for terminals: widths, tables, numbers.
#ifndef SWIFTLET_CLIENT_CLI_TEXT_H_
#define SWIFTLET_CLIENT_CLI_TEXT_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace swiftlet::cli {

// The columns that `text` takes on a terminal: wide East Asian characters and emoji count 2, combining marks
// 0. Bytes that are not UTF-8 count 1 each.
int DisplayWidth(std::string_view text);

// `text` without control characters and bytes that are not UTF-8 (each becomes U+FFFD), cut to at most
// `max_width` columns with an ellipsis. What a server sends can then not steer the terminal.
std::string Printable(std::string_view text, int max_width = 1 << 20);

// "1,234,567".
std::string WithThousands(int64_t number);
// "2026-11-22 03:38:27" (UTC); "-" for 0.
std::string TimeText(int64_t timestamp_ms);
// "512 B", "3.2 KiB", "1.5 GiB".
std::string BytesText(int64_t bytes);
// A number without trailing zeros: "4", "3.5".
std::string NumberText(double number);
// "1 event", "2 events".
std::string Count(int64_t number, std::string_view noun);

// Aligned columns under a header. Cells are made printable; columns are two spaces apart. Thread-compatible.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string header;
    Align align = Align::kLeft;
    int max_width = 1 << 20;  // longer cells are cut
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // One cell a column.
  void AddRow(std::vector<std::string> cells);
  // A line under the row that was added last, indented by four columns.
  void AddNote(std::string note);
  // `bold_header` writes the header in bold (for a terminal).
  void Print(std::ostream& out, bool bold_header = false) const;

 private:
  struct Row {
    std::vector<std::string> cells;
    std::vector<std::string> notes;
  };
  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_TEXT_H_
