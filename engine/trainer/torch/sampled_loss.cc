#include "engine/trainer/torch/sampled_loss.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/kernels/dot.h"
#include "engine/trainer/torch/blas.h"
#include "engine/trainer/torch/training_kernels.h"

namespace swiftlet {
namespace {

constexpr size_t kGroup = 128;  // rows that share negatives: scores and vectors of a group stay in cache

// SplitMix64 (Steele et al. 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  // In [0, n), n < 2^32.
  uint32_t Below(size_t n) { return static_cast<uint32_t>(((Next() >> 32) * n) >> 32); }

 private:
  uint64_t state_;
};

}  // namespace

NegativeSampler::NegativeSampler(size_t num_items, std::span<const uint32_t> targets,
                                 const LossOptions& options)
    : num_items_(num_items), targets_(targets), options_(options) {
  shifts_.assign(num_items, 0.0f);
  if (options.correction == 0) return;
  std::vector<size_t> counts(num_items, 0);
  for (const uint32_t item : targets) ++counts[item];
  const double share = targets.empty() ? 0 : options.popular_share;
  for (size_t i = 0; i < num_items; ++i) {
    const double popular =
        targets.empty() ? 0 : static_cast<double>(counts[i]) / static_cast<double>(targets.size());
    const double q = (1 - share) / static_cast<double>(num_items) + share * popular;
    const double drawn = static_cast<double>(options.num_negatives) * std::max(q, 1e-12);
    shifts_[i] = static_cast<float>(-options.correction * std::log(drawn));
  }
}

void NegativeSampler::Draw(uint64_t seed, std::span<uint32_t> items, std::span<float> shifts) const {
  Random random(seed);
  const size_t popular =
      targets_.empty()
          ? 0
          : static_cast<size_t>(std::lround(options_.popular_share * static_cast<double>(items.size())));
  for (size_t i = 0; i < items.size(); ++i) {
    items[i] = i < popular ? targets_[random.Below(targets_.size())] : random.Below(num_items_);
    shifts[i] = shifts_[items[i]];
  }
}

double SampledLoss(const LossOptions& options, const NegativeSampler& sampler, const float* vectors,
                   std::span<const uint32_t> targets, const float* table, size_t num_items, size_t dim,
                   uint64_t seed, float scale, float* d_vectors, float* d_table, uint8_t* touched,
                   LossScratch* s) {
  const size_t n = options.num_negatives;
  s->rows.clear();
  for (size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] != kNoTarget) {
      s->rows.push_back(static_cast<uint32_t>(row));
    } else {
      std::fill_n(d_vectors + row * dim, dim, 0.0f);
    }
  }
  s->negatives.resize(n);
  s->shifts.resize(n);
  s->negative_vectors.resize(n * dim);
  s->d_negatives.resize(n * dim);
  s->vectors.resize(kGroup * dim);
  s->d_vectors.resize(kGroup * dim);
  s->scores.resize(kGroup * n);
  const double alpha =
      num_items > 1 ? std::min(1.0, static_cast<double>(n) / static_cast<double>(num_items - 1)) : 1.0;
  const auto beta = static_cast<float>(alpha * (options.gbce_t * (1 - 1 / alpha) + 1 / alpha));
  double loss = 0;
  for (size_t begin = 0; begin < s->rows.size(); begin += kGroup) {
    const size_t count = std::min(kGroup, s->rows.size() - begin);
    sampler.Draw(seed + 0x9e3779b97f4a7c15ULL * (begin + 1), s->negatives, s->shifts);
    for (size_t j = 0; j < n; ++j) {
      std::memcpy(&s->negative_vectors[j * dim], table + size_t{s->negatives[j]} * dim, dim * sizeof(float));
    }
    for (size_t i = 0; i < count; ++i) {
      std::memcpy(&s->vectors[i * dim], vectors + size_t{s->rows[begin + i]} * dim, dim * sizeof(float));
    }
    Gemm(count, n, dim, 1, {s->vectors.data(), dim}, {s->negative_vectors.data(), dim, true}, 0,
         s->scores.data(), n);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t target = targets[s->rows[begin + i]];
      float* scores = &s->scores[i * n];
      for (size_t j = 0; j < n; ++j) {
        if (s->negatives[j] == target) scores[j] = -1e30f;
      }
      const float* h = &s->vectors[i * dim];
      const float* v = table + size_t{target} * dim;
      const float positive = Dot(h, v, dim);
      float d_positive = 0;
      if (options.kind == LossKind::kSoftmax) {
        const float z = SampledSoftmaxInPlace(positive, s->shifts.data(), n, scores);
        loss += double{z} - double{positive};
        d_positive = std::exp(positive - z) - 1;
      } else {
        loss += double{SigmoidInPlace(scores, n)};
        const float e = std::exp(-std::fabs(positive));
        loss += double{beta} * (double{std::max(-positive, 0.0f)} + std::log1p(double{e}));
        d_positive = -beta * (positive > 0 ? e / (1 + e) : 1 / (1 + e));
      }
      float* dh = d_vectors + size_t{s->rows[begin + i]} * dim;
      std::fill_n(dh, dim, 0.0f);
      AddScaled(d_positive * scale, v, dim, dh);
      AddScaled(d_positive * scale, h, dim, d_table + size_t{target} * dim);
      touched[target] = 1;
    }
    Gemm(count, dim, n, scale, {s->scores.data(), n}, {s->negative_vectors.data(), dim}, 0,
         s->d_vectors.data(), dim);
    for (size_t i = 0; i < count; ++i) {
      AddScaled(1, &s->d_vectors[i * dim], dim, d_vectors + size_t{s->rows[begin + i]} * dim);
    }
    Gemm(n, dim, count, scale, {s->scores.data(), n, true}, {s->vectors.data(), dim}, 0,
         s->d_negatives.data(), dim);
    for (size_t j = 0; j < n; ++j) {
      AddScaled(1, &s->d_negatives[j * dim], dim, d_table + size_t{s->negatives[j]} * dim);
      touched[s->negatives[j]] = 1;
    }
  }
  return loss;
}

}  // namespace swiftlet
