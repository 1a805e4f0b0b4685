#include "server/call_arena.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>

#include "swiftlet/v1/recommendation.pb.h"

namespace swiftlet {
namespace {

class CallArenaTest : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "messages are not in the arena then";
#endif
  }
};

// On a thread that has answered nothing yet.
void OnNewThread(const std::function<void()>& test) { std::thread(test).join(); }

v1::ScoreItemsRequest* Fill(CallArena& arena, int num_items, size_t id_bytes = 5) {
  auto* request = arena.Create<v1::ScoreItemsRequest>();
  for (int i = 0; i < num_items; ++i) request->add_item_ids(std::string(id_bytes, 'x'));
  return request;
}

TEST_F(CallArenaTest, TheNextCallGetsTheSameMemoryEmpty) {
  OnNewThread([] {
    EXPECT_EQ(CallArena::NumKept(), 0u);
    const void* first;
    {
      CallArena arena;
      first = Fill(arena, 3);
    }
    CallArena arena;
    auto* request = arena.Create<v1::ScoreItemsRequest>();
    EXPECT_EQ(request, first);
    EXPECT_EQ(request->item_ids_size(), 0);
    EXPECT_EQ(CallArena::NumKept(), CallArena::kFirstBlock);
  });
}

TEST_F(CallArenaTest, GrowsToWhatACallNeeded) {
  OnNewThread([] {
    {
      CallArena arena;
      Fill(arena, 1000);
    }
    const size_t kept = CallArena::NumKept();
    EXPECT_GT(kept, 32u * 1000);
    EXPECT_LE(kept, CallArena::kMaxKept);
    {
      CallArena arena;
      Fill(arena, 1000);
    }
    EXPECT_EQ(CallArena::NumKept(), kept) << "that was enough";
    {
      CallArena arena;
      Fill(arena, 1);
    }
    EXPECT_EQ(CallArena::NumKept(), kept);
  });
}

TEST_F(CallArenaTest, AHugeCallLeavesNoMoreThanTheBound) {
  OnNewThread([] {
    {
      CallArena arena;
      Fill(arena, 100'000);
    }
    EXPECT_EQ(CallArena::NumKept(), CallArena::kMaxKept);
    // Nothing was lost with it.
    CallArena arena;
    EXPECT_EQ(Fill(arena, 100'000)->item_ids(99'999), "xxxxx");
  });
}

TEST_F(CallArenaTest, ALongTextIsNotKept) {
  OnNewThread([] {
    {
      CallArena arena;
      Fill(arena, 1, size_t{1} << 20);
    }
    EXPECT_EQ(CallArena::NumKept(), CallArena::kFirstBlock);
  });
}

TEST_F(CallArenaTest, ACallWithinACallHasMemoryOfItsOwn) {
  OnNewThread([] {
    CallArena outer;
    auto* kept = Fill(outer, 10);
    {
      CallArena inner;
      EXPECT_NE(Fill(inner, 5000, 3), kept);
    }
    Fill(outer, 10);
    EXPECT_EQ(CallArena::NumKept(), CallArena::kFirstBlock);
    ASSERT_EQ(kept->item_ids_size(), 10);
    for (const std::string& id : kept->item_ids()) EXPECT_EQ(id, "xxxxx");
  });
}

TEST_F(CallArenaTest, WhatIsCopiedOutLivesOn) {
  v1::ScoreItemsRequest copy;
  {
    CallArena arena;
    copy = *Fill(arena, 10, 40);
    copy.mutable_context()->add_item_ids("more");
  }
  {
    CallArena arena;
    Fill(arena, 10, 7);
  }
  EXPECT_EQ(copy.GetArena(), nullptr);
  EXPECT_EQ(copy.item_ids(9), std::string(40, 'x'));
}

}  // namespace
}  // namespace swiftlet
