// Events and items from files and from a server's database into a DatasetBuilder.
#ifndef SWIFTLET_ENGINE_TRAINER_LOAD_EVENTS_H_
#define SWIFTLET_ENGINE_TRAINER_LOAD_EVENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/progress.h"

namespace swiftlet {

enum class TimeUnit : uint8_t { kAuto, kSeconds, kMilliseconds };

struct EventFileOptions {
  std::string path;
  char delimiter = 0;  // 0: see TextTable::Open
  // Column names; empty: the first of the usual names (user, user_id, userId, ..; item, movieId, ..) that is
  // there. Time, type and value columns may be missing: events are then in file order, of `default_type`, of
  // value 0.
  std::string user_column, item_column, time_column, type_column, value_column;
  std::string default_type;  // empty: "rating" where a column holds ratings, else "view"
  // kAuto: seconds, or milliseconds when the file's largest time is beyond 1e11 (the year 5138 in seconds).
  TimeUnit time_unit = TimeUnit::kAuto;
  uint64_t max_bad_lines = 0;  // more are an error
};

struct LoadStats {
  uint64_t num_records = 0;    // taken
  uint64_t num_bad_lines = 0;  // skipped
  uint64_t num_erased = 0;     // events of users who were erased
  std::string first_bad;       // why, with file, line and column
};

// Errors name file, line, column, value and what was expected.
absl::StatusOr<LoadStats> LoadEventFile(const EventFileOptions& options, DatasetBuilder* builder);

struct ItemFileOptions {
  std::string path;
  char delimiter = 0;
  std::string item_column, title_column, category_column;  // empty: the usual names
  std::vector<std::string> attribute_columns;              // each becomes an attribute of that name
  char category_separator = '|';
  uint64_t max_bad_lines = 0;
};

struct ItemRecord {
  std::string item_id, title;
  std::vector<std::string> categories;
  std::vector<std::pair<std::string, std::string>> attributes = {};  // those that are not empty
};
// Appends to `items`.
absl::StatusOr<LoadStats> LoadItemFile(const ItemFileOptions& options, std::vector<ItemRecord>* items);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_LOAD_EVENTS_H_
