// Files that are taken up again when they change, without a restart.
//
//   SWIFTLET_ASSIGN_OR_RETURN(auto watch, FileWatch::Start({{.name = "tokens", .paths = {path}, .apply =
//   ...}},
//                                                          absl::Seconds(1), on_reload));
//
// Files are read whole and compared, which no clock and no way of replacing them (in place, by renaming, by
// the links of a Kubernetes volume) can deceive.
#ifndef SWIFTLET_SERVER_SECURITY_FILE_WATCH_H_
#define SWIFTLET_SERVER_SECURITY_FILE_WATCH_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"

namespace swiftlet {

// Files that make sense only together.
struct WatchedFiles {
  std::string name;                // for logs
  std::vector<std::string> paths;  // of at most 1 MiB each
  // Takes their contents, in the order of `paths`; an error refuses them, and what was before stays.
  std::function<absl::Status(std::vector<std::string> contents)> apply;
};

// Thread-safe. One thread.
class FileWatch {
 public:
  // Called on the watch's thread after each reload, good or not.
  using OnReload = std::function<void(const std::string& name, const absl::Status& result)>;

  // Reads and applies all of them; the first error is returned, as "<path>: ..." where a file cannot be read.
  // Then looks every `interval` whether they have changed. What was refused is tried again when it changes.
  static absl::StatusOr<std::unique_ptr<FileWatch>> Start(std::vector<WatchedFiles> files,
                                                          absl::Duration interval, OnReload on_reload);
  ~FileWatch();
  // Looks now, too, on its own thread.
  void Hurry() ABSL_LOCKS_EXCLUDED(mu_);
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

 private:
  struct Watched {
    WatchedFiles files;
    absl::StatusOr<std::vector<std::string>>
        seen;  // the contents that were tried last, or why there are none
  };

  FileWatch(std::vector<Watched> watched, absl::Duration interval, OnReload on_reload);
  void Run();

  std::vector<Watched> watched_;  // after construction the thread's own
  const absl::Duration interval_;
  const OnReload on_reload_;
  Mutex mu_;
  CondVar wake_;
  bool hurry_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_FILE_WATCH_H_
