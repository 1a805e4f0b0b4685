#include "storage/packed_user.h"

#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace swiftlet {
namespace {

void ExpectRoundTrip(const std::string& id, const std::vector<HistoryEvent>& history,
                     const std::vector<float>& long_term) {
  const UserVectorsId vectors{long_term.empty() ? 0 : 7, 3};
  const PackedUser::Ptr packed = PackedUser::Create(UserKey(id), history, long_term, vectors);
  std::vector<HistoryEvent> events(3, HistoryEvent{.item_key = 9, .value = 9});
  std::vector<float> floats(5, 1);
  packed->ReadHistory(&events);
  packed->ReadLongTerm(&floats);
  EXPECT_EQ(events, history);
  EXPECT_EQ(floats, long_term);
  EXPECT_TRUE(packed->key() == UserKey(id));
  EXPECT_EQ(packed->vectors(), vectors);
  EXPECT_GE(packed->bytes(), sizeof(PackedUser) + id.size() + 9 * history.size() + 4 * long_term.size());
}

TEST(PackedUserTest, KeepsEveryKindOfEventExactly) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  std::vector<HistoryEvent> all;
  for (const int64_t time :
       {int64_t{0}, int64_t{0}, int64_t{1}, int64_t{255}, int64_t{256}, int64_t{70'000}, int64_t{1} << 24,
        int64_t{1} << 33, int64_t{1'700'000'000'000}, int64_t{1} << 50, kMax - 1, kMax}) {
    for (const int type : {1, 15, 16, 255}) {
      for (const float value : {0.0f, -0.0f, 1.0f, -3.5f, std::numeric_limits<float>::denorm_min()}) {
        all.push_back({.item_key = ~uint64_t{0} - all.size() * 0x9E3779B97F4A7C15u,
                       .timestamp_ms = time,
                       .value = value,
                       .type = static_cast<EventTypeId>(type)});
      }
    }
  }
  ExpectRoundTrip("u", all, {1, 2, 3});
  for (const HistoryEvent& event : all) ExpectRoundTrip("u", {event}, {});
  std::shuffle(all.begin(), all.end(), std::mt19937(1));  // an order that the store does not have
  ExpectRoundTrip(std::string(256, 'x'), all, std::vector<float>(1024, 0.25f));
  ExpectRoundTrip("nobody", {}, {});
}

TEST(PackedUserTest, TakesLessThanTheStoresEncoding) {
  std::mt19937 random(1);
  std::vector<HistoryEvent> history;
  int64_t time = 1'700'000'000'000;
  for (int i = 0; i < 100; ++i) {
    time += random() % 600'000'000;  // a week at most
    history.push_back({.item_key = random(), .timestamp_ms = time, .value = 0, .type = 1});
  }
  const size_t bytes = PackedUser::Create(UserKey("user"), history, {}, {})->bytes();
  EXPECT_LT(bytes, 100 * 21);
  // Minus zero is a value: its bits are kept.
  history[50].value = -0.0f;
  std::vector<HistoryEvent> read;
  PackedUser::Create(UserKey("user"), history, {}, {})->ReadHistory(&read);
  EXPECT_TRUE(std::signbit(read[50].value));
  EXPECT_FALSE(std::signbit(read[49].value));
}

}  // namespace
}  // namespace swiftlet
