// X.509 certificates for tests: P-256 keys, made in a millisecond or two.
//
//   const TestAuthority authority("Test CA");
//   const TestCertificate server = authority.Issue({.common_name = "server"});   // for localhost and
//   127.0.0.1
#ifndef SWIFTLET_TESTS_TESTING_CERTIFICATES_H_
#define SWIFTLET_TESTS_TESTING_CERTIFICATES_H_

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace swiftlet::testing {

struct TestCertificate {
  std::string certificate, key;  // PEM
};

class TestAuthority {
 public:
  struct Request {
    std::string common_name;
    long not_before_seconds = -3600;  // from now
    long not_after_seconds = 3600;
  };
  explicit TestAuthority(const std::string& common_name);

  const std::string& certificate() const { return own_.certificate; }
  TestCertificate Issue(const Request& request) const;

 private:
  std::shared_ptr<EVP_PKEY> key_;
  std::shared_ptr<X509> x509_;
  TestCertificate own_;
};

}  // namespace swiftlet::testing

#endif  // SWIFTLET_TESTS_TESTING_CERTIFICATES_H_
