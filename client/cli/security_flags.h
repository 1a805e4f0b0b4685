// The flags by which the command line programs connect: see client/channel_security.h.
#ifndef SWIFTLET_CLIENT_CLI_SECURITY_FLAGS_H_
#define SWIFTLET_CLIENT_CLI_SECURITY_FLAGS_H_

#include <CLI/CLI.hpp>

#include "absl/status/statusor.h"
#include "client/channel_security.h"

namespace swiftlet::cli {

// --tls, --tls-ca, --tls-cert, --tls-key, --tls-server-name and --token-file, each with its variable of the
// environment. `files` must outlive the parsing.
void AddSecurityFlags(CLI::App& app, ChannelSecurityFiles& files);
// What they say; the token of SWIFTLET_TOKEN where no file is given. (A token is no flag: others see flags.)
absl::StatusOr<ChannelSecurity> ResolveSecurity(const ChannelSecurityFiles& files);

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_SECURITY_FLAGS_H_
