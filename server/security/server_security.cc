#include "server/security/server_security.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

constexpr char kTls[] = "tls", kTokens[] = "tokens";

std::string Describe(const TlsCertificates& certificates) {
  return absl::StrCat("certificate valid until ",
                      absl::FormatTime("%Y-%m-%d %H:%M", certificates.not_after(), absl::UTCTimeZone()),
                      " UTC");
}

WatchedFiles WatchTls(const SecurityOptions& options, std::shared_ptr<TlsCertificates> certificates) {
  std::vector<std::string> paths = {options.tls_certificate, options.tls_private_key};
  if (!options.tls_client_ca.empty()) paths.push_back(options.tls_client_ca);
  const bool with_clients = !options.tls_client_ca.empty();
  return {.name = kTls,
          .paths = std::move(paths),
          .apply = [certificates = std::move(certificates), with_clients](std::vector<std::string> contents) {
            if (with_clients && contents[2].empty()) {
              return absl::InvalidArgumentError("tls_client_ca: is empty");
            }
            absl::StatusOr<TlsMaterial> material =
                CheckTls({.certificate_chain = std::move(contents[0]),
                          .private_key = std::move(contents[1]),
                          .client_ca = with_clients ? std::move(contents[2]) : std::string(),
                          .not_after = {}},
                         absl::Now());
            if (!material.ok()) return material.status();
            certificates->Set(*std::move(material));
            spdlog::info("TLS: {}", Describe(*certificates));
            return absl::OkStatus();
          }};
}

WatchedFiles WatchTokens(const SecurityOptions& options, AccessControl* access) {
  return {.name = kTokens,
          .paths = {options.token_file},
          .apply = [access, path = options.token_file](std::vector<std::string> contents) -> absl::Status {
            SWIFTLET_ASSIGN_OR_RETURN(const std::vector<TokenEntry> tokens,
                                      ParseTokenFile(contents[0], path));
            access->SetTokens(tokens);
            spdlog::info("tokens: {} of {}", tokens.size(), path);
            return absl::OkStatus();
          }};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerSecurity>> ServerSecurity::Create(const SecurityOptions& options,
                                                                       ServerMetrics* metrics,
                                                                       std::function<int64_t()> now_ms) {
  std::unique_ptr<ServerSecurity> security(new ServerSecurity());
  AccessOptions access = {.tokens = !options.token_file.empty(),
                          .rate_limit = options.rate_limit,
                          .client_limits = options.client_rate_limits};
  security->access_ = std::make_unique<AccessControl>(std::move(access), std::move(now_ms));
  SWIFTLET_ASSIGN_OR_RETURN(security->audit_, AuditLog::Open(options.audit_log));
  std::vector<WatchedFiles> files;
  if (!options.tls_certificate.empty()) {
    security->certificates_ = std::make_shared<TlsCertificates>();
    files.push_back(WatchTls(options, security->certificates_));
  }
  if (!options.token_file.empty()) files.push_back(WatchTokens(options, security->access_.get()));
  if (files.empty()) return security;
  SWIFTLET_ASSIGN_OR_RETURN(
      security->watch_,
      FileWatch::Start(std::move(files), options.reload_interval,
                       [metrics](const std::string& name, const absl::Status& result) {
                         metrics->CountReload(name == kTls ? Reload::kTls : Reload::kTokens, result.ok());
                         if (result.ok()) return;
                         spdlog::error("{}: not reloaded, those from before stay in use: {}", name,
                                       std::string(result.message()));
                       }));
  return security;
}

void ServerSecurity::Reload(const SecurityOptions& options) {
  access_->SetLimits(options.rate_limit, options.client_rate_limits);
  if (watch_ != nullptr) watch_->Hurry();
}

std::shared_ptr<grpc::ServerCredentials> ServerSecurity::MakeCredentials() const {
  return certificates_ == nullptr ? grpc::InsecureServerCredentials() : MakeTlsCredentials(certificates_);
}

int64_t ServerSecurity::certificate_expiry_seconds() const {
  return certificates_ == nullptr ? 0 : absl::ToUnixSeconds(certificates_->not_after());
}

}  // namespace swiftlet
