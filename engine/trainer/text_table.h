// Reads delimited text with a header line: CSV (RFC 4180 quotes) or TSV, plain or gzip.
//
//   SWIFTLET_ASSIGN_OR_RETURN(auto table, TextTable::Open("events.tsv.gz", 0));
//   std::vector<std::string> fields;
//   for (;;) {
//     SWIFTLET_ASSIGN_OR_RETURN(TextTable::Row row, table->Next(&fields));
//     if (row == TextTable::Row::kEnd) break;
//     ...
//   }
#ifndef SWIFTLET_ENGINE_TRAINER_TEXT_TABLE_H_
#define SWIFTLET_ENGINE_TRAINER_TEXT_TABLE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

// Thread-compatible.
class TextTable {
 public:
  enum class Row { kFields, kBad, kEnd };

  // delimiter of 0: by the name's extension (.csv, .tsv, .tab, each also with .gz), else a tab where the
  // header has one, else a comma. NOT_FOUND or UNAVAILABLE with the path and errno's text; INVALID_ARGUMENT
  // for an empty file, a header with an empty or repeated column name, or text that is not UTF-8.
  static absl::StatusOr<std::unique_ptr<TextTable>> Open(const std::string& path, char delimiter);
  ~TextTable();
  TextTable(const TextTable&) = delete;
  TextTable& operator=(const TextTable&) = delete;

  const std::string& path() const { return path_; }
  const std::vector<std::string>& columns() const { return columns_; }
  // Exact name.
  std::optional<size_t> FindColumn(std::string_view name) const;

  // The next record that is not an empty line, as columns().size() fields. kBad: a record that is not one
  // (wrong number of fields, an open quote, text that is not UTF-8); bad_reason() says why and reading can go
  // on. DATA_LOSS with the path and line for a truncated or corrupt gzip file.
  absl::StatusOr<Row> Next(std::vector<std::string>* fields);
  const std::string& bad_reason() const { return bad_reason_; }
  // Line on which the last record began; 1 is the header.
  uint64_t line() const { return record_line_; }

 private:
  explicit TextTable(std::string path) : path_(std::move(path)) {}
  absl::StatusOr<bool> ReadLine(std::string* line);
  absl::StatusOr<bool> ReadRecord(std::vector<std::string>* fields);

  const std::string path_;
  void* file_ = nullptr;  // gzFile
  char delimiter_ = ',';
  std::vector<std::string> columns_;
  std::string buffer_, line_text_;
  size_t buffer_begin_ = 0;
  uint64_t next_line_ = 1, record_line_ = 0;
  std::string bad_reason_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TEXT_TABLE_H_
