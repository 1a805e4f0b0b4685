#include "client/channel_security.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

absl::StatusOr<std::string> ReadFile(const char* what, const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  if (!in || !(text << in.rdbuf())) {
    return absl::NotFoundError(absl::StrCat(what, ": ", path, " cannot be read, or is empty"));
  }
  return text.str();
}

// Refuses what is no such PEM at all: gRPC would only say that it has no address. kind: how its label ends.
absl::Status CheckPem(const char* what, const std::string& path, absl::string_view pem,
                      absl::string_view kind) {
  constexpr absl::string_view kBegin = "-----BEGIN ";
  for (size_t at = pem.find(kBegin); at != pem.npos; at = pem.find(kBegin, at + 1)) {
    const absl::string_view label = pem.substr(at + kBegin.size());
    if (absl::EndsWith(label.substr(0, label.find("-----")), kind)) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", path, " holds no ", kind, " in PEM"));
}

absl::StatusOr<std::string> ReadPem(const char* what, const std::string& path, absl::string_view kind) {
  if (path.empty()) return std::string();
  SWIFTLET_ASSIGN_OR_RETURN(std::string pem, ReadFile(what, path));
  SWIFTLET_RETURN_IF_ERROR(CheckPem(what, path, pem, kind));
  return pem;
}

// Whether both can be read and the key is another certificate's. gRPC would only say that it has no address.
bool IsKeyOfAnother(const std::string& certificate_pem, const std::string& key_pem) {
  const auto open = [](const std::string& pem) {
    return std::unique_ptr<BIO, decltype(&BIO_free)>(
        BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  };
  constexpr auto kNoPassword = [](char*, int, int, void*) { return -1; };
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      PEM_read_bio_X509(open(certificate_pem).get(), nullptr, kNoPassword, nullptr), X509_free);
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      PEM_read_bio_PrivateKey(open(key_pem).get(), nullptr, kNoPassword, nullptr), EVP_PKEY_free);
  const bool another =
      certificate != nullptr && key != nullptr && X509_check_private_key(certificate.get(), key.get()) != 1;
  ERR_clear_error();  // gRPC looks into OpenSSL's queue of errors
  return another;
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

absl::Status CheckChannelSecurity(const ChannelSecurity& security) {
  if (!security.tls &&
      !(security.ca + security.certificate + security.private_key + security.server_name).empty()) {
    return absl::InvalidArgumentError("security: certificates without tls");
  }
  if (security.certificate.empty() != security.private_key.empty()) {
    return absl::InvalidArgumentError("security: a client's certificate and its private key go together");
  }
  const auto printable = [](char c) { return c > ' ' && c <= '~'; };
  if (!std::all_of(security.token.begin(), security.token.end(), printable)) {
    return absl::InvalidArgumentError("security: the token has characters that no token has");
  }
  return absl::OkStatus();
}

std::string FirstLine(std::string text) {
  text.resize(std::min(text.size(), text.find_first_of("\r\n")));
  return text;
}

absl::StatusOr<ChannelSecurity> ReadChannelSecurity(const ChannelSecurityFiles& files) {
  ChannelSecurity security;
  security.tls = files.tls || !(files.ca_file + files.cert_file + files.key_file + files.server_name).empty();
  security.server_name = files.server_name;
  SWIFTLET_ASSIGN_OR_RETURN(security.ca, ReadPem("tls-ca", files.ca_file, "CERTIFICATE"));
  SWIFTLET_ASSIGN_OR_RETURN(security.certificate, ReadPem("tls-cert", files.cert_file, "CERTIFICATE"));
  SWIFTLET_ASSIGN_OR_RETURN(security.private_key, ReadPem("tls-key", files.key_file, "PRIVATE KEY"));
  if (IsKeyOfAnother(security.certificate, security.private_key)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tls-key: ", files.key_file, " is not the key of tls-cert: ", files.cert_file));
  }
  SWIFTLET_ASSIGN_OR_RETURN(std::string token, ReadFile("token-file", files.token_file));
  token = FirstLine(std::move(token));
  if (!files.token_file.empty() && token.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("token-file: ", files.token_file, " has no first line"));
  }
  security.token = std::move(token);
  SWIFTLET_RETURN_IF_ERROR(CheckChannelSecurity(security));
  return security;
}

absl::StatusOr<ChannelSecurity> ChannelSecurityFromEnvironment() {
  const std::string tls = Environment("SWIFTLET_TLS");
  SWIFTLET_ASSIGN_OR_RETURN(ChannelSecurity security,
                            ReadChannelSecurity({.tls = !tls.empty() && tls != "0",
                                                 .ca_file = Environment("SWIFTLET_TLS_CA"),
                                                 .cert_file = Environment("SWIFTLET_TLS_CERT"),
                                                 .key_file = Environment("SWIFTLET_TLS_KEY"),
                                                 .server_name = Environment("SWIFTLET_TLS_SERVER_NAME"),
                                                 .token_file = Environment("SWIFTLET_TOKEN_FILE")}));
  if (security.token.empty()) security.token = FirstLine(Environment("SWIFTLET_TOKEN"));
  SWIFTLET_RETURN_IF_ERROR(CheckChannelSecurity(security));
  return security;
}

}  // namespace swiftlet
