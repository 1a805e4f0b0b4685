// A server's certificate, its key and the authorities of its clients, as PEM, checked before they are used.
#ifndef SWIFTLET_SERVER_SECURITY_TLS_FILES_H_
#define SWIFTLET_SERVER_SECURITY_TLS_FILES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace swiftlet {

struct TlsMaterial {
  std::string certificate_chain;  // PEM; the server's own first
  std::string private_key;        // PEM, without a password
  std::string client_ca;          // PEM; empty: clients need no certificate
  absl::Time not_after;           // of the server's own certificate
};

// INVALID_ARGUMENT, saying which of the three it is and why, when a text is no such PEM (or is cut off), when
// the key is not that of the first certificate; FAILED_PRECONDITION, saying when, when that certificate is
// not valid at `now`, and all else is right. Fills not_after. Whether clients trust it is not looked at.
absl::StatusOr<TlsMaterial> CheckTls(TlsMaterial material, absl::Time now);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_TLS_FILES_H_
