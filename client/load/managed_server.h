// A server that the load generator starts for itself, and the CPU time of any process.
#ifndef SWIFTLET_CLIENT_LOAD_MANAGED_SERVER_H_
#define SWIFTLET_CLIENT_LOAD_MANAGED_SERVER_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace swiftlet::load {

// CPU seconds of all threads of the process so far, those that have ended included; -1 when there is no such
// process.
double ProcessCpu(pid_t pid);
// The most memory and the memory that the process has resident now, in bytes; 0 when not known.
int64_t ResidentBytes(pid_t pid);
// The process that listens on the TCP port of `address` ("127.0.0.1:50051") of this machine, if it can be
// seen.
std::optional<pid_t> FindListener(std::string_view address);
// "0-1,4" as CPU numbers.
absl::StatusOr<std::vector<int>> ParseCpus(std::string_view text);

struct ManagedServerOptions {
  std::string binary;
  // Given to the binary as they are, before "--port-file FILE".
  std::vector<std::string> args;
  std::string directory;       // exists; receives the port file and the log
  std::vector<int> cpus = {};  // empty: those of this process
  absl::Duration start_timeout = absl::Seconds(120);
};

// A child process. Thread-compatible.
class ManagedServer {
 public:
  // Returns when the server listens. The error holds the end of its log when it does not.
  static absl::StatusOr<std::unique_ptr<ManagedServer>> Start(const ManagedServerOptions& options);
  // SIGTERM; SIGKILL when that takes longer than 20 s.
  ~ManagedServer();
  ManagedServer(const ManagedServer&) = delete;
  ManagedServer& operator=(const ManagedServer&) = delete;

  const std::string& address() const { return address_; }
  pid_t pid() const { return pid_; }
  int metrics_port() const { return metrics_port_; }  // 0: none

 private:
  ManagedServer(pid_t pid) : pid_(pid) {}

  pid_t pid_;
  std::string address_;
  int metrics_port_ = 0;
};

// A directory under $TMPDIR (or /tmp) that goes away with its owner.
class ScratchDirectory {
 public:
  static absl::StatusOr<std::unique_ptr<ScratchDirectory>> Create();
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_MANAGED_SERVER_H_
