#include "engine/trainer/load_events.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/item_key.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/json_lines.h"
#include "engine/trainer/text_table.h"

namespace swiftlet {
namespace {

constexpr size_t kNoColumn = std::numeric_limits<size_t>::max();
constexpr double kMillisecondsFrom = 1e11;
constexpr double kMaxTimestampMs = 253402300799999.0;  // the end of the year 9999
constexpr size_t kMaxTitleBytes = 1024, kMaxCategories = 64, kMaxCategoryBytes = 128;

// The column called `name`; where that is empty, the first of `usual` (any case). kNoColumn when there is
// none of those and it is not required.
absl::StatusOr<size_t> FindColumn(const RecordTable& table, const std::string& name, const std::string& flag,
                                  std::initializer_list<const char*> usual, bool required) {
  if (!name.empty()) {
    if (const auto column = table.FindColumn(name)) return *column;
    return absl::InvalidArgumentError(
        absl::StrCat(table.path(), ":1: no column \"", name, "\" (", flag,
                     "); the header has: ", absl::StrJoin(table.columns(), ", ")));
  }
  for (const char* candidate : usual) {
    for (size_t c = 0; c < table.columns().size(); ++c) {
      if (absl::AsciiStrToLower(table.columns()[c]) == candidate) return c;
    }
  }
  if (!required) return kNoColumn;
  return absl::InvalidArgumentError(absl::StrCat(
      table.path(), ":1: no column called one of ", absl::StrJoin(usual, ", "), "; name it with ", flag,
      "; the header has: ", Shortened(absl::StrJoin(table.columns(), ", "), 400)));
}

// Counts bad lines and decides when they are too many.
class BadLines {
 public:
  BadLines(const RecordTable& table, uint64_t allowed, LoadStats* stats)
      : table_(table), allowed_(allowed), stats_(stats) {}

  // column of kNoColumn: the line as a whole.
  absl::Status Add(size_t column, const std::string& reason) {
    std::string message = absl::StrCat(table_.path(), ":", table_.line(), ": ");
    if (column != kNoColumn) absl::StrAppend(&message, "column ", Quoted(table_.columns()[column]), ": ");
    absl::StrAppend(&message, reason);
    if (stats_->num_bad_lines == 0) stats_->first_bad = message;
    if (++stats_->num_bad_lines <= allowed_) return absl::OkStatus();
    if (allowed_ > 0)
      absl::StrAppend(&message, " (more than ", allowed_, " bad lines; the first: ", stats_->first_bad, ")");
    return absl::InvalidArgumentError(message);
  }

 private:
  const RecordTable& table_;
  const uint64_t allowed_;
  LoadStats* const stats_;
};

std::string IdReason(const std::string& id) {
  return absl::StrCat(Quoted(id), " is not an id; expected 1 to ", kMaxIdBytes, " bytes of UTF-8");
}

}  // namespace

absl::StatusOr<LoadStats> LoadEventFile(const EventFileOptions& options, DatasetBuilder* builder) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<RecordTable> table,
                            OpenRecords(options.path, options.delimiter));
  SWIFTLET_ASSIGN_OR_RETURN(const size_t user,
                            FindColumn(*table, options.user_column, "--user-column",
                                       {"user", "user_id", "userid", "uid", "customer", "customer_id",
                                        "reviewerid", "visitorid", "session", "session_id", "sessionid"},
                                       true));
  SWIFTLET_ASSIGN_OR_RETURN(
      const size_t item,
      FindColumn(*table, options.item_column, "--item-column",
                 {"item", "item_id", "itemid", "iid", "movie", "movie_id", "movieid", "product", "product_id",
                  "productid", "asin", "track_id", "book_id", "article_id"},
                 true));
  SWIFTLET_ASSIGN_OR_RETURN(
      const size_t time,
      FindColumn(*table, options.time_column, "--time-column",
                 {"timestamp", "timestamp_ms", "time", "ts", "unixtime", "unixreviewtime"}, false));
  SWIFTLET_ASSIGN_OR_RETURN(const size_t type,
                            FindColumn(*table, options.type_column, "--type-column",
                                       {"type", "event", "event_type", "action", "behavior"}, false));
  SWIFTLET_ASSIGN_OR_RETURN(const size_t value,
                            FindColumn(*table, options.value_column, "--value-column",
                                       {"rating", "value", "stars", "score", "overall"}, false));

  std::string type_name = options.default_type;
  if (type_name.empty()) {
    const bool ratings = value != kNoColumn && absl::AsciiStrToLower(table->columns()[value]) != "value";
    type_name = ratings ? "rating" : "view";
  }
  const auto unknown_type = [&](const std::string& name) {
    std::vector<std::string> names;
    for (const EventType& t : builder->event_types().types()) names.push_back(t.name);
    return absl::StrCat(Quoted(name), " is not an event type; expected one of ", absl::StrJoin(names, ", "));
  };
  const EventType* default_type = builder->event_types().FindByName(type_name);
  if (default_type == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("--default-type: ", unknown_type(type_name)));

  // Kept until the unit of time is known.
  struct Record {
    std::string user, item;
    double time = 0;
    float value = 0;
    EventTypeId type = 0;
  };
  std::vector<Record> records;
  LoadStats stats;
  BadLines bad(*table, options.max_bad_lines, &stats);
  double largest_time = 0;
  std::vector<std::string> fields;
  for (;;) {
    if (records.size() % 4096 == 0) SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    SWIFTLET_ASSIGN_OR_RETURN(const RecordTable::Row row, table->Next(&fields));
    if (row == RecordTable::Row::kEnd) break;
    if (row == RecordTable::Row::kBad) {
      SWIFTLET_RETURN_IF_ERROR(bad.Add(kNoColumn, table->bad_reason()));
      continue;
    }
    size_t bad_column = kNoColumn;
    std::string reason;
    const auto fail = [&](size_t column, std::string why) {
      bad_column = column;
      reason = std::move(why);
    };
    Record record;
    record.type = default_type->id;
    if (!IsValidId(fields[user])) fail(user, IdReason(fields[user]));
    if (!IsValidId(fields[item])) fail(item, IdReason(fields[item]));
    if (time != kNoColumn && (!absl::SimpleAtod(fields[time], &record.time) || !std::isfinite(record.time) ||
                              record.time < 0 || record.time > kMaxTimestampMs)) {
      fail(time, absl::StrCat(
                     Quoted(fields[time]),
                     " is not a time; expected seconds or milliseconds since 1970, a number of 0 or more"));
    }
    if (value != kNoColumn && !fields[value].empty() &&
        (!absl::SimpleAtof(fields[value], &record.value) || !std::isfinite(record.value))) {
      fail(value, absl::StrCat(Quoted(fields[value]), " is not a finite number"));
    }
    if (type != kNoColumn) {
      const EventType* found = builder->event_types().FindByName(fields[type]);
      if (found == nullptr) {
        fail(type, unknown_type(fields[type]));
      } else {
        record.type = found->id;
      }
    }
    if (!reason.empty()) {
      SWIFTLET_RETURN_IF_ERROR(bad.Add(bad_column, reason));
      continue;
    }
    largest_time = std::max(largest_time, record.time);
    record.user = std::move(fields[user]);
    record.item = std::move(fields[item]);
    records.push_back(std::move(record));
  }
  const bool milliseconds = options.time_unit == TimeUnit::kMilliseconds ||
                            (options.time_unit == TimeUnit::kAuto && largest_time > kMillisecondsFrom);
  if (!milliseconds && largest_time * 1000 > kMaxTimestampMs) {
    return absl::InvalidArgumentError(absl::StrCat(options.path, ": the largest time, ", largest_time,
                                                   ", is beyond the year 9999 in seconds; --time-unit ms?"));
  }
  for (const Record& r : records) {
    builder->AddEvent(r.user, r.item, r.type, r.value, std::llround(milliseconds ? r.time : r.time * 1000));
  }
  stats.num_records = records.size();
  return stats;
}

absl::StatusOr<LoadStats> LoadItemFile(const ItemFileOptions& options, std::vector<ItemRecord>* items) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<RecordTable> table,
                            OpenRecords(options.path, options.delimiter));
  SWIFTLET_ASSIGN_OR_RETURN(
      const size_t item, FindColumn(*table, options.item_column, "--item-id-column",
                                    {"item", "item_id", "itemid", "id", "movie", "movie_id", "movieid",
                                     "product_id", "productid", "asin", "track_id", "book_id", "article_id"},
                                    true));
  SWIFTLET_ASSIGN_OR_RETURN(const size_t title, FindColumn(*table, options.title_column, "--title-column",
                                                           {"title", "name"}, false));
  SWIFTLET_ASSIGN_OR_RETURN(
      const size_t category,
      FindColumn(*table, options.category_column, "--category-column",
                 {"categories", "genres", "category", "genre", "tags", "attributes"}, false));
  std::vector<size_t> attributes;
  for (const std::string& name : options.attribute_columns) {
    SWIFTLET_ASSIGN_OR_RETURN(attributes.emplace_back(),
                              FindColumn(*table, name, "--attribute-columns", {}, true));
  }
  LoadStats stats;
  BadLines bad(*table, options.max_bad_lines, &stats);
  std::vector<std::string> fields;
  for (;;) {
    SWIFTLET_ASSIGN_OR_RETURN(const RecordTable::Row row, table->Next(&fields));
    if (row == RecordTable::Row::kEnd) break;
    if (row == RecordTable::Row::kBad) {
      SWIFTLET_RETURN_IF_ERROR(bad.Add(kNoColumn, table->bad_reason()));
      continue;
    }
    ItemRecord record;
    if (!IsValidId(fields[item])) {
      SWIFTLET_RETURN_IF_ERROR(bad.Add(item, IdReason(fields[item])));
      continue;
    }
    record.item_id = fields[item];
    if (title != kNoColumn) {
      if (fields[title].size() > kMaxTitleBytes) {
        SWIFTLET_RETURN_IF_ERROR(bad.Add(title, absl::StrCat("a title of ", fields[title].size(),
                                                             " bytes, expected at most ", kMaxTitleBytes)));
        continue;
      }
      if (fields[title].find('\0') != std::string::npos) {
        SWIFTLET_RETURN_IF_ERROR(bad.Add(title, "expected text without a NUL byte"));
        continue;
      }
      record.title = fields[title];
    }
    if (category != kNoColumn) {
      std::string reason;
      const absl::string_view text(fields[category]);
      const char separator =
          table->list_separator() != 0 && text.find(table->list_separator()) != absl::string_view::npos
              ? table->list_separator()
              : options.category_separator;
      for (const auto& piece : absl::StrSplit(text, separator, absl::SkipWhitespace())) {
        const std::string name(absl::StripAsciiWhitespace(piece));
        if (name.size() > kMaxCategoryBytes) {
          reason = absl::StrCat(Quoted(name), " is longer than ", kMaxCategoryBytes, " bytes");
        } else if (!IsValidId(name)) {  // as the snapshot's writer wants it
          reason = absl::StrCat(Quoted(name), " holds a NUL byte");
        }
        if (std::find(record.categories.begin(), record.categories.end(), name) == record.categories.end()) {
          record.categories.push_back(name);
        }
      }
      if (record.categories.size() > kMaxCategories) {
        reason = absl::StrCat(record.categories.size(), " categories, expected at most ", kMaxCategories);
      }
      if (!reason.empty()) {
        SWIFTLET_RETURN_IF_ERROR(bad.Add(category, reason));
        continue;
      }
    }
    for (const size_t column : attributes) {
      if (!fields[column].empty()) {
        record.attributes.emplace_back(table->columns()[column], std::move(fields[column]));
      }
    }
    items->push_back(std::move(record));
    ++stats.num_records;
  }
  return stats;
}

}  // namespace swiftlet
