#include "client/channel_security.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <string>

#include "tests/testing/certificates.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

constexpr char kCertificate[] = "-----BEGIN CERTIFICATE-----\n";
constexpr char kKey[] = "-----BEGIN EC PRIVATE KEY-----\n";

class ChannelSecurityTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_.File(name)) << text;
    return dir_.File(name);
  }
  testing::TempDir dir_;
};

TEST_F(ChannelSecurityTest, FilesAreRead) {
  const absl::StatusOr<ChannelSecurity> none = ReadChannelSecurity({});
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->tls);
  EXPECT_EQ(none->token, "");
  const absl::StatusOr<ChannelSecurity> all =
      ReadChannelSecurity({.ca_file = Write("ca", std::string("# ours\n") + kCertificate),
                           .cert_file = Write("c", kCertificate),
                           .key_file = Write("k", kKey),
                           .server_name = "inside",
                           .token_file = Write("t", "secret\r\nmore\n")});
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_TRUE(all->tls);
  EXPECT_EQ(all->ca, std::string("# ours\n") + kCertificate);
  EXPECT_EQ(all->certificate, kCertificate);
  EXPECT_EQ(all->private_key, kKey);
  EXPECT_EQ(all->server_name, "inside");
  EXPECT_EQ(all->token, "secret");
  EXPECT_TRUE(ReadChannelSecurity({.tls = true})->tls) << "by the system's authorities";
}

TEST_F(ChannelSecurityTest, WhatIsWrongIsNamed) {
  const auto error = [](const ChannelSecurityFiles& files) {
    return std::string(ReadChannelSecurity(files).status().message());
  };
  EXPECT_THAT(error({.ca_file = dir_.File("none")}), HasSubstr("tls-ca: " + dir_.File("none")));
  EXPECT_THAT(error({.token_file = dir_.path()}), HasSubstr("token-file: "));
  EXPECT_THAT(error({.token_file = Write("empty", "\nx")}), HasSubstr("has no first line"));
  EXPECT_THAT(error({.token_file = Write("blank", "a b\n")}), HasSubstr("characters that no token has"));
  EXPECT_THAT(error({.cert_file = Write("c", kCertificate)}), HasSubstr("go together"));
  for (const char* text : {"garbage", "-----BEGIN", "-----BEGIN ", kKey}) {
    EXPECT_THAT(error({.ca_file = Write("ca", text)}),
                HasSubstr("tls-ca: " + dir_.File("ca") + " holds no CERTIFICATE in PEM"));
  }
  EXPECT_THAT(error({.cert_file = Write("c", kCertificate), .key_file = Write("k", kCertificate)}),
              HasSubstr("tls-key: " + dir_.File("k") + " holds no PRIVATE KEY in PEM"));
  EXPECT_FALSE(CheckChannelSecurity({.ca = "CA"}).ok()) << "without tls";
}

TEST_F(ChannelSecurityTest, AKeyOfAnotherCertificateIsNamed) {
  const testing::TestAuthority authority("CA");
  const testing::TestCertificate one = authority.Issue({.common_name = "one"});
  const testing::TestCertificate other = authority.Issue({.common_name = "other"});
  EXPECT_TRUE(
      ReadChannelSecurity({.cert_file = Write("c", one.certificate), .key_file = Write("k", one.key)}).ok());
  EXPECT_EQ(ReadChannelSecurity({.cert_file = Write("c", one.certificate), .key_file = Write("k", other.key)})
                .status()
                .message(),
            "tls-key: " + dir_.File("k") + " is not the key of tls-cert: " + dir_.File("c"));
}

TEST_F(ChannelSecurityTest, TheEnvironmentIsRead) {
  setenv("SWIFTLET_TLS_CA", Write("ca", kCertificate).c_str(), 1);
  setenv("SWIFTLET_TOKEN", "secret\n", 1);  // as from a file or a Secret made of one
  const absl::StatusOr<ChannelSecurity> security = ChannelSecurityFromEnvironment();
  unsetenv("SWIFTLET_TLS_CA");
  unsetenv("SWIFTLET_TOKEN");
  ASSERT_TRUE(security.ok()) << security.status();
  EXPECT_TRUE(security->tls);
  EXPECT_EQ(security->ca, kCertificate);
  EXPECT_EQ(security->token, "secret");
  setenv("SWIFTLET_TLS", "0", 1);
  EXPECT_FALSE(ChannelSecurityFromEnvironment()->tls);
  unsetenv("SWIFTLET_TLS");
}

}  // namespace
}  // namespace swiftlet
