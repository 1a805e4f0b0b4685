// The events of a delimited file.
#ifndef SWIFTLET_CLIENT_CLI_EVENT_SINK_H_
#define SWIFTLET_CLIENT_CLI_EVENT_SINK_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/bulk_loader.h"
#include "client/client.h"

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

// Records events with ids that are derived from their content (EventIdOf), so that loading a file again
// stores nothing twice while the server remembers the ids.
class EventSink : public BulkSink {
 public:
  // `client` must outlive this.
  static absl::StatusOr<EventSink> Create(const EventFileOptions& options, const TextTable& table,
                                          Client& client, const CallOptions& call);

  absl::Status Add(const std::vector<std::string>& fields, uint64_t line) override;
  size_t size() const override { return request_.events_size(); }
  absl::StatusOr<Counts> Send() override;
  void Drop(size_t index) override;
  void Clear() override { request_.Clear(); }

 private:
  EventSink(ColumnMap columns, Client& client, const CallOptions& call)
      : columns_(std::move(columns)), client_(&client), call_(call) {}

  ColumnMap columns_;
  Client* client_;
  CallOptions call_;
  std::string default_type_;
  TimeUnit time_unit_ = TimeUnit::kAuto;
  v1::RecordEventsRequest request_;
};

// A time of a file: a number (see TimeUnit) or RFC 3339. INVALID_ARGUMENT for anything else and for negative
// times.
absl::StatusOr<int64_t> ParseFileTime(std::string_view text, TimeUnit unit);

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_EVENT_SINK_H_
