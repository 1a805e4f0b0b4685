// Where the server listens, and TLS: right, wrong, missing and expired certificates, and new ones while it
// runs.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "tests/integration/server_process.h"
#include "tests/testing/certificates.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kUnavailable = -static_cast<int>(grpc::StatusCode::UNAVAILABLE);

void Write(const std::string& path, const std::string& text) {
  std::ofstream(path + ".new", std::ios::binary) << text;
  ASSERT_EQ(std::rename((path + ".new").c_str(), path.c_str()), 0);
}

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() { Use(authority_.Issue({.common_name = "server"})); }

  void Use(const TestCertificate& certificate) {
    Write(dir_.File("cert.pem"), certificate.certificate);
    Write(dir_.File("key.pem"), certificate.key);
  }
  static std::shared_ptr<grpc::ChannelCredentials> Trusting(const TestAuthority& authority,
                                                            const TestCertificate& own = {}) {
    return grpc::SslCredentials({.pem_root_certs = authority.certificate(),
                                 .pem_private_key = own.key,
                                 .pem_cert_chain = own.certificate});
  }
  ServerProcess::Options Options(const std::string& more = "") const {
    return {.dir = dir_.path(),
            .config = "security { reload_interval_ms: 10 tls_certificate: \"" + dir_.File("cert.pem") +
                      "\" tls_private_key: \"" + dir_.File("key.pem") + "\" " + more + " }",
            .credentials = Trusting(authority_)};
  }
  // What GetStatus says over a new connection: 0, or minus the code.
  static int Call(const ServerProcess& server, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    return -static_cast<int>(CallOver(server.NewChannel(credentials)).error_code());
  }
  static double Reloads(const ServerProcess& server, const std::string& result) {
    return server.Metric("swiftlet_reloads_total{result=\"" + result + "\",what=\"tls\"}");
  }

  TempDir dir_;
  const TestAuthority authority_{"Test CA"}, other_{"Other CA"};
};

TEST_F(TlsTest, AnAddressThatOthersReachNeedsTlsOrTheFlag) {
  for (const char* address :
       {"0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "[2001:db8::1]:50051", "example.org:1"}) {
    const ProgramResult refused = RunServerBinary({"--check-config", "--listen", address});
    EXPECT_EQ(refused.exit_code, 2) << address;
    EXPECT_THAT(refused.err, HasSubstr("listen_address: other machines reach \"" + std::string(address)));
    EXPECT_THAT(refused.err, HasSubstr("--insecure-listen"));
    EXPECT_EQ(RunServerBinary({"--check-config", "--listen", address, "--insecure-listen"}).exit_code, 0);
    EXPECT_EQ(RunServerBinary({"--check-config", "--listen", address, "--tls-cert", "c", "--tls-key", "k"})
                  .exit_code,
              0);
    const ProgramResult metrics = RunServerBinary({"--check-config", "--metrics", address});
    EXPECT_EQ(metrics.exit_code, 2) << address;
    EXPECT_THAT(metrics.err, HasSubstr("--insecure-metrics"));
    EXPECT_EQ(RunServerBinary({"--check-config", "--metrics", address, "--insecure-metrics"}).exit_code, 0);
  }
  for (const char* address : {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/run/x"}) {
    EXPECT_EQ(RunServerBinary({"--check-config", "--listen", address}).exit_code, 0) << address;
  }
  // What goes together.
  EXPECT_THAT(RunServerBinary({"--check-config", "--tls-cert", "c"}).err, HasSubstr("go together"));
  EXPECT_THAT(RunServerBinary({"--check-config", "--tls-client-ca", "c"}).err,
              HasSubstr("without tls_certificate"));
}

TEST_F(TlsTest, OnlyClientsThatSpeakItAndTrustTheServerGetThrough) {
  ServerProcess server(Options());
  ASSERT_TRUE(server.running());
  EXPECT_EQ(Call(server, Trusting(authority_)), 0);
  EXPECT_EQ(Call(server, Trusting(other_)), kUnavailable);
  EXPECT_EQ(Call(server, grpc::InsecureChannelCredentials()), kUnavailable);
  // A certificate of the right authority for another name.
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("elsewhere.example");
  const auto channel = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server.grpc_port()),
                                                 Trusting(authority_), arguments);
  EXPECT_EQ(CallOver(channel).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(server, Trusting(authority_)), 0);
  EXPECT_GT(server.Metric("swiftlet_tls_certificate_expiry_timestamp_seconds"), 1.7e9);
}

TEST_F(TlsTest, MutualTlsLetsInWhoHasAValidCertificate) {
  Write(dir_.File("ca.pem"), authority_.certificate());
  ServerProcess::Options options =
      Options("tls_client_ca: \"" + dir_.File("ca.pem") + "\" audit_log: \"" + dir_.File("audit") + "\"");
  options.credentials = Trusting(authority_, authority_.Issue({.common_name = "ops"}));
  ServerProcess server(options);
  ASSERT_TRUE(server.running());
  EXPECT_EQ(Call(server, Trusting(authority_, authority_.Issue({.common_name = "shop-frontend"}))), 0);
  EXPECT_EQ(Call(server, Trusting(authority_)), kUnavailable) << "without a certificate";
  EXPECT_EQ(Call(server, Trusting(authority_, other_.Issue({.common_name = "shop"}))), kUnavailable);
  EXPECT_EQ(Call(server, Trusting(authority_, authority_.Issue({.common_name = "late",
                                                                .not_before_seconds = -3600,
                                                                .not_after_seconds = -60}))),
            kUnavailable)
      << "expired";
  EXPECT_EQ(Call(server, Trusting(authority_, authority_.Issue({.common_name = "early",
                                                                .not_before_seconds = 1800,
                                                                .not_after_seconds = 3600}))),
            kUnavailable)
      << "not valid yet";
  std::ifstream in(dir_.File("audit"));
  std::string line;
  ASSERT_TRUE(std::getline(in, line));
  EXPECT_THAT(line, HasSubstr("\"certificate\":\"shop-frontend\""));
  EXPECT_FALSE(std::getline(in, line)) << "a call without a certificate came through: " << line;

  // Other authorities from now on.
  Write(dir_.File("ca.pem"), other_.certificate());
  ASSERT_TRUE(Eventually([&] { return Reloads(server, "ok") == 1; })) << server.Log();
  EXPECT_EQ(Call(server, options.credentials), kUnavailable);
  EXPECT_EQ(Call(server, Trusting(authority_, other_.Issue({.common_name = "shop"}))), 0);
  // An empty file of authorities does not open the server to everybody.
  Write(dir_.File("ca.pem"), "");
  ASSERT_TRUE(Eventually([&] { return Reloads(server, "failed") == 1; })) << server.Log();
  EXPECT_EQ(Call(server, Trusting(authority_)), kUnavailable);
  EXPECT_EQ(Call(server, Trusting(authority_, other_.Issue({.common_name = "shop"}))), 0);
}

TEST_F(TlsTest, ANewCertificateIsTakenUpAndABrokenOneIsNot) {
  ServerProcess server(Options());
  ASSERT_TRUE(server.running());
  ASSERT_EQ(Call(server, Trusting(authority_)), 0);
  int failed = 0;
  const auto refuses = [&](const std::string& certificate, const std::string& key,
                           const std::string& reason) {
    // Both at once, as the links of a Kubernetes volume change: a look between the two would be one more
    // refusal.
    const double before = Reloads(server, "failed");
    Write(dir_.File("key.pem"), key);
    Write(dir_.File("cert.pem"), certificate);
    EXPECT_TRUE(Eventually([&] {
      return Reloads(server, "failed") > before && server.Log().find(reason) != std::string::npos;
    })) << reason
        << "\n"
        << server.Log();
    EXPECT_EQ(Call(server, Trusting(authority_)), 0) << reason;
    ++failed;
  };
  const TestCertificate next = authority_.Issue({.common_name = "next"}),
                        expired = authority_.Issue({.common_name = "expired", .not_after_seconds = -10}),
                        early = authority_.Issue({.common_name = "early", .not_before_seconds = 600});
  refuses(next.certificate.substr(0, next.certificate.size() / 2), next.key, "is not whole");
  refuses("", next.key, "tls_certificate: holds no certificate");
  refuses(next.certificate, expired.key, "tls_private_key: is not the key of tls_certificate");
  refuses(next.certificate, next.key.substr(0, next.key.size() / 2), "tls_private_key: holds no private key");
  refuses(expired.certificate, expired.key, "tls_certificate: has expired, at");
  refuses(early.certificate, early.key, "tls_certificate: is not valid before");
  std::remove(dir_.File("key.pem").c_str());
  EXPECT_TRUE(Eventually([&] { return server.Log().find("key.pem: cannot read") != std::string::npos; }));
  EXPECT_EQ(Call(server, Trusting(authority_)), 0);
  EXPECT_EQ(failed, 6);

  // A connection that is there stays; new ones see the new certificate.
  ASSERT_OK(CallOver(server.channel()));
  Use(other_.Issue({.common_name = "server"}));
  ASSERT_TRUE(Eventually([&] { return Reloads(server, "ok") >= 1; })) << server.Log();
  EXPECT_EQ(Call(server, Trusting(other_)), 0);
  EXPECT_EQ(Call(server, Trusting(authority_)), kUnavailable);
  EXPECT_OK(CallOver(server.channel()));
}

TEST_F(TlsTest, ItDoesNotStartWithoutAUsableCertificate) {
  const auto start = [&] {
    return RunServerBinary({"--listen", "127.0.0.1:0", "--metrics", "off", "--data-dir", dir_.File("d"),
                            "--model-dir", dir_.File("m"), "--tls-cert", dir_.File("cert.pem"), "--tls-key",
                            dir_.File("key.pem")});
  };
  Use(authority_.Issue({.common_name = "expired", .not_after_seconds = -10}));
  ProgramResult result = start();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("tls_certificate: has expired"));
  std::remove(dir_.File("cert.pem").c_str());
  result = start();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr(dir_.File("cert.pem") + ": cannot read: No such file"));
}

}  // namespace
}  // namespace swiftlet::testing
