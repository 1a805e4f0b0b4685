// The sums of item neighbours: a history of 50 events, 200 neighbours each, over catalogues of different
// sizes. The floor adds the same weights to the same places of a plain array, and reads no stamps and keeps
// no list of what it touched.
#include "engine/retrieval/neighbour_rows.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <vector>

#include "engine/kernels/cpu_target.h"

namespace swiftlet {
namespace {

constexpr size_t kEvents = 50, kNeighbours = 200;

struct Model {
  explicit Model(uint32_t num_items) : sums(num_items) {
    std::mt19937 random(3);
    offsets.push_back(0);
    for (uint32_t i = 0; i < num_items; ++i) {
      std::vector<uint32_t> own;
      for (size_t k = 0; k < std::min<size_t>(kNeighbours, num_items / 2); ++k) {
        own.push_back(static_cast<uint32_t>(random() % num_items));
      }
      std::sort(own.begin(), own.end());
      own.erase(std::unique(own.begin(), own.end()), own.end());
      rows.insert(rows.end(), own.begin(), own.end());
      for (size_t k = 0; k < own.size(); ++k)
        weights.push_back(static_cast<float>(random() % 1000) / 1000.0f);
      offsets.push_back(rows.size());
    }
    for (size_t e = 0; e < kEvents; ++e) events.push_back(static_cast<uint32_t>(random() % num_items));
    view = {.offsets = offsets, .rows = rows, .weights = weights, .position_weights = ones};
  }
  std::vector<uint64_t> offsets;
  std::vector<uint32_t> rows, events;
  std::vector<float> weights, ones = {1.0f}, sums;
  NeighbourRows view;
};

void SetRate(benchmark::State& state, const Model& model) {
  size_t entries = 0;
  for (const uint32_t event : model.events) entries += model.view.RowsOf(event).size();
  state.counters["entries/s"] =
      benchmark::Counter(static_cast<double>(entries * state.iterations()), benchmark::Counter::kIsRate);
}

void BM_NeighbourSums(benchmark::State& state) {
  const auto num_items = static_cast<uint32_t>(state.range(0));
  const Model model(num_items);
  NeighbourSums sums;
  for (auto _ : state) {
    sums.Reset(num_items);
    for (const uint32_t event : model.events) sums.Add(model.view, event, 0.5f);
    benchmark::DoNotOptimize(sums.rows().data());
  }
  SetRate(state, model);
}
BENCHMARK(BM_NeighbourSums)
    ->ArgName("items")
    ->Arg(1'000)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Unit(benchmark::kMicrosecond);

void BM_PlainSumsFloor(benchmark::State& state) {
  Model model(static_cast<uint32_t>(state.range(0)));
  for (auto _ : state) {
    for (const uint32_t event : model.events) {
      const std::span<const uint32_t> rows = model.view.RowsOf(event);
      const std::span<const float> weights = model.view.WeightsOf(event);
      for (size_t k = 0; k < rows.size(); ++k) model.sums[rows[k]] += 0.5f * weights[k];
    }
    benchmark::DoNotOptimize(model.sums.data());
    benchmark::ClobberMemory();
  }
  SetRate(state, model);
}
BENCHMARK(BM_PlainSumsFloor)
    ->ArgName("items")
    ->Arg(1'000)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace swiftlet

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("CPU target", swiftlet::ActiveCpuTarget());
  benchmark::RunSpecifiedBenchmarks();
}
