// Dot products of one query with all rows of a matrix: bytes a second, beside those of a plain read of as
// much memory (the floor).
#include "engine/kernels/dot.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/kernels/cpu_target.h"

namespace swiftlet {
namespace {

AlignedVector<float> RandomMatrix(size_t rows, size_t stride) {
  std::mt19937 random(1);
  AlignedVector<float> m(rows * stride);
  for (float& x : m) x = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
  return m;
}

void SetBytes(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(bytes * static_cast<size_t>(state.iterations())));
}

// The C library's search for a byte that is not there.
void BM_ReadFloor(benchmark::State& state) {
  const size_t bytes = static_cast<size_t>(state.range(0)) * 64 * sizeof(float);
  AlignedVector<char> memory(bytes, 'a');
  for (auto _ : state) {
    benchmark::DoNotOptimize(memory.data());
    benchmark::DoNotOptimize(std::memchr(memory.data(), 'b', bytes));
  }
  SetBytes(state, bytes);
}
BENCHMARK(BM_ReadFloor)->ArgName("rows")->Arg(1000)->Arg(10'000)->Arg(1'000'000);

void BM_DotRows(benchmark::State& state) {
  const auto rows = static_cast<size_t>(state.range(0)), dim = static_cast<size_t>(state.range(1));
  const AlignedVector<float> items = RandomMatrix(rows, RowStride(dim));
  const AlignedVector<float> query = RandomMatrix(1, dim);
  constexpr size_t kBlock = 1024;
  AlignedVector<float> scores(kBlock);
  for (auto _ : state) {
    for (size_t begin = 0; begin < rows; begin += kBlock) {
      DotRows(query.data(), items.data() + begin * RowStride(dim), std::min(kBlock, rows - begin), dim,
              RowStride(dim), scores.data());
      benchmark::DoNotOptimize(scores.data());
    }
  }
  SetBytes(state, rows * dim * sizeof(float));
  state.SetLabel(ActiveCpuTarget());
}
BENCHMARK(BM_DotRows)
    ->ArgNames({"rows", "dim"})
    ->Args({1000, 64})
    ->Args({10'000, 64})
    ->Args({1'000'000, 64})
    ->Args({1000, 50})
    ->Args({1000, 128})
    ->Args({1'000'000, 128});

void BM_DotRowsOfTarget(benchmark::State& state, const std::string& target) {
  if (!ForceCpuTarget(target).ok()) {
    state.SkipWithError("not runnable here");
    return;
  }
  BM_DotRows(state);
  (void)ForceCpuTarget("");
}

void BM_DotGather(benchmark::State& state) {
  const auto rows = static_cast<size_t>(state.range(0));
  constexpr size_t kDim = 64, kPicked = 500;
  const AlignedVector<float> items = RandomMatrix(rows, kDim);
  const AlignedVector<float> query = RandomMatrix(1, kDim);
  std::mt19937 random(2);
  std::vector<uint32_t> picked(kPicked * 64);
  for (uint32_t& row : picked) row = static_cast<uint32_t>(random() % rows);
  AlignedVector<float> scores(kPicked);
  size_t round = 0;
  for (auto _ : state) {
    DotGather(query.data(), items.data(), picked.data() + round++ % 64 * kPicked, kPicked, kDim, kDim,
              scores.data());
    benchmark::DoNotOptimize(scores.data());
  }
  state.SetItemsProcessed(static_cast<int64_t>(kPicked) * state.iterations());
  state.SetLabel(ActiveCpuTarget());
}
BENCHMARK(BM_DotGather)->ArgName("rows")->Arg(1000)->Arg(1'000'000);

}  // namespace
}  // namespace swiftlet

int main(int argc, char** argv) {
  for (const std::string& target : swiftlet::SupportedCpuTargets()) {
    benchmark::RegisterBenchmark(("BM_DotRowsOfTarget/" + target).c_str(), swiftlet::BM_DotRowsOfTarget,
                                 target)
        ->ArgNames({"rows", "dim"})
        ->Args({1000, 64});
  }
  benchmark::AddCustomContext("cpu_target", swiftlet::ActiveCpuTarget());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
