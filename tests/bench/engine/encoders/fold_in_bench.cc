// User vectors that are solved for at request time: iALS fold-in (dim 64), the user of expected ratings (dim
// 15) and ratings predicted from it; by number of events. The floor is what every such solve has to do: the
// Gram matrix of the events' vectors or, where that is smaller, of their products, and its Cholesky factor.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/encoders/ials_fold_in.h"
#include "engine/encoders/rating_model.h"
#include "engine/kernels/cpu_target.h"
#include "engine/kernels/dot.h"
#include "engine/kernels/ridge.h"

namespace swiftlet {
namespace {

constexpr size_t kNumItems = 100'000;
constexpr uint32_t kDim = 64, kRatingDim = 15;

AlignedVector<float> RandomRows(size_t num_rows, size_t dim) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.3f);
  AlignedVector<float> rows(num_rows * RowStride(dim), 0.0f);
  for (size_t r = 0; r < num_rows; ++r) {
    for (size_t j = 0; j < dim; ++j) rows[r * RowStride(dim) + j] = normal(random);
  }
  return rows;
}

// Scattered, as a history's items are.
std::vector<uint32_t> RandomItems(size_t count) {
  std::mt19937 random(2);
  std::vector<uint32_t> items;
  while (items.size() < count) {
    const auto item = static_cast<uint32_t>(random() % kNumItems);
    if (std::find(items.begin(), items.end(), item) == items.end()) items.push_back(item);
  }
  return items;
}

void BM_IalsFoldIn(benchmark::State& state) {
  const auto events = static_cast<size_t>(state.range(0));
  const AlignedVector<float> items = RandomRows(kNumItems, kDim);
  const std::vector<float> gram(kDim, 5.0f), class_weights = {1.0f};
  const IalsFoldIn encoder({.gram = gram,
                            .class_weights = class_weights,
                            .lambda = 0.003,
                            .alpha0 = 0.03,
                            .nu = 1,
                            .num_items = kNumItems,
                            .max_events = 200});
  std::vector<EncoderSlot> slots(events);
  const std::vector<uint32_t> rows = RandomItems(events);
  for (size_t j = 0; j < events; ++j) {
    slots[j] = {
        .position = static_cast<uint32_t>(j), .vector = &items[rows[j] * RowStride(kDim)], .row = rows[j]};
  }
  EncoderScratch scratch;
  std::vector<float> vector(kDim), weights(events), signs(events);
  for (auto _ : state) {
    encoder.Encode(slots, scratch, vector, weights, signs);
    benchmark::DoNotOptimize(vector.data());
  }
}
BENCHMARK(BM_IalsFoldIn)
    ->ArgName("events")
    ->Arg(1)
    ->Arg(10)
    ->Arg(50)
    ->Arg(200)
    ->Unit(benchmark::kMicrosecond);

// The smaller of both systems for as many events of dim 64.
void BM_SolveFloor(benchmark::State& state) {
  const size_t events = static_cast<size_t>(state.range(0)), dim = static_cast<size_t>(state.range(1));
  // Of few events, the Gram matrix of their products has rows of `dim` floats, too: the roles are exchanged.
  const size_t size = std::min(events, dim), terms = std::max(events, dim), stride = RowStride(size);
  const AlignedVector<float> rows = RandomRows(terms, size);
  AlignedVector<float> gram(size * stride), x(stride);
  for (auto _ : state) {
    std::fill(gram.begin(), gram.end(), 0.0f);
    std::fill(x.begin(), x.end(), 1.0f);
    AddGram(rows.data(), terms, size, stride, gram.data());
    for (size_t j = 0; j < size; ++j) gram[j * stride + j] += 1;
    SolveCholesky(gram.data(), size, stride, x.data());
    benchmark::DoNotOptimize(x.data());
  }
}
BENCHMARK(BM_SolveFloor)
    ->ArgNames({"events", "dim"})
    ->ArgsProduct({{1, 10, 50, 200}, {kDim, kRatingDim + 1}})
    ->Unit(benchmark::kMicrosecond);

struct Ratings {
  Ratings() {
    tables.dim = kRatingDim;
    tables.mean = 3.5f;
    tables.min = 1;
    tables.max = 5;
    tables.items = items;
    tables.item_variances = variances;
    tables.implicit = implicit;
    tables.ridge = ridge;
    tables.counts = counts;
  }
  AlignedVector<float> items = RandomRows(kNumItems, kRatingDim + 1);
  AlignedVector<float> variances = AlignedVector<float>(kNumItems * RowStride(kRatingDim + 1), 0.0f);
  AlignedVector<float> implicit = RandomRows(kNumItems, kRatingDim + 1);
  AlignedVector<float> ridge = AlignedVector<float>(RowStride(kRatingDim + 1), 5.0f);
  std::vector<uint32_t> counts = std::vector<uint32_t>(kNumItems, 10);
  RatingTables tables;
};

// The user's part alone, then with 500 items predicted from it.
void BM_PredictRatings(benchmark::State& state) {
  const auto events = static_cast<size_t>(state.range(0)), wanted = static_cast<size_t>(state.range(1));
  static const auto* const ratings = new Ratings();
  const RatingModel model(ratings->tables);
  std::vector<RatedItem> rated;
  for (const uint32_t item : RandomItems(events)) rated.push_back({item, static_cast<float>(1 + item % 5)});
  const std::vector<uint32_t> items = RandomItems(wanted);
  RatingFoldInScratch scratch;
  std::vector<float> user(kRatingDim + 1), predicted(wanted);
  for (auto _ : state) {
    model.FoldIn(rated, scratch, user);
    for (size_t i = 0; i < wanted; ++i) predicted[i] = model.Predict(user, items[i]);
    benchmark::DoNotOptimize(user.data());
    benchmark::DoNotOptimize(predicted.data());
  }
}
BENCHMARK(BM_PredictRatings)
    ->ArgNames({"events", "items"})
    ->ArgsProduct({{1, 10, 50, 200}, {0, 500}})
    ->Unit(benchmark::kMicrosecond);

// The products of one user with as many scattered rows: what predictions cannot be made without.
void BM_DotsFloor(benchmark::State& state) {
  static const auto* const ratings = new Ratings();
  const size_t stride = RowStride(kRatingDim + 1);
  const std::vector<uint32_t> items = RandomItems(static_cast<size_t>(state.range(0)));
  AlignedVector<float> user(stride, 0.5f);
  std::vector<float> scores(items.size());
  for (auto _ : state) {
    for (size_t i = 0; i < items.size(); ++i)
      scores[i] = Dot(user.data(), &ratings->items[items[i] * stride], stride);
    benchmark::DoNotOptimize(scores.data());
  }
}
BENCHMARK(BM_DotsFloor)->ArgName("items")->Arg(500)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace swiftlet

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("CPU target", swiftlet::ActiveCpuTarget());
  benchmark::RunSpecifiedBenchmarks();
}
