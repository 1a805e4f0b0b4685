#include "engine/base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <vector>

namespace swiftlet {
namespace {

TEST(ThreadPool, DestructionRunsWhatIsQueued) {
  std::atomic<int> ran{0};
  {
    ThreadPool pool(3);
    for (int i = 0; i < 1000; ++i) pool.Schedule([&] { ++ran; });
  }
  EXPECT_EQ(ran, 1000);
}

TEST(ThreadPool, OneThreadRunsTasksInOrderOfArrival) {
  std::vector<int> order;
  {
    ThreadPool pool(1);
    for (int i = 0; i < 100; ++i) pool.Schedule([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(ThreadPool, QueueLengthCountsTasksThatWait) {
  Mutex mu;
  CondVar changed;
  bool started = false, go = false;
  {
    ThreadPool pool(1);
    pool.Schedule([&] {
      MutexLock lock(mu);
      started = true;
      changed.NotifyAll();
      while (!go) changed.Wait(mu);
    });
    {
      MutexLock lock(mu);
      while (!started) changed.Wait(mu);
    }
    EXPECT_EQ(pool.QueueLength(), 0u);
    pool.Schedule([] {});
    pool.Schedule([] {});
    EXPECT_EQ(pool.QueueLength(), 2u);
    MutexLock lock(mu);
    go = true;
    changed.NotifyAll();
  }
}

TEST(ThreadPool, ZeroMeansAThreadForEachCore) { EXPECT_GE(ThreadPool(0).num_threads(), 1u); }

TEST(ThreadPool, ParallelForCoversEveryIndexOnceInPiecesOfTheGrain) {
  ThreadPool pool(3);
  for (const size_t n : {0, 1, 2, 9, 100, 1001}) {
    for (const size_t grain : {0, 1, 7, 100, 5000}) {
      std::vector<std::atomic<int>> hits(n);
      std::vector<std::atomic<int>> busy(pool.num_threads() + 1);
      pool.ParallelFor(n, grain, [&](size_t begin, size_t end, size_t worker) {
        ASSERT_LT(worker, busy.size());
        EXPECT_EQ(busy[worker]++, 0) << "two pieces at a time on worker " << worker;
        EXPECT_LE(end - begin, std::max<size_t>(grain, 1));
        for (size_t i = begin; i < end; ++i) ++hits[i];
        --busy[worker];
      });
      for (size_t i = 0; i < n; ++i)
        ASSERT_EQ(hits[i], 1) << "n " << n << " grain " << grain << " index " << i;
    }
  }
}

TEST(ThreadPool, ParallelForsOfSeveralCallersDoNotMix) {
  ThreadPool pool(2);
  std::atomic<size_t> total{0};
  {
    ThreadPool callers(4);
    for (int i = 0; i < 40; ++i) {
      callers.Schedule(
          [&] { pool.ParallelFor(100, 3, [&](size_t begin, size_t end, size_t) { total += end - begin; }); });
    }
  }
  EXPECT_EQ(total, 4000u);
}

}  // namespace
}  // namespace swiftlet
