#include "storage/history_merge_operator.h"

#include <algorithm>
#include <vector>

#include "storage/coding.h"
#include "storage/records.h"
#include "storage/rocksdb_status.h"

namespace swiftlet {
namespace {

int64_t TimestampOf(const char* event) { return LoadFixed<int64_t>(event + kHistoryTimestampOffset); }

}  // namespace

void MergeHistories(std::span<const std::string_view> parts, uint32_t max_events, std::string* result) {
  bool damaged = false;
  bool ordered = true;
  size_t num_events = 0;
  for (const std::string_view part : parts) num_events += part.size() / kHistoryEventBytes;
  std::vector<const char*> events;  // into `parts`
  events.reserve(num_events);
  int64_t last = INT64_MIN;
  for (const std::string_view part : parts) {
    if (!IsEncodedHistory(part)) {
      damaged = true;
      continue;
    }
    const char* const end = part.data() + part.size();
    for (const char* p = part.data() + kHistoryHeaderBytes; p != end; p += kHistoryEventBytes) {
      const int64_t t = TimestampOf(p);
      ordered = ordered && t >= last;
      last = t;
      events.push_back(p);
    }
  }
  if (!ordered) {
    std::stable_sort(events.begin(), events.end(),
                     [](const char* a, const char* b) { return TimestampOf(a) < TimestampOf(b); });
  }
  const size_t first = events.size() > max_events ? events.size() - max_events : 0;
  std::string joined;
  joined.reserve(kHistoryHeaderBytes + (events.size() - first) * kHistoryEventBytes);
  PutFixed<uint8_t>(damaged ? kHistoryDamaged : kHistoryFormat, &joined);
  for (size_t i = first; i < events.size(); ++i) joined.append(events[i], kHistoryEventBytes);
  result->swap(joined);
}

bool HistoryMergeOperator::FullMergeV2(const MergeOperationInput& in, MergeOperationOutput* out) const {
  std::vector<std::string_view> parts;
  parts.reserve(in.operand_list.size() + 1);
  if (in.existing_value != nullptr) parts.push_back(FromSlice(*in.existing_value));
  for (const rocksdb::Slice& operand : in.operand_list) parts.push_back(FromSlice(operand));
  MergeHistories(parts, max_events_, &out->new_value);
  return true;
}

bool HistoryMergeOperator::PartialMergeMulti(const rocksdb::Slice& /*key*/,
                                             const std::deque<rocksdb::Slice>& operands,
                                             std::string* new_value, rocksdb::Logger* /*logger*/) const {
  std::vector<std::string_view> parts;
  parts.reserve(operands.size());
  for (const rocksdb::Slice& operand : operands) parts.push_back(FromSlice(operand));
  MergeHistories(parts, max_events_, new_value);
  return true;
}

}  // namespace swiftlet
