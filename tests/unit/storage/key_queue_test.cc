#include "storage/key_queue.h"

#include <atomic>
#include <memory>
#include <random>
#include <thread>

#include "storage_test_util.h"

namespace swiftlet {
namespace {

TEST(KeyQueueTest, DisjointKeysDoNotWait) {
  KeyQueue queue;
  const KeyQueue::Turn a(queue, {1, 2, 2});
  const KeyQueue::Turn b(queue, {3});  // would block for ever
  const KeyQueue::Turn none(queue, {});
  EXPECT_EQ(queue.NumKeysInUse(), 3);
}

TEST(KeyQueueTest, OneAtATimePerKeyWithoutDeadlock) {
  constexpr int kKeys = 6, kThreads = 8, kRounds = 400;
  KeyQueue queue;
  std::vector<std::atomic<int>> holders(kKeys);
  std::vector<int> plain(kKeys, 0);  // ThreadSanitizer sees a race when two hold one key
  std::atomic<int> conflicts{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 rng(static_cast<unsigned>(t));
      for (int round = 0; round < kRounds; ++round) {
        std::vector<uint64_t> keys;
        for (uint64_t k = 0; k < kKeys; ++k) {
          if (rng() % 3 == 0) keys.push_back(k);
        }
        std::shuffle(keys.begin(), keys.end(), rng);
        const KeyQueue::Turn turn(queue, keys);
        for (const uint64_t k : keys) conflicts += holders[k].fetch_add(1) != 0;
        for (const uint64_t k : keys) ++plain[k];
        for (const uint64_t k : keys) holders[k].fetch_sub(1);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(conflicts, 0);
  EXPECT_EQ(queue.NumKeysInUse(), 0);
}

}  // namespace
}  // namespace swiftlet
