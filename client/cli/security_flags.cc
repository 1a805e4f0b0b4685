#include "client/cli/security_flags.h"

#include <cstdlib>

#include "engine/base/status_macros.h"

namespace swiftlet::cli {

void AddSecurityFlags(CLI::App& app, ChannelSecurityFiles& files) {
  app.add_flag("--tls", files.tls, "Speak TLS, also without any of the following")
      ->envname("SWIFTLET_TLS")
      ->default_str("");
  app.add_option("--tls-ca", files.ca_file, "TLS: the authorities to trust (PEM); default: the system's")
      ->envname("SWIFTLET_TLS_CA")
      ->type_name("FILE")
      ->default_str("");
  app.add_option("--tls-cert", files.cert_file, "Mutual TLS: the client's own certificate (PEM)")
      ->envname("SWIFTLET_TLS_CERT")
      ->type_name("FILE")
      ->default_str("");
  app.add_option("--tls-key", files.key_file, "Mutual TLS: its private key (PEM)")
      ->envname("SWIFTLET_TLS_KEY")
      ->type_name("FILE")
      ->default_str("");
  app.add_option("--tls-server-name", files.server_name,
                 "TLS: the name in the server's certificate, when it is not that of --server")
      ->envname("SWIFTLET_TLS_SERVER_NAME")
      ->type_name("NAME")
      ->default_str("");
  app.add_option("--token-file", files.token_file,
                 "A file whose first line is the token to send (or the token itself in SWIFTLET_TOKEN)")
      ->envname("SWIFTLET_TOKEN_FILE")
      ->type_name("FILE")
      ->default_str("");
}

absl::StatusOr<ChannelSecurity> ResolveSecurity(const ChannelSecurityFiles& files) {
  SWIFTLET_ASSIGN_OR_RETURN(ChannelSecurity security, ReadChannelSecurity(files));
  if (const char* token = std::getenv("SWIFTLET_TOKEN"); security.token.empty() && token != nullptr) {
    security.token = FirstLine(token);
    SWIFTLET_RETURN_IF_ERROR(CheckChannelSecurity(security));
  }
  return security;
}

}  // namespace swiftlet::cli
