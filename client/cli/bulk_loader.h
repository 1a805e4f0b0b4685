// Sends a delimited file to the server in batches.
#ifndef SWIFTLET_CLIENT_CLI_BULK_LOADER_H_
#define SWIFTLET_CLIENT_CLI_BULK_LOADER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "engine/trainer/text_table.h"

namespace swiftlet::cli {

// What becomes of the rows of a file: a batch that grows by Add and is sent by Send.
class BulkSink {
 public:
  struct Counts {
    int64_t stored = 0;
    int64_t duplicates = 0;
  };

  virtual ~BulkSink() = default;
  // Turns one row into an element at the end of the batch (or replaces one of the batch). INVALID_ARGUMENT
  // leaves the batch as it was; the message names the column.
  virtual absl::Status Add(const std::vector<std::string>& fields, uint64_t line) = 0;
  virtual size_t size() const = 0;
  // Sends the batch, which stays as it is.
  virtual absl::StatusOr<Counts> Send() = 0;
  virtual void Drop(size_t index) = 0;
  virtual void Clear() = 0;
};

struct BulkOptions {
  std::string command;  // for messages: "event load"
  std::string noun;     // "event"
  std::string field;  // the request's name of the batch: the server's "events[3].item_id: ..." becomes a line
  size_t batch_size = 1000;
  bool skip_bad = false;
  // Added to the message when a load breaks off.
  std::string resume_hint = {};
};

// Opens `path`; "-" is the standard input.
absl::StatusOr<std::unique_ptr<TextTable>> OpenTable(const std::string& path);

// Sends every row of `table` to `sink`, reports progress on session.io.err and the result on session.io.out.
// Stops at the first bad row, with file and line, unless skip_bad. Returns the exit code.
int LoadTable(Session& session, TextTable& table, BulkSink& sink, const BulkOptions& options);

// Which column of a file holds which field.
class ColumnMap {
 public:
  struct Field {
    std::string name;                  // as in --columns: "user"
    std::vector<std::string> aliases;  // lower-case names that are recognised, in any case, without --columns
    bool required = false;
  };

  // `mapping` is "field=column,..."; "field=" says that there is none. INVALID_ARGUMENT, with the names there
  // are, for an unknown field or column, and for a required field without a column.
  static absl::StatusOr<ColumnMap> Create(const std::vector<Field>& fields, std::string_view mapping,
                                          const TextTable& table);
  // The column of a field, if any.
  std::optional<size_t> Find(std::string_view field) const;

 private:
  absl::flat_hash_map<std::string, size_t> columns_;
};

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_BULK_LOADER_H_
