#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/base/thread_pool.h"
#include "engine/kernels/dot.h"
#include "engine/retrieval/exact_retriever.h"
#include "tests/bench/engine/retrieval/random.h"
#include "tests/bench/engine/retrieval/workload.h"

namespace swiftlet::bench {
namespace {

constexpr size_t kNeighbours = 10;
constexpr double kHalf = 0.7071067811865476;  // 1 / sqrt 2

AlignedVector<float> InverseNorms(const AlignedVector<float>& items, size_t n, size_t dim) {
  AlignedVector<float> inverse(n);
  for (size_t i = 0; i < n; ++i) {
    const float square = Dot(&items[i * dim], &items[i * dim], dim);
    inverse[i] = square > 0 ? 1 / std::sqrt(square) : 0;
  }
  return inverse;
}

struct Moments {
  double mean = 0, deviation = 0;
};
Moments MomentsOf(std::span<const double> values) {
  Moments m;
  for (const double x : values) m.mean += x;
  m.mean /= static_cast<double>(values.size());
  for (const double x : values) m.deviation += (x - m.mean) * (x - m.mean);
  m.deviation = std::sqrt(m.deviation / static_cast<double>(values.size()));
  return m;
}

ItemMatrix MatrixOf(const Workload& w) {
  return {.vectors = w.items.data(), .num_items = w.num_items, .dim = w.dim, .stride = w.dim};
}

}  // namespace

void Expand(size_t num_items, uint64_t seed, Workload* w) {
  const size_t given = w->num_items, dim = w->dim;
  if (num_items <= given) return;
  const AlignedVector<float> inverse = InverseNorms(w->items, given, dim);
  std::vector<uint32_t> bases;  // items with a direction
  std::vector<double> log_norms(given), logs;
  for (size_t i = 0; i < given; ++i) {
    if (inverse[i] == 0) continue;
    bases.push_back(static_cast<uint32_t>(i));
    logs.push_back(log_norms[i] = -std::log(double{inverse[i]}));
  }
  if (bases.size() <= kNeighbours) return;
  const Moments wanted = MomentsOf(logs);

  ThreadPool pool(0);
  std::vector<uint32_t> neighbours(given * kNeighbours);
  const ExactRetriever retriever(MatrixOf(*w), inverse);
  pool.ParallelFor(bases.size(), 64, [&](size_t begin, size_t end, size_t) {
    RetrievalScratch scratch;
    std::vector<ScoredRow> found;
    for (size_t b = begin; b < end; ++b) {
      const size_t row = bases[b];
      retriever.Search(
          {.vector = {&w->items[row * dim], dim}, .k = kNeighbours + 1, .similarity = Similarity::kCosine},
          scratch, found);
      size_t n = 0;
      for (const ScoredRow& other : found) {
        if (other.row != row && n < kNeighbours) neighbours[row * kNeighbours + n++] = other.row;
      }
    }
  });

  // Who is drawn from whom, and the log norms that this gives.
  struct Draw {
    uint32_t base, plus, minus;
  };
  Random random(seed);
  std::vector<Draw> draws(num_items - given);
  std::vector<double> drawn(draws.size());
  for (size_t d = 0; d < draws.size(); ++d) {
    const uint32_t base = bases[random.Below(bases.size())];
    const size_t plus = random.Below(kNeighbours), step = 1 + random.Below(kNeighbours - 1);
    const uint32_t* const own = &neighbours[base * kNeighbours];
    draws[d] = {base, own[plus], own[(plus + step) % kNeighbours]};
    drawn[d] = log_norms[base] + kHalf * (log_norms[draws[d].plus] - log_norms[draws[d].minus]);
  }
  const Moments got = MomentsOf(drawn);
  const double stretch = got.deviation > 0 ? wanted.deviation / got.deviation : 0;

  w->items.resize(num_items * dim);
  w->bias.resize(num_items);
  w->num_items = num_items;
  pool.ParallelFor(draws.size(), 4096, [&](size_t begin, size_t end, size_t) {
    for (size_t d = begin; d < end; ++d) {
      const Draw& draw = draws[d];
      const auto add = [&](uint32_t row, double factor, float* x) {
        AddScaled(static_cast<float>(factor * double{inverse[row]}), &w->items[row * dim], dim, x);
      };
      float* const x = &w->items[(given + d) * dim];
      add(draw.base, 1, x);
      add(draw.plus, kHalf, x);
      add(draw.minus, -kHalf, x);
      const double norm = std::sqrt(double{Dot(x, x, dim)});
      const double target = std::exp(wanted.mean + stretch * (drawn[d] - got.mean));
      const auto factor = static_cast<float>(norm > 0 ? target / norm : 0);
      for (size_t j = 0; j < dim; ++j) x[j] *= factor;
      w->bias[given + d] = w->bias[draw.base];
    }
  });
}

WorkloadFacts FactsOf(const Workload& w) {
  constexpr size_t kSample = 100, kFar = 100;
  const AlignedVector<float> inverse = InverseNorms(w.items, w.num_items, w.dim);
  std::vector<double> logs;
  for (const float x : inverse) {
    if (x > 0) logs.push_back(-std::log(double{x}));
  }
  WorkloadFacts facts;
  if (logs.empty() || w.num_items <= kFar) return facts;
  facts.log_norm_deviation = MomentsOf(logs).deviation;
  const ExactRetriever retriever(MatrixOf(w), inverse);
  RetrievalScratch scratch;
  std::vector<ScoredRow> found;
  Random random(5);
  for (size_t s = 0; s < kSample; ++s) {
    const size_t row = random.Below(w.num_items);
    AlignedVector<float> unit(w.dim);
    AddScaled(inverse[row], &w.items[row * w.dim], w.dim, unit.data());
    retriever.Search({.vector = unit, .k = kFar + 1, .similarity = Similarity::kCosine}, scratch, found);
    // found[0] is the item itself, or its equal.
    facts.nearest_cosine += double{found[1].score} / kSample;
    facts.hundredth_cosine += double{found[kFar].score} / kSample;
  }
  return facts;
}

}  // namespace swiftlet::bench
