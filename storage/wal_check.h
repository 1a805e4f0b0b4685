// Looking for damage in write-ahead logs before RocksDB replays them. Private to storage/.
#ifndef SWIFTLET_STORAGE_WAL_CHECK_H_
#define SWIFTLET_STORAGE_WAL_CHECK_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"

namespace swiftlet {

// RocksDB stops replaying at the first damaged record of a log and forgets, without an error, what follows.
// That is right for the one write that a power loss cut short: it is the last of its log and was never
// acknowledged. A whole record behind a damaged one was begun after the damaged one was synced, so something
// acknowledged is damaged.
//
// DATA_LOSS with the file and the offset when that is so for one of the logs (*.log with a number as name) in
// the directory. Requires that every write was synced before the next one began. Damage of a log's last
// record cannot be told from a write that was cut short.
absl::Status CheckWriteAheadLogs(const std::string& directory);

// CRC-32C (Castagnoli).
uint32_t Crc32c(std::span<const char> bytes);

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_WAL_CHECK_H_
