#include "server/reaper.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>

namespace swiftlet {
namespace {

// Tells which thread destroyed it.
struct Probe {
  explicit Probe(std::promise<std::thread::id>* died) : died(died) {}
  ~Probe() { died->set_value(std::this_thread::get_id()); }
  std::promise<std::thread::id>* died;
};

TEST(Reaper, FreesOnItsOwnThreadWhatNobodyHolds) {
  std::promise<std::thread::id> died;
  Reaper reaper;
  reaper.Retire(std::make_shared<Probe>(&died));
  EXPECT_NE(died.get_future().get(), std::this_thread::get_id());
}

TEST(Reaper, WaitsForTheLastHolderAndFreesAfterIt) {
  std::promise<std::thread::id> died;
  std::future<std::thread::id> where = died.get_future();
  Reaper reaper;
  auto held = std::make_shared<Probe>(&died);
  reaper.Retire(held);
  EXPECT_EQ(reaper.num_waiting(), 1u);
  EXPECT_EQ(where.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  held.reset();  // not the last reference: it does not die here
  EXPECT_NE(where.get(), std::this_thread::get_id());
}

TEST(Reaper, DestructionDoesNotTakeAnObjectFromItsHolder) {
  std::promise<std::thread::id> died;
  std::future<std::thread::id> where = died.get_future();
  auto held = std::make_shared<Probe>(&died);
  {
    Reaper reaper;
    reaper.Retire(held);
  }
  EXPECT_EQ(held.use_count(), 1);
  held.reset();
  EXPECT_EQ(where.get(), std::this_thread::get_id());
}

}  // namespace
}  // namespace swiftlet
