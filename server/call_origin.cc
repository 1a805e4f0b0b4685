#include "server/call_origin.h"

#include <string_view>

#include "server/security/token_file.h"

namespace swiftlet {
namespace {

constexpr char kSecretKey[] = "x-swiftlet-origin", kPeerKey[] = "x-swiftlet-peer",
               kCertificateKey[] = "x-swiftlet-certificate-bin";  // any bytes

std::string_view Value(const grpc::CallbackServerContext& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return {};
  return {found->second.data(), found->second.size()};
}

}  // namespace

CallOrigin::CallOrigin() : secret_(NewTokenSecret()), digest_(Sha256(secret_)) {}

void CallOrigin::Tell(const std::string& peer, const std::string& certificate,
                      grpc::ClientContext* context) const {
  context->AddMetadata(kSecretKey, secret_);
  context->AddMetadata(kPeerKey, peer);
  if (!certificate.empty()) context->AddMetadata(kCertificateKey, certificate);
}

bool CallOrigin::IsTold(const grpc::CallbackServerContext& context) const {
  const std::string_view secret = Value(context, kSecretKey);
  return !secret.empty() && ConstantTimeEquals(Sha256(secret), digest_);
}

std::string CallOrigin::PeerOf(const grpc::CallbackServerContext& context) const {
  return IsTold(context) ? std::string(Value(context, kPeerKey)) : context.peer();
}

std::string CallOrigin::CertificateOf(const grpc::CallbackServerContext& context) const {
  if (IsTold(context)) return std::string(Value(context, kCertificateKey));
  std::string certificate;
  for (const grpc::string_ref& name : context.auth_context()->FindPropertyValues("x509_common_name")) {
    certificate.assign(name.data(), name.size());
  }
  return certificate;
}

}  // namespace swiftlet
