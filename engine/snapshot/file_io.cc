#include "engine/snapshot/file_io.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"

namespace swiftlet {

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

int FileDescriptor::Release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

absl::Status ErrnoStatus(int error, std::string_view action, std::string_view path) {
  const std::string message = absl::StrCat(std::string(path), ": cannot ", std::string(action), ": ",
                                           std::generic_category().message(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EEXIST:
    case ENOTEMPTY:
      return absl::AlreadyExistsError(message);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, "create", path);
  return std::unique_ptr<OutputFile>(new OutputFile(path, fd));
}

absl::Status OutputFile::Append(const void* data, size_t size) {
  const char* p = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(fd_.get(), p, std::min(size, size_t{1} << 30));
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write", path_);
    }
    p += n;
    size -= static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status OutputFile::Sync() {
  if (::fsync(fd_.get()) != 0) return ErrnoStatus(errno, "fsync", path_);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, uint64_t max_bytes) {
  // Opening a pipe would wait for a writer.
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(errno, "open", path);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) return absl::DataLossError(absl::StrCat(path, ": not a regular file"));
  const absl::Status too_large =
      absl::DataLossError(absl::StrCat(path, ": expected at most ", max_bytes, " bytes, found more"));
  if (static_cast<uint64_t>(info.st_size) > max_bytes) return too_large;
  std::string contents;
  contents.reserve(static_cast<size_t>(info.st_size));
  char buffer[16384];
  while (true) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof(buffer));
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "read", path);
    }
    if (n == 0) return contents;
    contents.append(buffer, static_cast<size_t>(n));
    if (contents.size() > max_bytes) return too_large;
  }
}

absl::StatusOr<uint64_t> FileSize(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) return absl::DataLossError(absl::StrCat(path, ": not a regular file"));
  return static_cast<uint64_t>(info.st_size);
}

absl::Status SyncPath(const std::string& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(errno, "open", path);
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "fsync", path);
  return absl::OkStatus();
}

absl::Status ReplaceFile(const std::string& directory, const std::string& name,
                         const std::string& temporary_name, std::string_view contents) {
  const std::string temporary = absl::StrCat(directory, "/", temporary_name);
  const std::string target = absl::StrCat(directory, "/", name);
  absl::Status status = [&]() -> absl::Status {
    SWIFTLET_ASSIGN_OR_RETURN(std::unique_ptr<OutputFile> file, OutputFile::Create(temporary));
    SWIFTLET_RETURN_IF_ERROR(file->Append(contents.data(), contents.size()));
    SWIFTLET_RETURN_IF_ERROR(file->Sync());
    if (::rename(temporary.c_str(), target.c_str()) != 0) return ErrnoStatus(errno, "replace", target);
    return absl::OkStatus();
  }();
  if (!status.ok()) {
    ::unlink(temporary.c_str());  // Best effort: the error that counts is the first one.
    return status;
  }
  return SyncPath(directory);
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return ErrnoStatus(errno, "list", path);
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(dir);
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  const int error = errno;
  ::closedir(dir);
  if (error != 0) return ErrnoStatus(error, "list", path);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error && error.value() != ENOENT) return ErrnoStatus(error.value(), "remove", path);
  return absl::OkStatus();
}

std::string RandomSuffix() {
  std::random_device device;
  return absl::StrFormat("%08x%08x", device(), device());
}

}  // namespace swiftlet
