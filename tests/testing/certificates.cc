#include "tests/testing/certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstdlib>

namespace swiftlet::testing {
namespace {

void Check(bool ok) {
  if (!ok) std::abort();
}

std::shared_ptr<EVP_PKEY> NewKey() {
  std::shared_ptr<EVP_PKEY> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  Check(key != nullptr);
  return key;
}

void AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  Check(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// issuer null: signed by itself, and an authority.
std::shared_ptr<X509> NewCertificate(const TestAuthority::Request& request, EVP_PKEY* key, X509* issuer,
                                     EVP_PKEY* issuer_key) {
  std::shared_ptr<X509> certificate(X509_new(), X509_free);
  X509* const x = certificate.get();
  uint32_t serial = 0;
  Check(RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial)) == 1);
  X509_set_version(x, X509_VERSION_3);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial);
  X509_gmtime_adj(X509_getm_notBefore(x), request.not_before_seconds);
  X509_gmtime_adj(X509_getm_notAfter(x), request.not_after_seconds);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(request.common_name.c_str()), -1, -1, 0);
  X509_set_issuer_name(x, X509_get_subject_name(issuer == nullptr ? x : issuer));
  X509_set_pubkey(x, key);
  if (issuer == nullptr) {
    AddExtension(x, x, NID_basic_constraints, "critical,CA:TRUE");
    AddExtension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign");
  } else {
    AddExtension(x, issuer, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  }
  Check(X509_sign(x, issuer_key, EVP_sha256()) > 0);
  return certificate;
}

template <typename Write>
std::string ToPem(const Write& write) {
  BIO* const out = BIO_new(BIO_s_mem());
  Check(write(out) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  const std::string pem(data, static_cast<size_t>(size));
  BIO_free(out);
  return pem;
}

TestCertificate ToPem(X509* certificate, EVP_PKEY* key) {
  return {.certificate = ToPem([&](BIO* out) { return PEM_write_bio_X509(out, certificate); }),
          .key = ToPem([&](BIO* out) {
            return PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

}  // namespace

TestAuthority::TestAuthority(const std::string& common_name)
    : key_(NewKey()),
      x509_(
          NewCertificate({.common_name = common_name, .not_before_seconds = -7200, .not_after_seconds = 7200},
                         key_.get(), nullptr, key_.get())),
      own_(ToPem(x509_.get(), key_.get())) {}

TestCertificate TestAuthority::Issue(const Request& request) const {
  const std::shared_ptr<EVP_PKEY> key = NewKey();
  return ToPem(NewCertificate(request, key.get(), x509_.get(), key_.get()).get(), key.get());
}

}  // namespace swiftlet::testing
