// An open file descriptor.
#ifndef SWIFTLET_STORAGE_FILE_HANDLE_H_
#define SWIFTLET_STORAGE_FILE_HANDLE_H_

#include <unistd.h>

#include <utility>

namespace swiftlet {

// Closes the descriptor it owns; -1: none.
class FileHandle {
 public:
  explicit FileHandle(int fd = -1) : fd_(fd) {}
  ~FileHandle() {
    if (fd_ >= 0) close(fd_);
  }
  FileHandle(FileHandle&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileHandle& operator=(FileHandle&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int fd() const { return fd_; }
  // Gives the descriptor up without closing it.
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_FILE_HANDLE_H_
