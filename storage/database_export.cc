// Database: everything about one user.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "storage/coding.h"
#include "storage/database_impl.h"
#include "storage/rocksdb_status.h"

namespace swiftlet {
absl::StatusOr<ErasureRecord> Database::Impl::ReadErasure(std::string_view user_id) const {
  std::string value;
  ErasureRecord erasure;
  const rocksdb::Status status = db->Get({}, meta, ErasedKey(user_id), &value);
  if (status.IsNotFound()) return erasure;
  SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot read an erasure"));
  SWIFTLET_RETURN_IF_ERROR(DecodeErasure(value, &erasure));
  return erasure;
}

absl::StatusOr<UserLogPart> Database::ReadUserLog(std::string_view user_id, uint64_t from,
                                                  uint64_t max_scanned, size_t max_entries) {
  const Impl& s = *impl_;
  SWIFTLET_ASSIGN_OR_RETURN(const ErasureRecord erasure, s.ReadErasure(user_id));
  UserLogPart part;
  rocksdb::ReadOptions read;
  read.fill_cache = false;  // nobody else reads these blocks
  read.readahead_size = size_t{1} << 20;
  const std::unique_ptr<rocksdb::Iterator> it(s.db->NewIterator(read, s.events));
  uint64_t num_scanned = 0;
  for (it->Seek(EncodeKey64(from)); it->Valid(); it->Next()) {
    uint64_t arrival = 0;
    const bool good_key = DecodeKey64(FromSlice(it->key()), &arrival);
    if (good_key && (num_scanned++ == max_scanned || part.entries.size() == max_entries)) {
      part.next = arrival;
      return part;
    }
    if (!IsEventOf(FromSlice(it->value()), user_id)) continue;
    UserLogPart::Entry entry;
    absl::Status decoded = DecodeEventRecord(FromSlice(it->value()), &entry.arrival_ms, &entry.event);
    if (!good_key) decoded = absl::DataLossError("malformed key");
    if (!decoded.ok()) {
      return absl::DataLossError(absl::StrCat(s.options.path, ": event log: key 0x",
                                              it->key().ToString(/*hex=*/true), ": ", decoded.message()));
    }
    if (arrival <= erasure.arrival) {
      ++part.num_erased;
    } else {
      part.entries.push_back(std::move(entry));
    }
  }
  SWIFTLET_RETURN_IF_ERROR(s.Error(it->status(), "cannot read the event log"));
  return part;
}

absl::StatusOr<int64_t> Database::ReadErasedMs(std::string_view user_id) {
  SWIFTLET_ASSIGN_OR_RETURN(const ErasureRecord erasure, impl_->ReadErasure(user_id));
  return erasure.erased_ms;
}

}  // namespace swiftlet
