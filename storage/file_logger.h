// RocksDB's own log, as a file that may fail. Private to storage/.
#ifndef SWIFTLET_STORAGE_FILE_LOGGER_H_
#define SWIFTLET_STORAGE_FILE_LOGGER_H_

#include <cstdarg>
#include <cstdint>
#include <string>

#include "engine/base/mutex.h"
#include "rocksdb/env.h"

namespace swiftlet {

// Appends lines to `path`, which becomes `path`.old when it has max_bytes. Errors of the file are ignored:
// RocksDB's logger passes them to assertions that distributions leave on, and a full disk would abort the
// process. An empty path logs nothing. Thread-safe.
class FileLogger final : public rocksdb::Logger {
 public:
  explicit FileLogger(std::string path, uint64_t max_bytes = uint64_t{4} << 20);
  ~FileLogger() override;
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Open() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string path_;
  const uint64_t max_bytes_;
  Mutex mu_;
  int fd_ ABSL_GUARDED_BY(mu_) = -1;
  uint64_t size_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_FILE_LOGGER_H_
