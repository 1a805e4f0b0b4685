#include "server/security/access_control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/testing/count_allocations.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kNowNs = 1'000'000'000;

class AccessControlTest : public ::testing::Test {
 protected:
  static TokenEntry Entry(const std::string& name, const std::string& secret, RoleSet roles,
                          int64_t expires_ms = 0) {
    return {.name = name, .roles = roles, .digest = Sha256(secret), .expires_ms = expires_ms};
  }
  AccessDecision Decide(const std::string& header, Method method = Method::kRecommend) {
    return access_.Decide(method, header, "", kNowNs);
  }

  int64_t now_ms_ = 1'000'000;
  AccessControl access_{{.tokens = true, .rate_limit = {}, .client_limits = {}}, [this] { return now_ms_; }};
};

TEST_F(AccessControlTest, ATokenExpiresOnTime) {
  access_.SetTokens({Entry("shop", "s", RoleSet::Of(Role::kRecommend), now_ms_ + 10)});
  EXPECT_EQ(Decide("Bearer s").denial, AccessDenial::kNone);
  now_ms_ += 10;
  const AccessDecision decision = Decide("Bearer s");
  EXPECT_EQ(decision.denial, AccessDenial::kExpiredToken);
  EXPECT_EQ(*decision.client, "shop");
  EXPECT_EQ(decision.ToStatus(Method::kRecommend).code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(AccessControlTest, NobodyGetsInBeforeThereAreTokens) {
  EXPECT_EQ(Decide("Bearer s").denial, AccessDenial::kUnknownToken);
  EXPECT_EQ(Decide("").denial, AccessDenial::kNoToken);
}

TEST_F(AccessControlTest, ATokenMayHaveSeveralRoles) {
  access_.SetTokens({Entry("both", "s", RoleSet::Of(Role::kRecommend, Role::kIngest))});
  EXPECT_EQ(Decide("Bearer s", Method::kPredict).denial, AccessDenial::kNone);
  EXPECT_EQ(Decide("Bearer s", Method::kLoadEvents).denial, AccessDenial::kNone);
  const AccessDecision decision = Decide("Bearer s", Method::kExportUser);
  EXPECT_EQ(decision.denial, AccessDenial::kRole);
  EXPECT_THAT(std::string(decision.ToStatus(Method::kExportUser).message()),
              HasSubstr("ExportUser needs one of the roles admin; the token of both has recommend,ingest"));
}

TEST_F(AccessControlTest, AsksAreNoCalls) {
  access_.SetTokens({Entry("shop", "s", RoleSet::Of(Role::kRecommend))});
  access_.SetLimits({.calls_per_second = 1, .burst = 2}, {});
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(access_.Check(Method::kRecommend, "Bearer s").denial, AccessDenial::kNone);
    EXPECT_EQ(access_.Check(Method::kGetStatus, "Bearer s").denial, AccessDenial::kRole);
    EXPECT_EQ(access_.Check(Method::kRecommend, "Bearer t").denial, AccessDenial::kUnknownToken);
    EXPECT_EQ(access_.Check(Method::kRecommend, "").denial, AccessDenial::kNoToken);
  }
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Decide("Bearer s").denial, AccessDenial::kNone);
  EXPECT_EQ(Decide("Bearer s").denial, AccessDenial::kRateLimit);
}

TEST_F(AccessControlTest, TokensAreReplacedWhileCallsRun) {
  access_.SetTokens({Entry("a", "s", RoleSet::Of(Role::kRecommend))});
  std::atomic<bool> stop{false};
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 3; ++t) {
    callers.emplace_back([&] {
      while (!stop) {
        const AccessDecision decision = Decide("Bearer s");
        if (decision.denial != AccessDenial::kNone || *decision.client != "a") ++wrong;
        if (Decide("Bearer t").denial != AccessDenial::kUnknownToken) ++wrong;
      }
    });
  }
  for (int i = 0; i < 300; ++i) {
    access_.SetTokens({Entry("b" + std::to_string(i), std::to_string(i), RoleSet::Of(Role::kAdmin)),
                       Entry("a", "s", RoleSet::Of(Role::kRecommend))});
  }
  stop = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
  access_.SetTokens({Entry("c", "t", RoleSet::Of(Role::kAdmin))});
  EXPECT_EQ(Decide("Bearer s").denial, AccessDenial::kUnknownToken);
  EXPECT_EQ(Decide("Bearer t").denial, AccessDenial::kNone);
}

TEST_F(AccessControlTest, LimitsChangeWithoutNewTokens) {
  access_.SetTokens(
      {Entry("shop", "s", RoleSet::Of(Role::kRecommend)), Entry("feed", "f", RoleSet::Of(Role::kRecommend))});
  for (int i = 0; i < 10; ++i) ASSERT_EQ(Decide("Bearer s").denial, AccessDenial::kNone);
  access_.SetLimits({.calls_per_second = 1, .burst = 2}, {{"feed", {.calls_per_second = 1, .burst = 5}}});
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Decide("Bearer s").denial, AccessDenial::kNone);
  EXPECT_EQ(Decide("Bearer s").denial, AccessDenial::kRateLimit);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Decide("Bearer f").denial, AccessDenial::kNone);
  EXPECT_EQ(Decide("Bearer f").denial, AccessDenial::kRateLimit);
  // Of clients who come later, too.
  access_.SetTokens({Entry("new", "n", RoleSet::Of(Role::kRecommend))});
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Decide("Bearer n").denial, AccessDenial::kNone);
  EXPECT_EQ(Decide("Bearer n").denial, AccessDenial::kRateLimit);
  access_.SetLimits({}, {});
  EXPECT_EQ(Decide("Bearer n").denial, AccessDenial::kNone);
}

TEST(AccessWithoutTokens, PeersAreLimitedFromThenOn) {
  AccessControl access({.tokens = false, .rate_limit = {}, .client_limits = {}}, [] { return 0; });
  EXPECT_FALSE(access.looks_at_peers());
  EXPECT_EQ(access.Decide(Method::kRecommend, "", "", kNowNs).denial, AccessDenial::kNone);
  access.SetLimits({.calls_per_second = 1, .burst = 1}, {});
  EXPECT_TRUE(access.looks_at_peers());
  EXPECT_EQ(access.Decide(Method::kRecommend, "", "ipv4:10.0.0.7:1", kNowNs).denial, AccessDenial::kNone);
  EXPECT_EQ(access.Decide(Method::kRecommend, "", "ipv4:10.0.0.7:2", kNowNs).denial,
            AccessDenial::kRateLimit);
  EXPECT_EQ(access.Decide(Method::kRecommend, "", "ipv4:10.0.0.8:1", kNowNs).denial, AccessDenial::kNone);
}

TEST_F(AccessControlTest, TwoInOneProcessDoNotSeeEachOthersTokens) {
  AccessControl other({.tokens = true, .rate_limit = {}, .client_limits = {}}, [] { return int64_t{0}; });
  access_.SetTokens({Entry("a", "s", RoleSet::Of(Role::kAdmin))});
  other.SetTokens({Entry("b", "t", RoleSet::Of(Role::kAdmin))});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Decide("Bearer s").denial, AccessDenial::kNone);
    EXPECT_EQ(Decide("Bearer t").denial, AccessDenial::kUnknownToken);
    EXPECT_EQ(other.Decide(Method::kRecommend, "Bearer t", "", kNowNs).denial, AccessDenial::kNone);
    EXPECT_EQ(other.Decide(Method::kRecommend, "Bearer s", "", kNowNs).denial, AccessDenial::kUnknownToken);
  }
}

TEST_F(AccessControlTest, ADecisionAllocatesNothing) {
  const std::string secret = NewTokenSecret(), header = "Bearer " + secret;
  access_.SetTokens({Entry("a", secret, RoleSet::Of(Role::kRecommend), now_ms_ + 1)});
  Decide(header);
  const size_t before = testing::NumAllocations();
  const AccessDecision decision = access_.Decide(Method::kRecommend, header, "", kNowNs);
  EXPECT_EQ(testing::NumAllocations(), before);
  EXPECT_EQ(decision.denial, AccessDenial::kNone);
}

}  // namespace
}  // namespace swiftlet
