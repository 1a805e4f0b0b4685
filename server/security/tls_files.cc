#include "server/security/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;

Bio Open(const std::string& pem) { return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); }

// Never asks anybody for a password.
int NoPassword(char*, int, int, void*) { return -1; }

// Leaves nothing in OpenSSL's queue of errors: gRPC looks into it.
absl::Status Refuse(absl::string_view what, absl::string_view reason) {
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", reason));
}

// Every certificate of the text; at least one.
absl::StatusOr<std::vector<Certificate>> ReadCertificates(const std::string& pem, absl::string_view what) {
  std::vector<Certificate> certificates;
  const Bio in = Open(pem);
  for (;;) {
    Certificate next(PEM_read_bio_X509(in.get(), nullptr, NoPassword, nullptr));
    if (next == nullptr) break;
    certificates.push_back(std::move(next));
  }
  // The end is an error, too: that there is no further beginning.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) return Refuse(what, "is not whole: a certificate in it cannot be read");
  if (certificates.empty()) return Refuse(what, "holds no certificate in PEM");
  return certificates;
}

absl::StatusOr<absl::Time> ToTime(const ASN1_TIME* time) {
  std::tm parts = {};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) {
    return Refuse("tls_certificate", "has no valid dates");
  }
  return absl::FromTimeT(timegm(&parts));
}

}  // namespace

absl::StatusOr<TlsMaterial> CheckTls(TlsMaterial material, absl::Time now) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                            ReadCertificates(material.certificate_chain, "tls_certificate"));
  const Bio key_in = Open(material.private_key);
  const Key key(PEM_read_bio_PrivateKey(key_in.get(), nullptr, NoPassword, nullptr));
  if (key == nullptr) return Refuse("tls_private_key", "holds no private key in PEM without a password");
  if (X509_check_private_key(chain.front().get(), key.get()) != 1) {
    return Refuse("tls_private_key", "is not the key of tls_certificate");
  }
  SWIFTLET_ASSIGN_OR_RETURN(const absl::Time not_before, ToTime(X509_get0_notBefore(chain.front().get())));
  SWIFTLET_ASSIGN_OR_RETURN(material.not_after, ToTime(X509_get0_notAfter(chain.front().get())));
  if (!material.client_ca.empty()) {
    SWIFTLET_RETURN_IF_ERROR(ReadCertificates(material.client_ca, "tls_client_ca").status());
  }
  ERR_clear_error();
  if (material.not_after <= now) {
    return absl::FailedPreconditionError(
        absl::StrCat("tls_certificate: has expired, at ", absl::FormatTime(material.not_after)));
  }
  if (not_before > now) {
    return absl::FailedPreconditionError(
        absl::StrCat("tls_certificate: is not valid before ", absl::FormatTime(not_before)));
  }
  return material;
}

}  // namespace swiftlet
