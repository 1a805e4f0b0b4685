// How a client proves who it is, and whom it trusts.
//
//   SWIFTLET_ASSIGN_OR_RETURN(ChannelSecurity security,
//                             ReadChannelSecurity({.ca_file = "ca.pem", .token_file = "shop.token"}));
//   Client::Connect({.address = "swiftlet.internal:50051", .security = std::move(security)});
#ifndef SWIFTLET_CLIENT_CHANNEL_SECURITY_H_
#define SWIFTLET_CLIENT_CHANNEL_SECURITY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

// A value. Without TLS by default, and without a token.
struct ChannelSecurity {
  bool tls = false;
  std::string ca = {};           // PEM of the authorities to trust; empty: those of the system
  std::string certificate = {};  // PEM of the client's own certificate (mutual TLS); empty: none
  std::string private_key = {};  // PEM of its key
  std::string server_name = {};  // to find in the server's certificate; empty: the address's host
  // Sent with every call as "authorization: Bearer TOKEN". Without TLS anyone on the way can read it.
  std::string token = {};
};

// INVALID_ARGUMENT for PEM without TLS, a certificate without key or the other way round, or a token that is
// no header value.
absl::Status CheckChannelSecurity(const ChannelSecurity& security);

struct ChannelSecurityFiles {
  bool tls = false;  // also without any of the files: by the system's authorities
  std::string ca_file = {}, cert_file = {}, key_file = {};  // any of them turns TLS on
  std::string server_name = {};
  std::string token_file = {};  // its first line
};

// NOT_FOUND or INVALID_ARGUMENT name the file.
absl::StatusOr<ChannelSecurity> ReadChannelSecurity(const ChannelSecurityFiles& files);
// What a token is where it comes with more: a line end, as from a file or a Secret made of one.
std::string FirstLine(std::string text);

// By the environment: SWIFTLET_TLS (anything but "" and "0"), SWIFTLET_TLS_CA, SWIFTLET_TLS_CERT,
// SWIFTLET_TLS_KEY, SWIFTLET_TLS_SERVER_NAME and SWIFTLET_TOKEN_FILE as above; the token itself in
// SWIFTLET_TOKEN.
absl::StatusOr<ChannelSecurity> ChannelSecurityFromEnvironment();

}  // namespace swiftlet

#endif  // SWIFTLET_CLIENT_CHANNEL_SECURITY_H_
