#include "client/event_id.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"

namespace swiftlet {
namespace {

v1::Event SomeEvent() {
  v1::Event event;
  event.set_user_id("u1");
  event.set_item_id("i1");
  event.set_type("rating");
  event.set_value(4.5f);
  event.set_timestamp_ms(1700000000000);
  return event;
}

TEST(EventIdTest, RandomIdsDifferAcrossThreads) {
  Mutex mu;
  std::set<std::string> ids;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        const std::string id = RandomEventId();
        MutexLock lock(mu);
        EXPECT_EQ(id.size(), 32u);
        EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
        ids.insert(id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ids.size(), 4000u);
}

// The ids are kept by servers: they must never change between versions of the client.
TEST(EventIdTest, IdsOfContentNeverChange) {
  EXPECT_EQ(EventIdOf(SomeEvent(), 7), "6801436f56c0604fca2ecb807aeae224");
}

TEST(EventIdTest, TheLineCountsOnlyWithoutATime) {
  v1::Event event = SomeEvent();
  EXPECT_EQ(EventIdOf(event, 1), EventIdOf(event, 2));
  event.set_timestamp_ms(0);
  EXPECT_NE(EventIdOf(event, 1), EventIdOf(event, 2));
  EXPECT_EQ(EventIdOf(event, 1), EventIdOf(event, 1));
}

TEST(EventIdTest, EveryFieldCounts) {
  std::set<std::string> ids = {EventIdOf(SomeEvent(), 1)};
  v1::Event event = SomeEvent();
  event.set_user_id("u2");
  ids.insert(EventIdOf(event, 1));
  event = SomeEvent();
  event.set_item_id("i2");
  ids.insert(EventIdOf(event, 1));
  event = SomeEvent();
  event.set_type("view");
  ids.insert(EventIdOf(event, 1));
  event = SomeEvent();
  event.set_value(4.0f);
  ids.insert(EventIdOf(event, 1));
  event = SomeEvent();
  event.set_timestamp_ms(1700000000001);
  ids.insert(EventIdOf(event, 1));
  event = SomeEvent();  // the border between fields counts, too
  event.set_user_id("u1i");
  event.set_item_id("1");
  ids.insert(EventIdOf(event, 1));
  EXPECT_EQ(ids.size(), 7u);
}

TEST(EventIdTest, AnIdThatIsSetAndTheSignOfZeroDoNotCount) {
  v1::Event event = SomeEvent();
  event.set_event_id("x");
  EXPECT_EQ(EventIdOf(event, 1), EventIdOf(SomeEvent(), 1));
  event.set_value(0.0f);
  const std::string id = EventIdOf(event, 1);
  event.set_value(-0.0f);
  EXPECT_EQ(EventIdOf(event, 1), id);
}

}  // namespace
}  // namespace swiftlet
