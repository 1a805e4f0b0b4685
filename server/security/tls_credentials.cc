#include "server/security/tls_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>
#include <utility>

namespace swiftlet {
namespace {

// grpc::experimental's FileWatcherCertificateProvider would do, if it did not replace a good certificate by a
// broken one. gRPC's core can ask for the certificate at every handshake, which its C++ layer does not offer.
class TlsCredentials final : public grpc::ServerCredentials {
 public:
  explicit TlsCredentials(std::shared_ptr<const TlsCertificates> certificates)
      : certificates_(std::move(certificates)),
        credentials_(grpc_ssl_server_credentials_create_with_options(
            grpc_ssl_server_credentials_create_options_using_config_fetcher(
                certificates_->Get().material.client_ca.empty()
                    ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                    : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
                &TlsCredentials::Fetch, this))) {}
  ~TlsCredentials() override { grpc_server_credentials_release(credentials_); }

  // The server has no processor of metadata.
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // Before every handshake, one at a time. gRPC goes on with the one before where it cannot use this one.
  static grpc_ssl_certificate_config_reload_status Fetch(void* self,
                                                         grpc_ssl_server_certificate_config** config) {
    auto* const credentials = static_cast<TlsCredentials*>(self);
    if (credentials->certificates_->version() == credentials->fetched_) {
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    const TlsCertificates::Current current = credentials->certificates_->Get();
    const TlsMaterial& material = current.material;
    const grpc_ssl_pem_key_cert_pair pair = {.private_key = material.private_key.c_str(),
                                             .cert_chain = material.certificate_chain.c_str()};
    // gRPC wants authorities also where it asks clients for no certificate, and then does not use them.
    const std::string& authorities =
        material.client_ca.empty() ? material.certificate_chain : material.client_ca;
    *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
    credentials->fetched_ = current.version;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<const TlsCertificates> certificates_;
  uint64_t fetched_ = 0;  // only of Fetch
  grpc_server_credentials* const credentials_;
};

}  // namespace

void TlsCertificates::Set(TlsMaterial material) {
  MutexLock lock(mu_);
  current_.material = std::move(material);
  ++current_.version;
}

absl::Time TlsCertificates::not_after() const {
  MutexLock lock(mu_);
  return current_.material.not_after;
}

TlsCertificates::Current TlsCertificates::Get() const {
  MutexLock lock(mu_);
  return current_;
}

uint64_t TlsCertificates::version() const {
  MutexLock lock(mu_);
  return current_.version;
}

std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(
    std::shared_ptr<const TlsCertificates> certificates) {
  return std::make_shared<TlsCredentials>(std::move(certificates));
}

}  // namespace swiftlet
