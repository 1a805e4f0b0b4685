// Who makes a call that this process's own HTTP listener passes on to its gRPC services. Such calls come
// through a channel within the process, so that gRPC knows no peer of them: the listener says who it is, with
// a secret that nobody else has. What others send by these names counts for nothing.
#ifndef SWIFTLET_SERVER_CALL_ORIGIN_H_
#define SWIFTLET_SERVER_CALL_ORIGIN_H_

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>

#include <string>

#include "server/security/sha256.h"

namespace swiftlet {

// Immutable.
class CallOrigin {
 public:
  // A new secret.
  CallOrigin();

  // For a call that is passed on. peer: as gRPC names it; printable ASCII. certificate: its common name.
  void Tell(const std::string& peer, const std::string& certificate, grpc::ClientContext* context) const;

  // As gRPC's context.peer(), or of the client behind the listener.
  std::string PeerOf(const grpc::CallbackServerContext& context) const;
  // The common name of the client's certificate; empty without one.
  std::string CertificateOf(const grpc::CallbackServerContext& context) const;

 private:
  // Whether the call comes from the listener.
  bool IsTold(const grpc::CallbackServerContext& context) const;

  const std::string secret_;
  const Sha256Digest digest_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_CALL_ORIGIN_H_
