// Which addresses only this machine reaches, and which are none but names.
#ifndef SWIFTLET_SERVER_SECURITY_LISTEN_RULE_H_
#define SWIFTLET_SERVER_SECURITY_LISTEN_RULE_H_

#include <string>

namespace swiftlet {

// Whether nobody on another machine can connect to what listens on `address`: "unix:..." or "host:port" with
// localhost, 127.0.0.0/8 or [::1]. Other names are not looked up, and taken for reachable.
bool IsLocalAddress(const std::string& address);
// Whether the host of "host:port" is an IP address, and no name.
bool IsIpAddress(const std::string& address);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_LISTEN_RULE_H_
