// Whole requests over one snapshot (dim 64, a history of 200 events, 50 of them slots), and catalogue
// changes.
#include "engine/recommender.h"

#include <benchmark/benchmark.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/kernels/cpu_target.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

constexpr uint32_t kDim = 64;

std::shared_ptr<const ModelSnapshot> Snapshot(uint32_t num_items, RowType row_type = RowType::kFloat32) {
  static auto* const snapshots =
      new std::map<std::pair<uint32_t, RowType>, std::shared_ptr<const ModelSnapshot>>();
  std::shared_ptr<const ModelSnapshot>& snapshot = (*snapshots)[{num_items, row_type}];
  if (snapshot == nullptr) {
    testing::TempDir dir;  // the files stay mapped after they are unlinked
    snapshot = testing::WriteAndLoad(
        dir.File("model"),
        testing::RandomSnapshot({.num_items = num_items, .dim = kDim, .row_type = row_type}));
  }
  return snapshot;
}

std::vector<CatalogItem> NewItems(int n) {
  std::mt19937 random(5);
  std::vector<CatalogItem> items;
  for (int i = 0; i < n; ++i) {
    CatalogItem item{.item_id = absl::StrCat("new-", i), .has_metadata = true, .space = "test-space"};
    for (uint32_t j = 0; j < kDim; ++j) item.vector.push_back(static_cast<float>(random() % 100) / 400);
    items.push_back(std::move(item));
  }
  return items;
}

struct Request {
  explicit Request(uint32_t num_items, RowType row_type = RowType::kFloat32)
      : snapshot(Snapshot(num_items, row_type)) {
    std::mt19937 random(6);
    for (int i = 0; i < 200; ++i) {
      history.push_back({.item_key = ItemKeyOf(absl::StrCat("item-", random() % num_items)),
                         .timestamp_ms = i * int64_t{3'600'000},
                         .value = 4,
                         .type = static_cast<EventTypeId>(1 + random() % 12)});
    }
  }
  UserState user() const { return {.history = history, .long_term = long_term}; }

  std::shared_ptr<const ModelSnapshot> snapshot;
  std::vector<HistoryEvent> history;
  std::vector<float> long_term = std::vector<float>(kDim, 0.1f);
  Scratch scratch;
  Recommendation result;
};

void BM_Recommend(benchmark::State& state) {
  Request r(static_cast<uint32_t>(state.range(0)), state.range(3) != 0 ? RowType::kBf16 : RowType::kFloat32);
  const auto view = CatalogView::Build(*r.snapshot, NewItems(static_cast<int>(state.range(1))));
  const RecommendQuery query{.k = 10, .explain = state.range(2) != 0};
  for (auto _ : state) {
    (void)Recommend(*r.snapshot, *view, query, r.user(), r.scratch, &r.result);
    benchmark::DoNotOptimize(r.result.items.data());
  }
  state.SetLabel(ActiveCpuTarget());
}
BENCHMARK(BM_Recommend)
    ->ArgNames({"items", "added", "explain", "bf16"})
    ->Args({1000, 0, 0, 0})
    ->Args({1000, 0, 0, 1})
    ->Args({1000, 0, 1, 0})
    ->Args({1000, 0, 1, 1})
    ->Args({10'000, 0, 0, 0})
    ->Args({10'000, 1000, 0, 0})
    ->Args({100'000, 0, 0, 0})
    ->Args({100'000, 0, 0, 1})
    ->Unit(benchmark::kMicrosecond);

void BM_RecommendPopular(benchmark::State& state) {
  Request r(10'000);
  const auto view = CatalogView::Build(*r.snapshot, {});
  for (auto _ : state) {
    (void)Recommend(*r.snapshot, *view, {.k = 10}, {}, r.scratch, &r.result);
    benchmark::DoNotOptimize(r.result.items.data());
  }
}
BENCHMARK(BM_RecommendPopular)->Unit(benchmark::kMicrosecond);

void BM_ScoreItems(benchmark::State& state) {
  Request r(100'000);
  const auto view = CatalogView::Build(*r.snapshot, {});
  std::mt19937 random(7);
  std::vector<uint32_t> rows(500);
  for (uint32_t& row : rows) row = static_cast<uint32_t>(random() % 100'000);
  for (auto _ : state) {
    (void)ScoreItems(*r.snapshot, *view, {}, r.user(), rows, r.scratch, &r.result);
    benchmark::DoNotOptimize(r.result.items.data());
  }
}
BENCHMARK(BM_ScoreItems)->Unit(benchmark::kMicrosecond);

void BM_SimilarItems(benchmark::State& state) {
  Request r(10'000);
  const auto view = CatalogView::Build(*r.snapshot, {});
  for (auto _ : state) {
    (void)SimilarItems(*r.snapshot, *view, {.k = 10}, 17, r.scratch, &r.result);
    benchmark::DoNotOptimize(r.result.items.data());
  }
}
BENCHMARK(BM_SimilarItems)->Unit(benchmark::kMicrosecond);

// One upsert on top of an overlay of `added` items.
void BM_CatalogChange(benchmark::State& state) {
  const auto snapshot = Snapshot(100'000);
  std::vector<CatalogItem> items = NewItems(static_cast<int>(state.range(0)) + 1);
  const CatalogItem last = items.back();
  items.pop_back();
  const auto view = CatalogView::Build(*snapshot, items);
  for (auto _ : state) {
    const auto next = view->With({&last, 1});
    benchmark::DoNotOptimize(next.get());
  }
}
BENCHMARK(BM_CatalogChange)->ArgName("added")->Arg(0)->Arg(1000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace swiftlet

int main(int argc, char** argv) {
  benchmark::AddCustomContext("cpu_target", swiftlet::ActiveCpuTarget());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
