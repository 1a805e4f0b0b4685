// The kernels of a search held against the memory roof: bytes a second of the dot products of the full scan
// and of matching codes, beside a plain read of the very same bytes, in the second-level cache, the third and
// DRAM. Counter "of_read": the share of what the plain read reached just before.
#include "engine/kernels/code_match.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/kernels/cpu_target.h"
#include "engine/kernels/dot.h"
#include "tests/bench/engine/kernels/read_floor.h"

namespace swiftlet {
namespace {

constexpr size_t kL2 = size_t{512} << 10, kL3 = size_t{8} << 20, kDram = size_t{512} << 20;

// One buffer for everything: floats in [-.5, .5), whose bytes serve as codes, too.
const AlignedVector<float>& Buffer() {
  static const AlignedVector<float>* const buffer = [] {
    std::mt19937 random(1);
    auto* const made = new AlignedVector<float>(kDram / sizeof(float));
    for (float& x : *made) x = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
    return made;
  }();
  return *buffer;
}

// Bytes a second (of CPU time, as the benchmarks') of a plain read, the best of several passes after one to
// warm up.
double ReadSpeed(size_t bytes) {
  const size_t passes = std::max<size_t>(4, (size_t{256} << 20) / bytes);
  double best = 0;
  for (int round = -1; round < 3; ++round) {
    const std::clock_t begin = std::clock();
    for (size_t pass = 0; pass < passes; ++pass) {
      benchmark::DoNotOptimize(bench::SumBytes(Buffer().data(), bytes));
    }
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    if (round >= 0) best = std::max(best, static_cast<double>(bytes * passes) / seconds);
  }
  return best;
}

// Runs pass() over `bytes` of the buffer as the benchmark, after the plain read.
template <typename Pass>
void Run(benchmark::State& state, size_t bytes, const std::string& label, const Pass& pass) {
  const double floor = ReadSpeed(bytes);
  pass();
  for (auto _ : state) pass();
  const double read = static_cast<double>(bytes) * static_cast<double>(state.iterations());
  state.SetBytesProcessed(static_cast<int64_t>(read));
  state.counters["of_read"] = benchmark::Counter(read / floor, benchmark::Counter::kIsRate);
  state.SetLabel(label);
}

void BM_Read(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0));
  Run(state, bytes, "", [&] { benchmark::DoNotOptimize(bench::SumBytes(Buffer().data(), bytes)); });
}

void BM_DotRows(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0)), dim = static_cast<size_t>(state.range(1));
  const size_t rows = bytes / (dim * sizeof(float));
  constexpr size_t kBlock = 1024;  // as the full scan
  AlignedVector<float> scores(kBlock), query(dim, 0.25f);
  Run(state, bytes, ActiveCpuTarget(), [&] {
    for (size_t begin = 0; begin < rows; begin += kBlock) {
      DotRows(query.data(), Buffer().data() + begin * dim, std::min(kBlock, rows - begin), dim, dim,
              scores.data());
      benchmark::DoNotOptimize(scores.data());
    }
  });
}

constexpr size_t kBatch = 32;  // groups or rows at a time, as in a search

std::string CodeTarget() { return ActiveCpuTarget() + (UsesVnni() ? " VNNI" : ""); }

std::vector<uint32_t> Order(size_t n, bool scattered) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  if (scattered) std::shuffle(order.begin(), order.end(), std::mt19937(2));
  return order;
}

// Coarse codes of groups, in the order in which they stand, or scattered. Limits that no row reaches.
void BM_MatchGroups(benchmark::State& state) {
  constexpr size_t kQuads = 4;
  const size_t num_groups = static_cast<size_t>(state.range(0)) / (64 * kQuads);
  const std::vector<uint32_t> groups = Order(num_groups, state.range(1) != 0);
  const std::vector<int32_t> limits(kBatch, std::numeric_limits<int32_t>::max());
  const std::vector<int8_t> query(4 * kQuads, 3);
  std::vector<uint16_t> masks(kBatch);
  const CodeSection section{
      .codes = reinterpret_cast<const uint8_t*>(Buffer().data()), .query = query.data(), .quads = kQuads};
  Run(state, num_groups * 64 * kQuads, CodeTarget(), [&] {
    for (size_t begin = 0; begin < num_groups; begin += kBatch) {
      MatchGroups(section, groups.data() + begin, limits.data(), kBatch, masks.data());
      benchmark::DoNotOptimize(masks.data());
    }
  });
}

// Fine codes of rows of `dim` bytes, asked for a batch ahead, as a search does.
void BM_DotCodes(benchmark::State& state) {
  const auto dim = static_cast<size_t>(state.range(1));
  const size_t num_rows = static_cast<size_t>(state.range(0)) / dim / kBatch * kBatch;
  const std::vector<uint32_t> rows = Order(num_rows, state.range(2) != 0);
  const std::vector<int16_t> coordinates(dim, 300);
  CodeQuery query;
  query.Set(coordinates.data(), dim);
  std::vector<uint32_t> sums(kBatch);
  const auto* const codes = reinterpret_cast<const uint8_t*>(Buffer().data());
  Run(state, num_rows * dim, CodeTarget(), [&] {
    for (size_t begin = 0; begin < num_rows; begin += kBatch) {
      for (size_t i = begin + kBatch; i < std::min(num_rows, begin + 2 * kBatch); ++i) {
        for (size_t j = 0; j < dim; j += 64) __builtin_prefetch(codes + rows[i] * dim + j, 0, 0);
      }
      DotCodes(codes, query, rows.data() + begin, kBatch, sums.data());
      benchmark::DoNotOptimize(sums.data());
    }
  });
}

template <void (*kBenchmark)(benchmark::State&)>
void WithoutVnni(benchmark::State& state) {
  AllowVnni(false);
  kBenchmark(state);
  AllowVnni(true);
}

void Sizes(benchmark::internal::Benchmark* b, const std::vector<std::vector<int64_t>>& rest) {
  for (const size_t bytes : {kL2, kL3, kDram}) {
    for (std::vector<int64_t> args : rest) {
      args.insert(args.begin(), static_cast<int64_t>(bytes));
      b->Args(args);
    }
  }
}

BENCHMARK(BM_Read)->ArgNames({"bytes"})->Apply([](auto* b) { Sizes(b, {{}}); });
BENCHMARK(BM_DotRows)->ArgNames({"bytes", "dim"})->Apply([](auto* b) { Sizes(b, {{64}, {128}}); });
BENCHMARK(BM_MatchGroups)->ArgNames({"bytes", "scattered"})->Apply([](auto* b) { Sizes(b, {{0}, {1}}); });
BENCHMARK(BM_DotCodes)->ArgNames({"bytes", "dim", "scattered"})->Apply([](auto* b) {
  Sizes(b, {{64, 0}, {64, 1}, {128, 0}, {128, 1}});
});
BENCHMARK(WithoutVnni<BM_MatchGroups>)->ArgNames({"bytes", "scattered"})->Apply([](auto* b) {
  Sizes(b, {{0}});
});
BENCHMARK(WithoutVnni<BM_DotCodes>)->ArgNames({"bytes", "dim", "scattered"})->Apply([](auto* b) {
  Sizes(b, {{64, 0}});
});

}  // namespace
}  // namespace swiftlet

int main(int argc, char** argv) {
  benchmark::AddCustomContext("cpu_target", swiftlet::ActiveCpuTarget());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
