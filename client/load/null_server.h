// The floor to compare with: Swiftlet's RecommendationService on the same gRPC set-up as swiftlet-server's
// (raw callback methods, health, reflection), whose Recommend does nothing. Any request gets the same ten
// items.
#ifndef SWIFTLET_CLIENT_LOAD_NULL_SERVER_H_
#define SWIFTLET_CLIENT_LOAD_NULL_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace swiftlet::load {

class NullServer {
 public:
  // "127.0.0.1:0" picks a free port; also "unix:/path".
  static absl::StatusOr<std::unique_ptr<NullServer>> Start(const std::string& listen_address);
  ~NullServer();
  NullServer(const NullServer&) = delete;
  NullServer& operator=(const NullServer&) = delete;

  int port() const;

 private:
  struct Impl;
  explicit NullServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_NULL_SERVER_H_
