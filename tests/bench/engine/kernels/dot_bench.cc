// Dot products of one query with all rows of a matrix, of float32 and of bf16: bytes a second, beside those
// of a plain read of as much memory (the floor).
#include "engine/kernels/dot.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/base/bf16.h"
#include "engine/kernels/cpu_target.h"

namespace swiftlet {
namespace {

AlignedVector<float> RandomMatrix(size_t rows, size_t stride) {
  std::mt19937 random(1);
  AlignedVector<float> m(rows * stride);
  for (float& x : m) x = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
  return m;
}

// Of the row type T.
template <typename T>
AlignedVector<T> RandomRows(size_t rows, size_t stride) {
  const AlignedVector<float> m = RandomMatrix(rows, stride);
  if constexpr (std::is_same_v<T, float>) {
    return m;
  } else {
    AlignedVector<T> rounded(m.size());
    std::transform(m.begin(), m.end(), rounded.begin(), ToBf16);
    return rounded;
  }
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

template <typename T>
void BM_DotRows(benchmark::State& state) {
  const auto rows = static_cast<size_t>(state.range(0)), dim = static_cast<size_t>(state.range(1));
  const AlignedVector<T> items = RandomRows<T>(rows, RowStride(dim));
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
  SetBytes(state, rows * dim * sizeof(T));
  state.SetLabel(ActiveCpuTarget());
}
void AddSizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "dim"});
  for (const int64_t rows : {1000, 10'000, 100'000, 1'000'000}) b->Args({rows, 64});
  b->Args({1000, 50})->Args({1000, 128})->Args({1'000'000, 128});
}
BENCHMARK(BM_DotRows<float>)->Apply(AddSizes);
BENCHMARK(BM_DotRows<Bf16>)->Apply(AddSizes);

template <typename T>
void BM_DotRowsOfTarget(benchmark::State& state, const std::string& target) {
  if (!ForceCpuTarget(target).ok()) {
    state.SkipWithError("not runnable here");
    return;
  }
  BM_DotRows<T>(state);
  (void)ForceCpuTarget("");
}

template <typename T>
void BM_DotGather(benchmark::State& state) {
  const auto rows = static_cast<size_t>(state.range(0));
  constexpr size_t kDim = 64, kPicked = 500;
  const AlignedVector<T> items = RandomRows<T>(rows, kDim);
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
BENCHMARK(BM_DotGather<float>)->ArgName("rows")->Arg(1000)->Arg(1'000'000);
BENCHMARK(BM_DotGather<Bf16>)->ArgName("rows")->Arg(1000)->Arg(1'000'000);

}  // namespace
}  // namespace swiftlet

int main(int argc, char** argv) {
  for (const std::string& target : swiftlet::SupportedCpuTargets()) {
    const auto add = [&](const std::string& name, void (*run)(benchmark::State&, const std::string&)) {
      benchmark::RegisterBenchmark(("BM_DotRowsOfTarget<" + name + ">/" + target).c_str(), run, target)
          ->ArgNames({"rows", "dim"})
          ->Args({1000, 64});
    };
    add("float", swiftlet::BM_DotRowsOfTarget<float>);
    add("Bf16", swiftlet::BM_DotRowsOfTarget<swiftlet::Bf16>);
  }
  benchmark::AddCustomContext("cpu_target", swiftlet::ActiveCpuTarget());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
