// What guards a server, made from its configuration: TLS, tokens, rate limits and the audit log, and the
// files of the first two taken up again when they change.
#ifndef SWIFTLET_SERVER_SECURITY_SERVER_SECURITY_H_
#define SWIFTLET_SERVER_SECURITY_SERVER_SECURITY_H_

#include <grpcpp/security/server_credentials.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "server/config.h"
#include "server/metrics.h"
#include "server/security/access_control.h"
#include "server/security/audit_log.h"
#include "server/security/file_watch.h"
#include "server/security/tls_credentials.h"

namespace swiftlet {

// Thread-safe.
class ServerSecurity {
 public:
  // Errors name the setting, or the file and line. `metrics` must outlive this.
  static absl::StatusOr<std::unique_ptr<ServerSecurity>> Create(const SecurityOptions& options,
                                                                ServerMetrics* metrics,
                                                                std::function<int64_t()> now_ms);

  // Takes up rate limits, and looks at the files now.
  void Reload(const SecurityOptions& options);

  AccessControl* access() const { return access_.get(); }
  AuditLog* audit() const { return audit_.get(); }
  // Null: there is no TLS.
  std::shared_ptr<const TlsCertificates> certificates() const { return certificates_; }
  // For gRPC's one TCP port; without TLS where none is configured.
  std::shared_ptr<grpc::ServerCredentials> MakeCredentials() const;
  // When the certificate expires, in seconds since 1970; 0: there is none.
  int64_t certificate_expiry_seconds() const;

 private:
  ServerSecurity() = default;

  std::unique_ptr<AccessControl> access_;
  std::unique_ptr<AuditLog> audit_;
  std::shared_ptr<TlsCertificates> certificates_;
  std::unique_ptr<FileWatch> watch_;  // last: its thread uses the others
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_SERVER_SECURITY_H_
