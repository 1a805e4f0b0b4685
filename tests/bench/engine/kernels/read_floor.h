// The roof of every kernel that streams through memory: a plain read.
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_KERNELS_READ_FLOOR_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_KERNELS_READ_FLOOR_H_

#include <cstddef>
#include <cstdint>

namespace swiftlet::bench {

// The sum of the 64-bit words of `memory`, 64-byte aligned; bytes: a multiple of 512. Compiled for this very
// machine, eight sums at a time.
uint64_t SumBytes(const void* memory, size_t bytes);

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_KERNELS_READ_FLOOR_H_
