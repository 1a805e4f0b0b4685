// A listener's TLS, whose certificate can be replaced while it listens: every handshake uses the one that was
// set last; connections that are there stay as they are. TLS 1.2 and 1.3.
#ifndef SWIFTLET_SERVER_SECURITY_TLS_CREDENTIALS_H_
#define SWIFTLET_SERVER_SECURITY_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "server/security/tls_files.h"

namespace swiftlet {

// Thread-safe.
class TlsCertificates {
 public:
  // For handshakes from now on. `material` has passed CheckTls, and asks for clients' certificates or not as
  // that before it did.
  void Set(TlsMaterial material) ABSL_LOCKS_EXCLUDED(mu_);
  // When the certificate expires.
  absl::Time not_after() const ABSL_LOCKS_EXCLUDED(mu_);

  struct Current {
    uint64_t version = 0;  // grows by 1 with every Set
    TlsMaterial material;
  };
  Current Get() const ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t version() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  mutable Mutex mu_;
  Current current_ ABSL_GUARDED_BY(mu_);
};

// For one listening port. Requires that a certificate was set. With a client_ca every client must show a
// certificate that it signed. What is returned must outlive the gRPC server: handshakes ask it.
std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(
    std::shared_ptr<const TlsCertificates> certificates);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_TLS_CREDENTIALS_H_
