// The events of a delimited file.
#ifndef SWIFTLET_CLIENT_CLI_EVENT_SINK_H_
#define SWIFTLET_CLIENT_CLI_EVENT_SINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/bulk_loader.h"
#include "client/event_load.h"

namespace swiftlet::cli {

enum class TimeUnit {
  kAuto,  // numbers below 100,000,000,000 are seconds (up to the year 5138), others milliseconds
  kSeconds,
  kMilliseconds,
};

struct EventFileOptions {
  std::string columns;  // see ColumnMap: of user, item, type, value, time
  // Of files without a type column. Empty: "rating" where the value's column holds ratings (any name but
  // "value"), else "view".
  std::string default_type;
  TimeUnit time_unit = TimeUnit::kAuto;
};

// Loads events (EventLoad) with ids that are derived from their content (EventIdOf), so that loading a file
// again stores nothing twice while the server remembers the ids.
class EventSink : public BulkSink {
 public:
  static absl::StatusOr<EventSink> Create(const EventFileOptions& options, const TextTable& table,
                                          std::unique_ptr<EventLoad> load);

  absl::Status Add(const std::vector<std::string>& fields, uint64_t line) override;
  size_t size() const override { return batch_.events_size(); }
  absl::Status Send(EventLoadObserver& observer) override;
  absl::Status Finish(EventLoadObserver& observer) override;
  void Stop(absl::Duration timeout) override { load_->Stop(timeout); }
  Counts counts() const override;
  bool Drop(size_t index) override { return load_->RemoveEvent(index); }
  void Clear() override { batch_.Clear(); }

 private:
  EventSink(ColumnMap columns, std::unique_ptr<EventLoad> load)
      : columns_(std::move(columns)), load_(std::move(load)) {}
  // An error about the first batch that is not stored, without the number of the batch.
  absl::Status OfFirstBatch(const absl::Status& status) const;

  ColumnMap columns_;
  std::unique_ptr<EventLoad> load_;
  std::string default_type_;
  TimeUnit time_unit_ = TimeUnit::kAuto;
  v1::LoadEventsRequest batch_;
};

// A time of a file: a number (see TimeUnit) or RFC 3339. INVALID_ARGUMENT for anything else and for negative
// times.
absl::StatusOr<int64_t> ParseFileTime(std::string_view text, TimeUnit unit);

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_EVENT_SINK_H_
