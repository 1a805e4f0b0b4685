// Preloaded into a program (LD_PRELOAD): ends it, or lets its disk be full, at one step of its writing.
//
// Steps are calls that change the file system, counted from the first mkdir of a name with ".staging-" in it:
//   SWIFTLET_KILL_AT=<n>      kills the process in place of step n
//   SWIFTLET_FULL_AT=<n>      from step n on, what needs space fails with ENOSPC
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<bool> staging{false};
std::atomic<int> steps{0};

int Setting(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atoi(text);
}

// True when the step is to fail for want of space.
bool Step(bool needs_space) {
  static const int kill_at = Setting("SWIFTLET_KILL_AT"), full_at = Setting("SWIFTLET_FULL_AT");
  if (!staging) return false;
  const int step = ++steps;
  if (step == kill_at) kill(getpid(), SIGKILL);
  if (!needs_space || full_at == 0 || step < full_at) return false;
  errno = ENOSPC;
  return true;
}

bool IsRegular(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

template <typename Function>
Function* Next(const char* name, Function*) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define NEXT(name) static const auto next = Next(#name, &::name)

extern "C" {

int mkdir(const char* path, mode_t mode) {
  NEXT(mkdir);
  if (std::strstr(path, ".staging-") != nullptr) staging = true;
  return Step(true) ? -1 : next(path, mode);
}
int open(const char* path, int flags, ...) {
  NEXT(open);
  va_list args;
  va_start(args, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
  va_end(args);
  if ((flags & O_CREAT) != 0 && Step(true)) return -1;
  return next(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  NEXT(open64);
  va_list args;
  va_start(args, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
  va_end(args);
  if ((flags & O_CREAT) != 0 && Step(true)) return -1;
  return next(path, flags, mode);
}
ssize_t write(int fd, const void* data, size_t size) {
  NEXT(write);
  return IsRegular(fd) && Step(true) ? -1 : next(fd, data, size);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  NEXT(pwrite);
  return IsRegular(fd) && Step(true) ? -1 : next(fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  NEXT(pwrite64);
  return IsRegular(fd) && Step(true) ? -1 : next(fd, data, size, offset);
}
int fsync(int fd) {
  NEXT(fsync);
  Step(false);
  return next(fd);
}
int fdatasync(int fd) {
  NEXT(fdatasync);
  Step(false);
  return next(fd);
}
int chmod(const char* path, mode_t mode) {
  NEXT(chmod);
  Step(false);
  return next(path, mode);
}
int rename(const char* from, const char* to) {
  NEXT(rename);
  Step(false);
  return next(from, to);
}
int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned int flags) {
  NEXT(renameat2);
  Step(false);
  return next(from_dir, from, to_dir, to, flags);
}
int unlink(const char* path) {
  NEXT(unlink);
  Step(false);
  return next(path);
}
int unlinkat(int dir, const char* path, int flags) {
  NEXT(unlinkat);
  Step(false);
  return next(dir, path, flags);
}
int flock(int fd, int operation) {
  NEXT(flock);
  Step(false);
  return next(fd, operation);
}

}  // extern "C"
