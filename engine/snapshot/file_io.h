// Small durable file operations. Private to this folder. Errors carry the path and errno's text: NOT_FOUND,
// ALREADY_EXISTS, RESOURCE_EXHAUSTED for a full disk, UNAVAILABLE for the rest.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_FILE_IO_H_
#define SWIFTLET_ENGINE_SNAPSHOT_FILE_IO_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

// Closes on destruction.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // Gives the descriptor up without closing it.
  int Release();

 private:
  int fd_;
};

// "<path>: cannot <action>: <strerror>".
absl::Status ErrnoStatus(int error, std::string_view action, std::string_view path);

// A new file, written front to back. Thread-compatible.
class OutputFile {
 public:
  // Creates the file, or empties it.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path);
  absl::Status Append(const void* data, size_t size);
  // Flushes to the disk.
  absl::Status Sync();

 private:
  OutputFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  const std::string path_;
  FileDescriptor fd_;
};

// The whole file; DATA_LOSS when it has more than max_bytes or is no regular file.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, uint64_t max_bytes);
// A regular file's size.
absl::StatusOr<uint64_t> FileSize(const std::string& path);
// fsync of a directory, so that names made or removed in it survive a power loss; or of a file by its name.
absl::Status SyncPath(const std::string& path);
// Writes `directory`/`temporary_name`, fsyncs it, renames it to `directory`/`name` and fsyncs the directory:
// readers see the old contents or the new ones, never a part.
absl::Status ReplaceFile(const std::string& directory, const std::string& name,
                         const std::string& temporary_name, std::string_view contents);
// Names in a directory but "." and "..", sorted.
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);
// Removes a file or a directory with all that is in it; OK when it is not there. Never follows a symbolic
// link.
absl::Status RemoveTree(const std::string& path);
// 16 hex digits that nobody else has drawn.
std::string RandomSuffix();

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_FILE_IO_H_
