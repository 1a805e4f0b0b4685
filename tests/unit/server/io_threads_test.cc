#include "server/io_threads.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace swiftlet {
namespace {

TEST(AvailableCpus, AreThoseOfTheAffinity) {
  const int all = AvailableCpus();
  EXPECT_GE(all, 1);
  std::thread([] {  // affinity is a thread's
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    ASSERT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
    EXPECT_EQ(AvailableCpus(), 1);
  })
      .join();
  EXPECT_EQ(AvailableCpus(), all);
}

TEST(IoThreads, AreAsManyAsWantedAndCanBeMadeAgain) {
  for (const int wanted : {1, 2, 1}) {
    const IoThreads threads(wanted);
    if (threads.num_threads() == 0) GTEST_SKIP() << "gRPC has other threads";
    EXPECT_EQ(threads.num_threads(), wanted);
  }
}

TEST(IoThreads, AreNoMoreThanGrpcHas) {
  const IoThreads threads(1000);
  EXPECT_LE(threads.num_threads(), 16);
}

}  // namespace
}  // namespace swiftlet
