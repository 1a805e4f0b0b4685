#include "client/cli/event_sink.h"

#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/event_id.h"
#include "engine/base/item_key.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"

namespace swiftlet::cli {
namespace {

absl::Status CheckId(const char* field, const std::string& id) {
  if (IsValidId(id)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": ", Quoted(id), " is not an id of 1 to ", kMaxIdBytes, " bytes of UTF-8"));
}

}  // namespace

absl::StatusOr<int64_t> ParseFileTime(std::string_view text, TimeUnit unit) {
  constexpr double kFirstMillisecond = 1e11;  // kAuto: numbers from here on are milliseconds
  constexpr double kLastMillisecond = 9e15;
  double number = 0;
  int64_t timestamp_ms = 0;
  if (absl::SimpleAtod(absl::string_view(text.data(), text.size()), &number)) {
    const bool seconds =
        unit == TimeUnit::kSeconds || (unit == TimeUnit::kAuto && number < kFirstMillisecond);
    number = std::round(seconds ? number * 1000 : number);
    if (!(number >= 0 && number <= kLastMillisecond)) {
      return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is no time since 1970"));
    }
    timestamp_ms = static_cast<int64_t>(number);
  } else {
    SWIFTLET_ASSIGN_OR_RETURN(timestamp_ms, ParseTime(text));
  }
  if (timestamp_ms < 0) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is before 1970"));
  }
  return timestamp_ms;
}

absl::StatusOr<EventSink> EventSink::Create(const EventFileOptions& options, const TextTable& table,
                                            std::unique_ptr<EventLoad> load) {
  // The names, the default type and the units are those of swiftlet-trainer: a file means the same to both.
  const std::vector<ColumnMap::Field> fields = {
      {"user",
       {"user", "user_id", "userid", "uid", "customer", "customer_id", "reviewerid", "visitorid", "session",
        "session_id", "sessionid"},
       true},
      {"item",
       {"item", "item_id", "itemid", "iid", "movie", "movie_id", "movieid", "product", "product_id",
        "productid", "asin", "track_id", "book_id", "article_id"},
       true},
      {"type", {"type", "event", "event_type", "action", "behavior"}, false},
      {"value", {"rating", "value", "stars", "score", "overall"}, false},
      {"time", {"timestamp", "timestamp_ms", "time", "ts", "unixtime", "unixreviewtime"}, false}};
  SWIFTLET_ASSIGN_OR_RETURN(ColumnMap columns, ColumnMap::Create(fields, options.columns, table));
  EventSink sink(std::move(columns), std::move(load));
  sink.default_type_ = options.default_type;
  if (sink.default_type_.empty()) {
    const std::optional<size_t> value = sink.columns_.Find("value");
    sink.default_type_ =
        value && absl::AsciiStrToLower(table.columns()[*value]) != "value" ? "rating" : "view";
  }
  sink.time_unit_ = options.time_unit;
  if (const std::optional<size_t> time = sink.columns_.Find("time");
      time && table.columns()[*time] == "timestamp_ms" && options.time_unit == TimeUnit::kAuto) {
    sink.time_unit_ = TimeUnit::kMilliseconds;
  }
  return sink;
}

absl::Status EventSink::Add(const std::vector<std::string>& fields, uint64_t line) {
  const auto text = [&](const char* field) {
    const std::optional<size_t> column = columns_.Find(field);
    return column ? fields[*column] : std::string();
  };
  v1::Event event;
  event.set_user_id(text("user"));
  event.set_item_id(text("item"));
  SWIFTLET_RETURN_IF_ERROR(CheckId("user", event.user_id()));
  SWIFTLET_RETURN_IF_ERROR(CheckId("item", event.item_id()));
  event.set_type(columns_.Find("type") ? text("type") : default_type_);
  if (event.type().empty()) return absl::InvalidArgumentError("type: empty");
  if (const std::string value_text = text("value"); !value_text.empty()) {
    float value = 0;
    if (!absl::SimpleAtof(value_text, &value) || !std::isfinite(value)) {
      return absl::InvalidArgumentError(absl::StrCat("value: \"", value_text, "\" is not a finite number"));
    }
    event.set_value(value);
  }
  if (const std::string time_text = text("time"); !time_text.empty()) {
    const absl::StatusOr<int64_t> time = ParseFileTime(time_text, time_unit_);
    if (!time.ok()) return absl::InvalidArgumentError(absl::StrCat("time: ", time.status().message()));
    event.set_timestamp_ms(*time);
  }
  event.set_event_id(EventIdOf(event, static_cast<int64_t>(line)));
  *batch_.add_events() = std::move(event);
  return absl::OkStatus();
}

absl::Status EventSink::OfFirstBatch(const absl::Status& status) const {
  const std::string prefix = absl::StrCat("batches[", load_->progress().num_batches, "].");
  if (!absl::StartsWith(status.message(), prefix)) return status;
  return absl::Status(status.code(), status.message().substr(prefix.size()));
}

absl::Status EventSink::Send(EventLoadObserver& observer) {
  if (batch_.events_size() == 0) return OfFirstBatch(load_->WaitForRoom(&observer));
  return OfFirstBatch(load_->Add(std::exchange(batch_, {}), &observer));
}

absl::Status EventSink::Finish(EventLoadObserver& observer) { return OfFirstBatch(load_->Finish(&observer)); }

BulkSink::Counts EventSink::counts() const {
  const EventLoad::Progress progress = load_->progress();
  return {.batches = progress.num_batches,
          .stored = progress.num_recorded,
          .duplicates = progress.num_duplicates};
}

}  // namespace swiftlet::cli
