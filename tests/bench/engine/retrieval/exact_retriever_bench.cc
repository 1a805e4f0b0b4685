// The exact scan: top k of a matrix, beside the bare dot products of the same matrix (the floor).
#include "engine/retrieval/exact_retriever.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <vector>

#include "engine/kernels/cpu_target.h"
#include "engine/kernels/dot.h"

namespace swiftlet {
namespace {

constexpr size_t kDim = 64;

struct Catalogue {
  explicit Catalogue(size_t n) : vectors(n * kDim), bias(n), query(kDim) {
    std::mt19937 random(1);
    const auto value = [&] { return static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f; };
    for (float& x : vectors) x = value();
    for (float& x : bias) x = value();
    for (float& x : query) x = value();
    items = {.vectors = vectors.data(), .bias = bias.data(), .num_items = n, .dim = kDim, .stride = kDim};
  }
  AlignedVector<float> vectors, bias, query;
  ItemMatrix items;
};

void Report(benchmark::State& state, size_t rows) {
  state.SetBytesProcessed(static_cast<int64_t>(rows * kDim * sizeof(float)) * state.iterations());
  state.SetLabel(ActiveCpuTarget());
}

void BM_DotsOnly(benchmark::State& state) {
  const auto rows = static_cast<size_t>(state.range(0));
  const Catalogue c(rows);
  AlignedVector<float> scores(1024);
  for (auto _ : state) {
    for (size_t begin = 0; begin < rows; begin += 1024) {
      DotRows(c.query.data(), c.vectors.data() + begin * kDim, std::min<size_t>(1024, rows - begin), kDim,
              kDim, scores.data());
      benchmark::DoNotOptimize(scores.data());
    }
  }
  Report(state, rows);
}
BENCHMARK(BM_DotsOnly)
    ->ArgName("rows")
    ->Arg(10'000)
    ->Arg(100'000)
    ->Arg(1'000'000)
    ->Unit(benchmark::kMicrosecond);

// Every second row is masked when `filtered`.
void BM_Search(benchmark::State& state) {
  const auto rows = static_cast<size_t>(state.range(0));
  const Catalogue c(rows);
  const std::vector<uint64_t> masked((rows + 63) / 64, 0xAAAAAAAAAAAAAAAAu);
  RowFilter filter;
  filter.Reset(static_cast<uint32_t>(rows), masked);
  const ExactRetriever retriever(c.items);
  const RetrievalQuery query{.vector = c.query,
                             .k = static_cast<size_t>(state.range(1)),
                             .filter = state.range(2) != 0 ? &filter : nullptr};
  RetrievalScratch scratch;
  std::vector<ScoredRow> results;
  for (auto _ : state) {
    retriever.Search(query, scratch, results);
    benchmark::DoNotOptimize(results.data());
  }
  Report(state, rows);
}
BENCHMARK(BM_Search)
    ->ArgNames({"rows", "k", "filtered"})
    ->Args({10'000, 10, 0})
    ->Args({10'000, 10, 1})
    ->Args({100'000, 10, 0})
    ->Args({100'000, 10, 1})
    ->Args({100'000, 1000, 0})
    ->Args({1'000'000, 10, 0})
    ->Args({1'000'000, 1000, 1})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace swiftlet

int main(int argc, char** argv) {
  benchmark::AddCustomContext("cpu_target", swiftlet::ActiveCpuTarget());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
