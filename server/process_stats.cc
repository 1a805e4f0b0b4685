#include "server/process_stats.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>

namespace swiftlet {

ProcessStats ReadProcessStats() {
  ProcessStats stats;
  timespec cpu = {};
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0) {
    stats.cpu_seconds = static_cast<double>(cpu.tv_sec) + static_cast<double>(cpu.tv_nsec) * 1e-9;
  }
  if (DIR* fds = opendir("/proc/self/fd"); fds != nullptr) {
    stats.open_fds = -1;  // that of the listing itself
    while (const dirent* entry = readdir(fds)) stats.open_fds += entry->d_name[0] != '.';
    closedir(fds);
  }
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.max_fds = static_cast<int64_t>(limit.rlim_cur);
  return stats;
}

std::optional<DiskSpace> ReadDiskSpace(const std::string& path) {
  struct statvfs fs = {};
  if (statvfs(path.c_str(), &fs) != 0) return std::nullopt;
  return DiskSpace{.available = uint64_t{fs.f_bavail} * fs.f_frsize,
                   .size = uint64_t{fs.f_blocks} * fs.f_frsize};
}

}  // namespace swiftlet
