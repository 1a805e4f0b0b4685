#include "client/channel_security.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <string>

#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

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
      ReadChannelSecurity({.ca_file = Write("ca", "CA"),
                           .cert_file = Write("c", "CERT"),
                           .key_file = Write("k", "KEY"),
                           .server_name = "inside",
                           .token_file = Write("t", "secret\r\nmore\n")});
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_TRUE(all->tls);
  EXPECT_EQ(all->ca + all->certificate + all->private_key + all->server_name, "CACERTKEYinside");
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
  EXPECT_THAT(error({.cert_file = Write("c", "CERT")}), HasSubstr("go together"));
  EXPECT_FALSE(CheckChannelSecurity({.ca = "CA"}).ok()) << "without tls";
}

TEST_F(ChannelSecurityTest, TheEnvironmentIsRead) {
  setenv("SWIFTLET_TLS_CA", Write("ca", "CA").c_str(), 1);
  setenv("SWIFTLET_TOKEN", "secret", 1);
  const absl::StatusOr<ChannelSecurity> security = ChannelSecurityFromEnvironment();
  unsetenv("SWIFTLET_TLS_CA");
  unsetenv("SWIFTLET_TOKEN");
  ASSERT_TRUE(security.ok()) << security.status();
  EXPECT_TRUE(security->tls);
  EXPECT_EQ(security->ca, "CA");
  EXPECT_EQ(security->token, "secret");
  setenv("SWIFTLET_TLS", "0", 1);
  EXPECT_FALSE(ChannelSecurityFromEnvironment()->tls);
  unsetenv("SWIFTLET_TLS");
}

}  // namespace
}  // namespace swiftlet
