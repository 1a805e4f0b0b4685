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
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/trainer/line_reader.h"

namespace swiftlet {

// Records with named fields. Thread-compatible.
class RecordTable {
 public:
  enum class Row { kFields, kBad, kEnd };

  virtual ~RecordTable() = default;
  const std::string& path() const { return path_; }
  const std::vector<std::string>& columns() const { return columns_; }
  // Exact name.
  std::optional<size_t> FindColumn(std::string_view name) const;

  // The next record, as columns().size() fields. kBad: a record that is not one; bad_reason() says why and
  // reading can go on. DATA_LOSS with the path and line for a truncated or corrupt gzip file.
  virtual absl::StatusOr<Row> Next(std::vector<std::string>* fields) = 0;
  const std::string& bad_reason() const { return bad_reason_; }
  // Line on which the last record began, from 1.
  uint64_t line() const { return record_line_; }
  // What separates the elements of a field that is a list; 0 where the format does not say.
  virtual char list_separator() const { return 0; }

 protected:
  explicit RecordTable(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  std::vector<std::string> columns_;
  uint64_t record_line_ = 0;
  std::string bad_reason_;
};

// Thread-compatible.
class TextTable final : public RecordTable {
 public:
  // delimiter of 0: by the name's extension (.csv, .tsv, .tab, each also with .gz), else a tab where the
  // header has one, else a comma. NOT_FOUND or UNAVAILABLE with the path and errno's text; INVALID_ARGUMENT
  // for an empty file, a header with an empty or repeated column name, or text that is not UTF-8.
  static absl::StatusOr<std::unique_ptr<TextTable>> Open(const std::string& path, char delimiter);
  // Skips empty lines; line 1 is the header. Bad is a record with a wrong number of fields, an open quote, or
  // text that is not UTF-8.
  absl::StatusOr<Row> Next(std::vector<std::string>* fields) override;

 private:
  explicit TextTable(std::string path) : RecordTable(std::move(path)) {}
  absl::StatusOr<bool> ReadRecord(std::vector<std::string>* fields);

  std::unique_ptr<LineReader> lines_;
  char delimiter_ = ',';
  std::string line_text_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TEXT_TABLE_H_
