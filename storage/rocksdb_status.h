// The one place where RocksDB's errors become ours. Private to storage/.
#ifndef SWIFTLET_STORAGE_ROCKSDB_STATUS_H_
#define SWIFTLET_STORAGE_ROCKSDB_STATUS_H_

#include <string_view>

#include "absl/status/status.h"
#include "rocksdb/slice.h"
#include "rocksdb/status.h"

namespace swiftlet {

// "<path>: <what>: <RocksDB's words>". No space -> RESOURCE_EXHAUSTED; corruption -> DATA_LOSS; not found ->
// NOT_FOUND; a lock that another process holds -> FAILED_PRECONDITION; invalid argument or not supported ->
// INTERNAL (we called it wrongly); the rest (I/O, busy, incomplete) -> UNAVAILABLE.
absl::Status FromRocksDb(const rocksdb::Status& status, std::string_view path, std::string_view what);

// The same for errno of a system call.
absl::Status FromErrno(int error, std::string_view path, std::string_view what);

inline rocksdb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
inline std::string_view FromSlice(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_ROCKSDB_STATUS_H_
