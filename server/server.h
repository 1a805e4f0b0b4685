// The whole server, in one process: storage, the snapshot manager, the gRPC services and the metrics page.
//
//   SWIFTLET_ASSIGN_OR_RETURN(std::unique_ptr<Server> server, Server::Start(options));
//   ... wait for a signal ...
//   server->Shutdown();
#ifndef SWIFTLET_SERVER_SERVER_H_
#define SWIFTLET_SERVER_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config.h"

namespace swiftlet {

// Thread-compatible.
class Server {
 public:
  // Returns when both addresses listen, and the snapshot that was published last serves if there is one.
  // Errors say what is wrong with which setting: an address in use, a directory that cannot be written, a
  // database of another process.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);
  // Shuts down if that has not been done.
  ~Server();

  // Takes up what config.proto marks "(Reloaded.)"; of the other `changed` fields (ChangedFields of the
  // configuration that the server was started with) a warning says that they need a restart.
  void Reload(const ServerOptions& options, const std::vector<std::string>& changed);
  // For a server without a configuration file: looks at certificates and tokens now, and logs that this is
  // all.
  void ReloadFiles();
  // Of a configuration that is none: logged and counted, and nothing changes.
  void RefuseReload(const std::string& error);

  // Reports NOT_SERVING, takes no new calls, waits for those in progress up to the drain timeout, then cuts
  // them off; then closes storage. Idempotent.
  void Shutdown();

  int grpc_port() const;
  int metrics_port() const;  // 0: off

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SERVER_H_
