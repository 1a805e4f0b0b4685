// One server under load: attached to or started, with its items known, its users' histories recorded, and
// connections to it. Windows of load are run against it.
#ifndef SWIFTLET_CLIENT_LOAD_SUBJECT_H_
#define SWIFTLET_CLIENT_LOAD_SUBJECT_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/load/driver.h"
#include "client/load/managed_server.h"
#include "client/load/stage_times.h"
#include "client/load/workload.h"

namespace swiftlet::load {

struct TargetOptions {
  // A server that runs already ...
  std::string address = "127.0.0.1:50051";
  std::optional<pid_t> pid = {};  // unset: found by its port when it is on this machine
  // ... or one that is started: swiftlet-server's binary, or `null`.
  std::string binary = {};
  bool null = false;
  std::string model_dir = {};
  std::string data_dir = {};  // empty: a scratch directory, removed at the end
  std::string config = {};    // a configuration file
  std::vector<std::string> args = {};
  std::vector<int> cpus = {};
  ChannelSecurity security = {};

  bool managed() const { return null || !binary.empty(); }
};

struct ItemOptions {
  std::string file = {};
  std::string prefix = {};  // with num_items
  int64_t num_items = 0;
  size_t discover = 20'000;  // without either: ask the server for so many
};

struct SubjectOptions {
  TargetOptions target;
  DriverOptions driver;  // the address is the target's
  ItemOptions items;
  WorkloadOptions workload;  // dim is the server's
  bool prepare = true;       // record histories; false: an earlier run with the same options did
  // Between the preparation and the load, a server that was started is started again: nothing is cached then.
  bool restart = false;
};

class Subject {
 public:
  // Told what is being done, for people; may be empty.
  using Progress = std::function<void(std::string_view)>;

  static absl::StatusOr<std::unique_ptr<Subject>> Open(const SubjectOptions& options,
                                                       const Progress& progress);
  ~Subject();
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  // The seed and server_cpu of `options` are set here: every window draws anew.
  WindowStats Run(WindowOptions options);

  const std::string& address() const { return address_; }
  const ChannelSecurity& security() const { return security_; }
  // From the start of the process until it listened, the last time; 0 for a server that was there before.
  double start_seconds() const { return start_seconds_; }
  // Mean microseconds of each stage since Open, by the server's own account; empty for a server that was
  // there before.
  std::map<std::string, double> StageUs() const;
  // Users in the server's cache now; -1 when not known.
  int64_t CachedUsers() const;
  std::optional<pid_t> pid() const { return pid_; }
  // Null for a null server.
  const Workload* workload() const { return workload_.get(); }
  // "swiftlet-server 0.1.0, snapshot 1: 100,000 items, dim 64"; "null server".
  const std::string& description() const { return description_; }

 private:
  Subject() = default;

  absl::Status StartServer(const TargetOptions& target);
  absl::Status Attach(const TargetOptions& target);
  absl::Status OpenWorkload(const SubjectOptions& options, const Progress& progress);
  absl::Status Prepare(const SubjectOptions& options, const Progress& progress);
  // Runs the source to its end.
  absl::Status RunToEnd(CallSource& source, int concurrency, std::string_view what);

  std::unique_ptr<ScratchDirectory> scratch_;
  std::unique_ptr<ManagedServer> server_;
  std::string address_;
  ChannelSecurity security_;
  std::optional<pid_t> pid_;
  double start_seconds_ = 0;
  std::string description_;
  std::unique_ptr<Workload> workload_;
  std::unique_ptr<Driver> driver_;
  std::vector<std::unique_ptr<CallSource>> sources_;
  uint64_t seed_ = 1;
  StageTimes stages_before_;
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_SUBJECT_H_
