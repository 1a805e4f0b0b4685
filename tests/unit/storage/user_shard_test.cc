#include "storage/user_shard.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "storage/ghost_queue.h"

namespace swiftlet {
namespace {

constexpr size_t kCapacity = 256 << 10;

class UserShardTest : public ::testing::Test {
 protected:
  void Put(const std::string& id, size_t num_events = 10) {
    const std::vector<HistoryEvent> history(num_events,
                                            HistoryEvent{.item_key = 1, .timestamp_ms = 5, .type = 1});
    shard_.Put(PackedUser::Create(UserKey(id), history, {}, {}), 0);
    ASSERT_LE(shard_.bytes(), kCapacity);
  }
  // As the cache does: whether it was there; then it is.
  bool Ask(const std::string& id, size_t num_events = 10) {
    if (PackedUser* user = shard_.Find(UserKey(id)); user != nullptr) {
      UserShard::CountUse(user);
      return true;
    }
    Put(id, num_events);
    return false;
  }
  // Hot users in the main queue, everything else full of others.
  void WarmUp() {
    for (int round = 0; round < 4; ++round) {
      for (int u = 0; u < kHot; ++u) Ask(absl::StrCat("hot", u));
    }
    for (int u = 0; u < 5000; ++u) Ask(absl::StrCat("cold", u));
    for (int u = 0; u < kHot; ++u) ASSERT_TRUE(Ask(absl::StrCat("hot", u))) << u;
  }

  static constexpr int kHot = 200;
  UserShard shard_{kCapacity};
};

TEST_F(UserShardTest, UsersWhoAreAskedForOnceDoNotDriveOutOthers) {
  WarmUp();
  for (int u = 0; u < 100'000; ++u) Ask(absl::StrCat("scan", u));
  for (int u = 0; u < kHot; ++u) EXPECT_TRUE(Ask(absl::StrCat("hot", u))) << u;
}

TEST_F(UserShardTest, AFloodOfUnknownUsersDoesNotDriveOutOthers) {
  WarmUp();
  for (int u = 0; u < 100'000; ++u) Ask(absl::StrCat("nobody", u), 0);
  for (int u = 0; u < kHot; ++u) EXPECT_TRUE(Ask(absl::StrCat("hot", u))) << u;
}

TEST_F(UserShardTest, UsersWhoComeBackSoonGoToTheMainQueue) {
  WarmUp();
  constexpr int kBack = 1200;  // more than there is room for
  // Each is driven out of the small queue by those between, and asked for again while it is remembered.
  for (int round = 0; round < 2; ++round) {
    for (int u = 0; u < kBack; ++u) Ask(absl::StrCat("back", u));
  }
  for (int u = 0; u < 20'000; ++u) Ask(absl::StrCat("scan", u));
  int kept = 0;
  for (int u = 0; u < kBack; ++u) kept += shard_.Find(UserKey(absl::StrCat("back", u))) != nullptr;
  EXPECT_GT(kept, kBack / 3);
}

TEST_F(UserShardTest, UsersOfThePastLeaveForThoseOfToday) {
  WarmUp();
  for (int generation = 0; generation < 12; ++generation) {
    for (int round = 0; round < 3; ++round) {
      for (int u = 0; u < 600; ++u) Ask(absl::StrCat("new", generation, "/", u));
    }
  }
  int kept = 0;
  for (int u = 0; u < kHot; ++u) kept += shard_.Find(UserKey(absl::StrCat("hot", u))) != nullptr;
  EXPECT_LT(kept, kHot / 4) << "nobody asks for them any more";
}

TEST_F(UserShardTest, ANewVersionTakesThePlaceOfTheOldOne) {
  Put("a", 1);
  Put("b", 1);
  const size_t before = shard_.bytes();
  Put("a", 100);
  EXPECT_EQ(shard_.num_users(), 2);
  EXPECT_GT(shard_.bytes(), before + 800);
  std::vector<HistoryEvent> history;
  shard_.Find(UserKey("a"))->ReadHistory(&history);
  EXPECT_EQ(history.size(), 100);
  Put("a", 1);
  EXPECT_EQ(shard_.bytes(), before);
  shard_.Remove(shard_.Find(UserKey("a")));
  EXPECT_EQ(shard_.Find(UserKey("a")), nullptr);
  shard_.Remove(shard_.Find(UserKey("b")));
  shard_.Remove(nullptr);
  EXPECT_EQ(shard_.bytes(), 0);
  EXPECT_EQ(shard_.num_users(), 0);
  EXPECT_EQ(shard_.num_evictions(), 0);
}

TEST_F(UserShardTest, AUserLargerThanTheShardIsNotKept) {
  UserShard tiny(100);
  tiny.Put(PackedUser::Create(UserKey("u"), {}, {}, {}), 0);
  EXPECT_EQ(tiny.num_users(), 0);
  EXPECT_EQ(tiny.num_evictions(), 1);
}

uint64_t Hash(uint64_t i) { return UserKey(absl::StrCat(i)).hash; }

TEST(GhostQueueTest, RemembersAboutTheLastOnesAndNobodyElse) {
  GhostQueue ghosts;
  constexpr uint64_t kCapacity = 1000;
  for (uint64_t i = 0; i < 10 * kCapacity; ++i) ghosts.Add(Hash(i), kCapacity);
  uint64_t lately = 0, long_ago = 0, never = 0;
  for (uint64_t i = 0; i < 9 * kCapacity; ++i) long_ago += ghosts.Remove(Hash(i)) ? 1 : 0;
  for (uint64_t i = 10 * kCapacity; i < 20 * kCapacity; ++i) never += ghosts.Remove(Hash(i)) ? 1 : 0;
  for (uint64_t i = 9 * kCapacity; i < 10 * kCapacity; ++i) lately += ghosts.Remove(Hash(i)) ? 1 : 0;
  EXPECT_EQ(long_ago, 0);
  EXPECT_EQ(never, 0);
  EXPECT_GT(lately, kCapacity * 8 / 10);
  for (uint64_t i = 9 * kCapacity; i < 10 * kCapacity; ++i) EXPECT_FALSE(ghosts.Remove(Hash(i))) << "taken";
  EXPECT_LE(ghosts.bytes(), 16 * kCapacity + 1024);
}

TEST(GhostQueueTest, KeepsWhatItHasWhenItGrows) {
  GhostQueue ghosts;
  EXPECT_FALSE(ghosts.Remove(Hash(1)));
  ghosts.Add(Hash(1), 0);
  EXPECT_EQ(ghosts.bytes(), 0) << "room for nobody";
  uint64_t kept = 0;
  for (uint64_t i = 0; i < 500; ++i) ghosts.Add(Hash(i), 16 + 2 * i);
  for (uint64_t i = 0; i < 500; ++i) kept += ghosts.Remove(Hash(i)) ? 1 : 0;
  EXPECT_GT(kept, 400);
}

}  // namespace
}  // namespace swiftlet
