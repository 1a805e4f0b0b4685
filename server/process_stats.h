// What the operating system says about this process and its disks, for the metrics.
#ifndef SWIFTLET_SERVER_PROCESS_STATS_H_
#define SWIFTLET_SERVER_PROCESS_STATS_H_

#include <cstdint>
#include <optional>
#include <string>

namespace swiftlet {

struct ProcessStats {
  double cpu_seconds = 0;  // user and system
  int64_t open_fds = 0;
  int64_t max_fds = 0;  // the soft limit
};

// What cannot be read is 0.
ProcessStats ReadProcessStats();

// Bytes of the file system that a path is on.
struct DiskSpace {
  uint64_t available = 0;  // to a process that is not root
  uint64_t size = 0;
};

// Nothing where the path cannot be read. A system call; as slow as the file system.
std::optional<DiskSpace> ReadDiskSpace(const std::string& path);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_PROCESS_STATS_H_
