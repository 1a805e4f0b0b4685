#include "engine/trainer/torch/sampled_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace swiftlet {
namespace {

constexpr size_t kItems = 30, kDim = 5;

class SampledLossTest : public ::testing::Test {
 protected:
  SampledLossTest() {
    std::normal_distribution<float> normal(0.0f, 0.7f);
    for (float& x : vectors_) x = normal(random_);
    for (float& x : table_) x = normal(random_);
    for (size_t row = 0; row < kRows; ++row) {
      targets_.push_back(row % 7 == 3 ? kNoTarget : static_cast<uint32_t>(random_() % kItems));
      if (targets_.back() != kNoTarget) known_.push_back(targets_.back());
    }
  }
  // Sum of the losses; gradients into d_vectors_ and d_table_.
  double Loss(const LossOptions& options, float scale = 1) {
    const NegativeSampler sampler(kItems, known_, options);
    d_vectors_.assign(vectors_.size(), 9.0f);
    d_table_.assign(table_.size(), 0.0f);
    touched_.assign(kItems, 0);
    return SampledLoss(options, sampler, vectors_.data(), targets_, table_.data(), kItems, kDim, 77, scale,
                       d_vectors_.data(), d_table_.data(), touched_.data(), &scratch_);
  }
  void ExpectGradientsAreThoseOfTheLoss(const LossOptions& options) {
    Loss(options, 0.5f);
    const std::vector<float> d_vectors = d_vectors_, d_table = d_table_;
    const auto check = [&](std::vector<float>* values, const std::vector<float>& gradient, size_t i) {
      constexpr float kStep = 1e-2f;
      const float before = (*values)[i];
      (*values)[i] = before + kStep;
      const double up = Loss(options);
      (*values)[i] = before - kStep;
      const double down = Loss(options);
      (*values)[i] = before;
      EXPECT_NEAR(gradient[i], 0.5 * (up - down) / (2 * double{kStep}), 3e-3) << i;
    };
    for (size_t i = 0; i < 4 * kDim; ++i) check(&vectors_, d_vectors, i);
    for (size_t i = 0; i < table_.size(); i += 7) check(&table_, d_table, i);
  }

  static constexpr size_t kRows = 150;  // more than one group
  std::mt19937 random_{3};
  std::vector<float> vectors_ = std::vector<float>(kRows * kDim), table_ = std::vector<float>(kItems * kDim);
  std::vector<uint32_t> targets_, known_;
  std::vector<float> d_vectors_, d_table_;
  std::vector<uint8_t> touched_;
  LossScratch scratch_;
};

TEST_F(SampledLossTest, GradientsAreThoseOfTheLoss) {
  ExpectGradientsAreThoseOfTheLoss({.num_negatives = 12});
  ExpectGradientsAreThoseOfTheLoss({.num_negatives = 12, .popular_share = 0.5, .correction = 1});
  ExpectGradientsAreThoseOfTheLoss({.kind = LossKind::kGbce, .num_negatives = 12});
}

TEST_F(SampledLossTest, ARowWithoutATargetHasNoPart) {
  Loss({.num_negatives = 12});
  for (size_t row = 0; row < kRows; ++row) {
    if (targets_[row] != kNoTarget) continue;
    for (size_t i = 0; i < kDim; ++i) EXPECT_EQ(d_vectors_[row * kDim + i], 0.0f);
  }
  EXPECT_EQ(touched_, std::vector<uint8_t>(kItems, 1));
}

// Over all items and corrected for how they are drawn, a large sample is the softmax over the catalogue.
TEST_F(SampledLossTest, CorrectedSamplesEstimateTheSoftmaxOverAllItems) {
  double want = 0;
  size_t count = 0;
  for (size_t row = 0; row < kRows; ++row) {
    if (targets_[row] == kNoTarget) continue;
    double total = 0, own = 0;
    for (size_t i = 0; i < kItems; ++i) {
      double score = 0;
      for (size_t k = 0; k < kDim; ++k)
        score += double{vectors_[row * kDim + k]} * double{table_[i * kDim + k]};
      total += std::exp(score);
      if (i == targets_[row]) own = score;
    }
    want += std::log(total) - own;
    ++count;
  }
  for (const double share : {0.0, 0.5}) {
    const double found = Loss({.num_negatives = 20000, .popular_share = share, .correction = 1});
    EXPECT_NEAR(found / static_cast<double>(count), want / static_cast<double>(count), 0.02) << share;
  }
  // Without the correction, the sum over the sample is larger by the size of the sample.
  EXPECT_GT(Loss({.num_negatives = 20000}), want + 3.0 * static_cast<double>(count));
}

TEST_F(SampledLossTest, PopularNegativesAreDrawnAsOftenAsTheyAreTargets) {
  const std::vector<uint32_t> targets = {4, 4, 4, 9};
  const LossOptions options{.num_negatives = 4000, .popular_share = 0.5};
  const NegativeSampler sampler(kItems, targets, options);
  std::vector<uint32_t> items(4000);
  std::vector<float> shifts(4000);
  sampler.Draw(5, items, shifts);
  std::vector<double> shares(kItems, 0.0);
  for (const uint32_t item : items) shares[item] += 1.0 / 4000;
  EXPECT_NEAR(shares[4], 0.375 + 0.5 / kItems, 0.03);
  EXPECT_NEAR(shares[9], 0.125 + 0.5 / kItems, 0.03);
  EXPECT_NEAR(shares[0], 0.5 / kItems, 0.015);
  std::vector<uint32_t> again(4000);
  sampler.Draw(5, again, shifts);
  EXPECT_EQ(again, items);
  sampler.Draw(6, again, shifts);
  EXPECT_NE(again, items);
}

}  // namespace
}  // namespace swiftlet
