// Tests that run once for every SIMD target of this machine.
//
//   using DotTest = EachCpuTarget;
//   TEST_P(DotTest, ...) { ... }
//   SWIFTLET_FOR_EACH_CPU_TARGET(DotTest);
#ifndef SWIFTLET_TESTS_UNIT_ENGINE_KERNELS_EACH_CPU_TARGET_H_
#define SWIFTLET_TESTS_UNIT_ENGINE_KERNELS_EACH_CPU_TARGET_H_

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "engine/kernels/cpu_target.h"

namespace swiftlet {

class EachCpuTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ForceCpuTarget(GetParam()).ok());
    ASSERT_EQ(ActiveCpuTarget(), GetParam());
  }
  void TearDown() override { ASSERT_TRUE(ForceCpuTarget("").ok()); }

  std::mt19937 random_{12345};
};

#define SWIFTLET_FOR_EACH_CPU_TARGET(fixture)                                                        \
  INSTANTIATE_TEST_SUITE_P(Targets, fixture, ::testing::ValuesIn(::swiftlet::SupportedCpuTargets()), \
                           [](const auto& info) { return info.param; })

// n normally distributed floats.
inline std::vector<float> RandomFloats(size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& x : values) x = normal(random);
  return values;
}

// Values whose last one is followed by a page that faults when it is touched: a read or write behind the end
// ends the test.
template <typename T>
class Guarded {
 public:
  explicit Guarded(const std::vector<T>& values) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = values.size() * sizeof(T);
    const size_t readable = (bytes + page - 1) / page * page;
    size_ = readable + page;
    base_ =
        static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) abort();
    if (mprotect(base_ + readable, page, PROT_NONE) != 0) abort();
    data_ = reinterpret_cast<T*>(base_ + readable - bytes);
    std::copy(values.begin(), values.end(), data_);
  }
  ~Guarded() { munmap(base_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }

 private:
  char* base_ = nullptr;
  size_t size_ = 0;
  T* data_ = nullptr;
};
using GuardedFloats = Guarded<float>;

}  // namespace swiftlet

#endif  // SWIFTLET_TESTS_UNIT_ENGINE_KERNELS_EACH_CPU_TARGET_H_
