#include "server/security/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// FIPS 180-4's examples.
TEST(Sha256Test, IsThatOfTheStandard) {
  EXPECT_EQ(ToHex(Sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(ToHex(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(DigestFromHex(ToHex(Sha256("abc"))), Sha256("abc"));
  EXPECT_EQ(DigestFromHex("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"), Sha256("abc"));
  EXPECT_EQ(DigestFromHex(std::string(63, '0')), std::nullopt);
  EXPECT_EQ(DigestFromHex(std::string(63, '0') + "g"), std::nullopt);
  EXPECT_TRUE(ConstantTimeEquals(Sha256("a"), Sha256("a")));
  EXPECT_FALSE(ConstantTimeEquals(Sha256("a"), Sha256("b")));
}

TEST(TokenFile, ReadsWhatItWrites) {
  const TokenEntry shop = {.name = "shop-1.eu_x",
                           .roles = RoleSet::Of(Role::kRecommend, Role::kIngest),
                           .digest = Sha256("secret"),
                           .expires_ms = 1'900'000'000'000};
  const TokenEntry ops = {.name = "ops", .roles = RoleSet::Of(Role::kAdmin), .digest = Sha256("other")};
  EXPECT_THAT(FormatToken(shop), HasSubstr("shop-1.eu_x recommend,ingest sha256:"));
  const std::string text =
      "# comment\n\n  \t\n" + FormatToken(shop) + "  \t# indented\r\n" + FormatToken(ops);
  const absl::StatusOr<std::vector<TokenEntry>> tokens = ParseTokenFile(text, "f");
  ASSERT_TRUE(tokens.ok()) << tokens.status().ToString();
  ASSERT_EQ(tokens->size(), 2);
  EXPECT_EQ((*tokens)[0].name, shop.name);
  EXPECT_EQ((*tokens)[0].roles, shop.roles);
  EXPECT_EQ((*tokens)[0].digest, shop.digest);
  EXPECT_EQ((*tokens)[0].expires_ms, shop.expires_ms);
  EXPECT_EQ((*tokens)[1].expires_ms, 0);
}

TEST(TokenFile, SaysWhichLineIsWrongWithoutTellingIt) {
  const std::string good =
      FormatToken({.name = "a", .roles = RoleSet::Of(Role::kAdmin), .digest = Sha256("a")});
  const std::string hash = "sha256:" + ToHex(Sha256("b"));
  const auto error = [](const std::string& text) {
    const auto tokens = ParseTokenFile(text, "tokens");
    EXPECT_EQ(tokens.status().code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(tokens.status().message());
  };
  EXPECT_THAT(error(""), HasSubstr("tokens: holds no token"));
  EXPECT_THAT(error("# only a comment\n"), HasSubstr("holds no token"));
  EXPECT_THAT(error(good + "b admin"), HasSubstr("tokens:2: the line has no end"));
  EXPECT_THAT(error(good + "b admin\n"), HasSubstr("tokens:2: 2 fields"));
  EXPECT_THAT(error(good + "b root " + hash + "\n"), HasSubstr("tokens:2: the role \"root\""));
  EXPECT_THAT(error("b admin, " + hash + "\n"), HasSubstr("the role \"\""));
  EXPECT_THAT(error("b/c admin " + hash + "\n"), HasSubstr("the name \"b/c\""));
  EXPECT_THAT(error(std::string(65, 'n') + " admin " + hash + "\n"), HasSubstr("is not 1 to 64 bytes"));
  EXPECT_THAT(error("b admin " + hash.substr(0, 60) + "\n"), HasSubstr("not sha256: and 64"));
  EXPECT_THAT(error("b admin " + hash + " 2027-01-01\n"), HasSubstr("is not expires="));
  EXPECT_THAT(error("b admin " + hash + " expires=soon\n"), HasSubstr("is not expires="));
  EXPECT_THAT(error(good + "# x\n" + good), HasSubstr("tokens:3: the token of line 1 once more"));
  const std::string secret = NewTokenSecret();
  EXPECT_THAT(error("b admin " + secret + "\n"), Not(HasSubstr(secret)))
      << "a token that was put there by mistake";
}

TEST(TokenFile, SecretsAre256BitsAndDiffer) {
  std::set<std::string> secrets;
  for (int i = 0; i < 100; ++i) {
    const std::string secret = NewTokenSecret();
    EXPECT_EQ(secret.size(), 47);
    EXPECT_EQ(secret.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
              std::string::npos);
    secrets.insert(secret);
  }
  EXPECT_EQ(secrets.size(), 100);
}

}  // namespace
}  // namespace swiftlet
