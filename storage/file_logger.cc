#include "storage/file_logger.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace swiftlet {

FileLogger::FileLogger(std::string path, uint64_t max_bytes)
    : rocksdb::Logger(rocksdb::INFO_LEVEL), path_(std::move(path)), max_bytes_(max_bytes) {
  MutexLock lock(mu_);
  Open();
}

FileLogger::~FileLogger() {
  MutexLock lock(mu_);
  if (fd_ >= 0) close(fd_);
}

void FileLogger::Open() {
  if (path_.empty()) return;
  fd_ = open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  struct stat info;
  size_ = fd_ >= 0 && fstat(fd_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

void FileLogger::Logv(const char* format, va_list arguments) {
  if (path_.empty()) return;
  char text[2048];
  int n = vsnprintf(text, sizeof(text), format, arguments);
  if (n <= 0) return;
  n = std::min<int>(n, sizeof(text) - 1);
  if (text[n - 1] == '\n') --n;
  const std::string line =
      absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()), " ",
                   absl::string_view(text, static_cast<size_t>(n)), "\n");
  MutexLock lock(mu_);
  if (fd_ >= 0 && size_ + line.size() > max_bytes_) {
    close(fd_);
    (void)!rename(path_.c_str(), (path_ + ".old").c_str());
    Open();
  }
  if (fd_ < 0) return;
  const ssize_t written = write(fd_, line.data(), line.size());
  if (written > 0) size_ += static_cast<uint64_t>(written);
}

}  // namespace swiftlet
