#include "engine/encoders/stacked.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "engine/encoders/attention.h"

namespace swiftlet {
namespace {

// A user vector that is no sum over slots.
class SquaresEncoder final : public UserEncoder {
 public:
  uint32_t max_events() const override { return 9; }
  void Encode(std::span<const EncoderSlot> slots, EncoderScratch&, std::span<float> user_vector,
              std::span<float> weights, std::span<float> signs) const override {
    std::fill(weights.begin(), weights.end(), 0.0f);
    std::fill(signs.begin(), signs.end(), 1.0f);
    for (size_t i = 0; i < user_vector.size(); ++i) user_vector[i] = slots[0].vector[i] * slots[0].vector[i];
  }
  bool Terms(std::span<const EncoderSlot>, std::span<const float>, std::span<const float>, EncoderScratch&,
             std::span<EncoderTerm>) const override {
    return false;
  }
};

class StackedEncoderTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kDims[] = {3, 5};
  static constexpr uint32_t kDim = 8;

  StackedEncoderTest() {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (std::vector<float>& logits : position_logits_) {
      for (float& x : logits) x = normal(random);
    }
    vectors_.resize(6, std::vector<float>(kDim));
    for (uint32_t j = 0; j < vectors_.size(); ++j) {
      for (float& x : vectors_[j]) x = normal(random);
      slots_.push_back({.event_class = j % 2, .position = j, .vector = vectors_[j].data()});
    }
  }
  std::unique_ptr<const UserEncoder> Attention(int k) const {
    return std::make_unique<AttentionEncoder>(AttentionParameters{.class_logits = class_logits_,
                                                                  .class_signs = class_signs_,
                                                                  .position_logits = position_logits_[k],
                                                                  .recency_logits = recency_logits_,
                                                                  .max_events = 9});
  }
  StackedEncoder Two(float first, float second) const {
    std::vector<StackedEncoder::Part> parts;
    parts.push_back({Attention(0), kDims[0], first});
    parts.push_back({Attention(1), kDims[1], second});
    return StackedEncoder(std::move(parts), 9);
  }

  std::vector<float> class_logits_ = {0.5f, -0.5f}, class_signs_ = {1.0f, -1.0f};
  std::vector<float> position_logits_[2] = {std::vector<float>(6), std::vector<float>(6)};
  std::vector<float> recency_logits_ = std::vector<float>(kNumRecencyBuckets);
  std::vector<std::vector<float>> vectors_;
  std::vector<EncoderSlot> slots_;
  EncoderScratch scratch_;
  std::vector<float> user_ = std::vector<float>(kDim), weights_ = std::vector<float>(6),
                     signs_ = std::vector<float>(6);
};

TEST_F(StackedEncoderTest, EveryPartEncodesItsOwnColumns) {
  const float part_weights[] = {0.5f, -2.0f};
  Two(part_weights[0], part_weights[1]).Encode(slots_, scratch_, user_, weights_, signs_);
  std::vector<float> own_weights[2];
  uint32_t offset = 0;
  for (int k = 0; k < 2; ++k) {
    std::vector<EncoderSlot> own = slots_;
    for (EncoderSlot& slot : own) slot.vector += offset;
    std::vector<float> user(kDims[k]), signs(6);
    own_weights[k].resize(6);
    EncoderScratch scratch;
    Attention(k)->Encode(own, scratch, user, own_weights[k], signs);
    for (uint32_t i = 0; i < kDims[k]; ++i) EXPECT_FLOAT_EQ(user_[offset + i], part_weights[k] * user[i]);
    offset += kDims[k];
  }
  for (size_t j = 0; j < slots_.size(); ++j) {
    EXPECT_NEAR(weights_[j], (0.5 * own_weights[0][j] + 2.0 * own_weights[1][j]) / 2.5, 1e-6);
    EXPECT_EQ(signs_[j], class_signs_[j % 2]);
  }
}

TEST_F(StackedEncoderTest, TermsAddUpToTheUserVector) {
  const StackedEncoder encoder = Two(0.5f, -2.0f);
  encoder.Encode(slots_, scratch_, user_, weights_, signs_);
  std::vector<EncoderTerm> terms(slots_.size());
  ASSERT_TRUE(encoder.Terms(slots_, weights_, signs_, scratch_, terms));
  for (uint32_t i = 0; i < kDim; ++i) {
    double sum = 0;
    for (const EncoderTerm& term : terms) sum += double{term.factor} * double{term.vector[i]};
    EXPECT_NEAR(sum, user_[i], 1e-5) << i;
  }
}

TEST_F(StackedEncoderTest, IsNoSumWhereOnePartIsNone) {
  std::vector<StackedEncoder::Part> parts;
  parts.push_back({Attention(0), kDims[0], 1.0f});
  parts.push_back({std::make_unique<SquaresEncoder>(), kDims[1], 3.0f});
  const StackedEncoder encoder(std::move(parts), 9);
  encoder.Encode(slots_, scratch_, user_, weights_, signs_);
  for (uint32_t i = 0; i < kDims[1]; ++i) {
    const float x = vectors_[0][kDims[0] + i];
    EXPECT_FLOAT_EQ(user_[kDims[0] + i], 3.0f * x * x);
  }
  std::vector<EncoderTerm> terms(slots_.size());
  EXPECT_FALSE(encoder.Terms(slots_, weights_, signs_, scratch_, terms));
}

TEST_F(StackedEncoderTest, WeightsOfZeroGiveTheZeroVector) {
  Two(0, 0).Encode(slots_, scratch_, user_, weights_, signs_);
  EXPECT_EQ(user_, std::vector<float>(kDim));
  for (const float weight : weights_) EXPECT_EQ(weight, 0.0f);
}

}  // namespace
}  // namespace swiftlet
