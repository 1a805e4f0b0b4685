#include "engine/internal/user_vector_memo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using Key = UserVectorMemo::Key;
using Entry = UserVectorMemo::Entry;

Key KeyNumber(uint64_t i) { return {.low = 2 * i + 1, .high = i * 0x9E3779B97F4A7C15}; }

class UserVectorMemoTest : public ::testing::Test {
 protected:
  void Put(uint64_t number, const std::vector<float>& vector, const std::vector<uint32_t>& rows = {}) {
    memo_.Put(KeyNumber(number), {.user_vector = vector,
                                  .excluded_rows = rows,
                                  .num_events = static_cast<uint32_t>(number),
                                  .source = 1});
  }
  bool Has(uint64_t number, uint32_t dim = 2) {
    Entry entry;
    return memo_.Find(KeyNumber(number), dim, &entry);
  }

  UserVectorMemo memo_;
};

TEST_F(UserVectorMemoTest, IsOffUntilItHasBytes) {
  EXPECT_FALSE(memo_.enabled());
  memo_.Configure(1000, 1);
  EXPECT_TRUE(memo_.enabled());
  memo_.Configure(0, 1);
  EXPECT_FALSE(memo_.enabled());
}

TEST_F(UserVectorMemoTest, GivesBackWhatWasPut) {
  memo_.Configure(1 << 20, 1);
  EXPECT_FALSE(Has(7));
  Put(7, {1, 2}, {30, 10, 20});
  Put(8, {3, 4});
  Entry entry;
  ASSERT_TRUE(memo_.Find(KeyNumber(7), 2, &entry));
  EXPECT_THAT(entry.user_vector, ElementsAre(1, 2));
  EXPECT_THAT(entry.excluded_rows, ElementsAre(30, 10, 20));
  EXPECT_EQ(entry.num_events, 7u);
  EXPECT_EQ(entry.source, 1u);
  ASSERT_TRUE(memo_.Find(KeyNumber(8), 2, &entry));
  EXPECT_THAT(entry.user_vector, ElementsAre(3, 4));
  EXPECT_THAT(entry.excluded_rows, IsEmpty());
  EXPECT_FALSE(Has(9));
  EXPECT_FALSE(Has(7, 3)) << "of another dimension";
}

TEST_F(UserVectorMemoTest, AVectorOfAnotherDimensionForgetsTheOthers) {
  memo_.Configure(1 << 20, 1);
  Put(7, {1, 2});
  Put(8, {1, 2, 3});
  EXPECT_FALSE(Has(7));
  EXPECT_FALSE(Has(7, 3));
  EXPECT_TRUE(Has(8, 3));
}

TEST_F(UserVectorMemoTest, MoreBytesOrFewerForgetAll) {
  memo_.Configure(1 << 20, 1);
  Put(7, {1, 2});
  memo_.Configure(1 << 20, 1);
  EXPECT_TRUE(Has(7));
  memo_.Configure(1 << 19, 1);
  EXPECT_FALSE(Has(7));
}

TEST_F(UserVectorMemoTest, TooManyRowsAreNotKept) {
  memo_.Configure(1 << 20, 1);
  Put(1, {1, 2}, std::vector<uint32_t>(UserVectorMemo::kMaxExcludedRows, 5));
  Put(2, {1, 2}, std::vector<uint32_t>(UserVectorMemo::kMaxExcludedRows + 1, 5));
  EXPECT_TRUE(Has(1));
  EXPECT_FALSE(Has(2));
}

TEST_F(UserVectorMemoTest, WhoAsksAgainAndAgainStays) {
  memo_.Configure(1, 1);  // one set
  Put(0, {0, 0});
  for (uint64_t i = 1; i < 1000; ++i) {
    ASSERT_TRUE(Has(0)) << i;
    Put(i, {static_cast<float>(i), 0});
    Entry entry;
    ASSERT_TRUE(memo_.Find(KeyNumber(i), 2, &entry));
    EXPECT_EQ(entry.user_vector[0], static_cast<float>(i));
  }
  size_t kept = 0;
  for (uint64_t i = 0; i < 1000; ++i) kept += Has(i);
  EXPECT_EQ(kept, 4u);
}

TEST_F(UserVectorMemoTest, KeysDifferInWhateverTheInputDiffersIn) {
  memo_.Configure(1 << 20, 1);
  const std::vector<HistoryEvent> history = {{.item_key = 1, .timestamp_ms = 2, .value = 3, .type = 4},
                                             {.item_key = 5, .timestamp_ms = 6, .value = 7, .type = 8}};
  std::vector<std::vector<HistoryEvent>> histories(7, history);
  histories[1][0].item_key = 9;
  histories[2][0].timestamp_ms = 9;
  histories[3][1].value = 9;
  histories[4][1].type = 9;
  histories[5].pop_back();
  std::swap(histories[6][0], histories[6][1]);
  const std::vector<std::vector<float>> long_terms = {{}, {0}, {0, 0}, {1}, {1, 2, 3}};
  std::set<std::pair<uint64_t, uint64_t>> keys;
  size_t num_inputs = 0;
  for (const uint64_t view : {1, 2}) {
    for (const bool exclude_seen : {false, true}) {
      for (const auto& events : histories) {
        for (const auto& long_term : long_terms) {
          const Key key = memo_.KeyOf(view, exclude_seen, {.history = events, .long_term = long_term});
          keys.emplace(key.low, key.high);
          ++num_inputs;
          EXPECT_EQ(key, memo_.KeyOf(view, exclude_seen, {.history = events, .long_term = long_term}));
        }
      }
    }
  }
  EXPECT_EQ(keys.size(), num_inputs);
  // Other secrets, other keys.
  const Key key = memo_.KeyOf(1, true, {.history = history});
  memo_.Configure(1 << 19, 2);
  EXPECT_FALSE(key == memo_.KeyOf(1, true, {.history = history}));
}

}  // namespace
}  // namespace swiftlet
