// RocksDB merge operator of the family `users`: joins encoded histories (records.h). Private to storage/.
#ifndef SWIFTLET_STORAGE_HISTORY_MERGE_OPERATOR_H_
#define SWIFTLET_STORAGE_HISTORY_MERGE_OPERATOR_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "rocksdb/merge_operator.h"

namespace swiftlet {

// Joins `parts`, given in order of arrival, into one encoded history: ordered by event time, then arrival,
// the newest `max_events` of it. Merging in any grouping that keeps the order gives the same bytes. Parts
// that are no encoded history make the result a damaged one (kHistoryDamaged), which DecodeHistory refuses
// with DATA_LOSS: only that user is affected, while a failed merge would stop compactions and with them all
// writes.
void MergeHistories(std::span<const std::string_view> parts, uint32_t max_events, std::string* result);

// Immutable, thread-safe.
class HistoryMergeOperator final : public rocksdb::MergeOperator {
 public:
  explicit HistoryMergeOperator(uint32_t max_events) : max_events_(max_events) {}

  bool FullMergeV2(const MergeOperationInput& in, MergeOperationOutput* out) const override;
  bool PartialMergeMulti(const rocksdb::Slice& key, const std::deque<rocksdb::Slice>& operands,
                         std::string* new_value, rocksdb::Logger* logger) const override;
  const char* Name() const override { return "swiftlet.history.1"; }

 private:
  const uint32_t max_events_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_HISTORY_MERGE_OPERATOR_H_
