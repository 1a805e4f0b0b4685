// Reads JSON Lines: an object a line, plain or gzip. Columns are the names of the objects' members, as text.
#ifndef SWIFTLET_ENGINE_TRAINER_JSON_LINES_H_
#define SWIFTLET_ENGINE_TRAINER_JSON_LINES_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/trainer/text_table.h"

namespace swiftlet {

// Thread-compatible.
class JsonLines final : public RecordTable {
 public:
  static constexpr char kListSeparator = '\x1f';

  // Reads the whole file once for the columns: all members of any object, in the order in which they first
  // appear. INVALID_ARGUMENT for a file without an object; else as LineReader::Open.
  static absl::StatusOr<std::unique_ptr<JsonLines>> Open(const std::string& path);

  // Skips empty lines. A member that is absent or null is empty text; strings are what they hold, numbers and
  // booleans as they are written in JSON, lists of these are joined by list_separator(), and an object, or a
  // list that holds lists or objects, is the text "\0", which is no id, number or name. Bad is a line that is
  // not one JSON object in UTF-8, or that names a member twice.
  absl::StatusOr<Row> Next(std::vector<std::string>* fields) override;
  char list_separator() const override { return kListSeparator; }

 private:
  explicit JsonLines(std::string path) : RecordTable(std::move(path)) {}

  std::unique_ptr<LineReader> lines_;
  absl::flat_hash_map<std::string, size_t> column_of_;
  std::string text_;
};

// A JsonLines for names that end in .jsonl, .ndjson or .json (each also with .gz), else a TextTable with the
// delimiter.
absl::StatusOr<std::unique_ptr<RecordTable>> OpenRecords(const std::string& path, char delimiter);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_JSON_LINES_H_
