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
#include "absl/time/time.h"
#include "client/cli/command.h"
#include "client/event_load.h"
#include "engine/trainer/text_table.h"

namespace swiftlet::cli {

// What becomes of the rows of a file: batches, which grow by Add and are handed over by Send.
class BulkSink {
 public:
  // What is stored.
  struct Counts {
    int64_t batches = 0;  // the first so many that were handed over
    int64_t stored = 0;   // their elements
    int64_t duplicates = 0;
  };

  virtual ~BulkSink() = default;
  // Turns one row into an element at the end of the batch (or replaces one of the batch). INVALID_ARGUMENT
  // leaves the batch as it was; the message names the column.
  virtual absl::Status Add(const std::vector<std::string>& fields, uint64_t line) = 0;
  // Elements of the batch that grows.
  virtual size_t size() const = 0;
  // Hands the batch over, if there is one, and goes on with what was handed over before; the batch can be
  // stored now or later. An error is that of the first batch that is not stored; INVALID_ARGUMENT for one
  // element names it: "events[3].item_id: ...". Drop it and call again. CANCELLED when the observer said so.
  virtual absl::Status Send(EventLoadObserver& observer) = 0;
  // Waits until all that was handed over is stored. Errors as of Send.
  virtual absl::Status Finish(EventLoadObserver& observer) = 0;
  // Hands nothing more over, and waits for what is under way.
  virtual void Stop(absl::Duration /*timeout*/) {}
  virtual Counts counts() const = 0;
  // Takes an element out of the first batch that is not stored; a batch that is empty then counts as stored.
  // False: there is no such element.
  virtual bool Drop(size_t index) = 0;
  // Empties the batch that grows.
  virtual void Clear() = 0;
};

struct BulkOptions {
  std::string command;  // for messages: "event load"
  std::string noun;     // "event"
  std::string field;  // the request's name of the batch: the server's "events[3].item_id: ..." becomes a line
  size_t batch_size = 1000;
  bool skip_bad = false;
  // Lines before this one are passed over.
  uint64_t from_line = 0;
  bool has_from_line = false;  // --from-line can be advised
  // Added to the message when a load breaks off.
  std::string resume_hint = {};
};

// Opens `path`; "-" is the standard input.
absl::StatusOr<std::unique_ptr<TextTable>> OpenTable(const std::string& path);

// Sends every row of `table` to `sink`, reports progress on session.io.err and the result on session.io.out.
// Stops at the first bad row, with file and line, unless skip_bad; what came before it and was sent is
// stored. SIGINT and SIGTERM end the load: it waits a moment for what is under way, and says how far it came.
// Returns the exit code.
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
