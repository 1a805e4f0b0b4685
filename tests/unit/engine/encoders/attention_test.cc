#include "engine/encoders/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace swiftlet {
namespace {

constexpr int64_t kMinute = 60'000;

TEST(RecencyBucket, EdgesAreWhereTheDefinitionPutsThem) {
  EXPECT_EQ(RecencyBucket(0), 0u);
  EXPECT_EQ(RecencyBucket(-5), 0u);
  EXPECT_EQ(RecencyBucket(kMinute - 1), 0u);
  EXPECT_EQ(RecencyBucket(kMinute), 1u);
  EXPECT_EQ(RecencyBucket(2 * kMinute - 1), 1u);
  for (uint32_t b = 1; b + 1 < kNumRecencyBuckets; ++b) {
    const int64_t begin = kMinute << (b - 1);
    EXPECT_EQ(RecencyBucket(begin), b);
    EXPECT_EQ(RecencyBucket(begin - 1), b - 1);
  }
  EXPECT_EQ(RecencyBucket(kMinute << 30), kNumRecencyBuckets - 1);
  EXPECT_EQ(RecencyBucket(std::numeric_limits<int64_t>::max()), kNumRecencyBuckets - 1);
}

class AttentionEncoderTest : public ::testing::Test {
 protected:
  AttentionParameters Parameters() const {
    return {.class_logits = class_logits_,
            .class_signs = class_signs_,
            .position_logits = position_logits_,
            .recency_logits = recency_logits_,
            .long_term_logit = long_term_logit_,
            .context_logit = context_logit_,
            .max_events = max_events_};
  }
  void Encode(const std::vector<EncoderSlot>& slots, size_t dim) {
    user_vector_.assign(dim, 99.0f);
    weights_.assign(slots.size(), 99.0f);
    signs_.assign(slots.size(), 99.0f);
    const AttentionEncoder encoder(Parameters());
    encoder.Encode(slots, scratch_, user_vector_, weights_, signs_);
    // Its terms add up to it, for whatever slots a test gives.
    std::vector<EncoderTerm> terms(slots.size());
    ASSERT_TRUE(encoder.Terms(slots, weights_, signs_, scratch_, terms));
    for (size_t i = 0; i < dim; ++i) {
      double sum = 0;
      for (const EncoderTerm& term : terms) sum += double{term.factor} * double{term.vector[i]};
      EXPECT_NEAR(sum, user_vector_[i], 2e-5);
    }
  }

  uint32_t max_events_ = std::numeric_limits<uint32_t>::max();
  std::vector<float> class_logits_ = {0.5f, -1.0f, 2.0f};
  std::vector<float> class_signs_ = {1.0f, 1.0f, -1.0f};
  std::vector<float> position_logits_ = {1.0f, 0.5f, 0.25f};
  std::vector<float> recency_logits_ = std::vector<float>(kNumRecencyBuckets);
  float long_term_logit_ = 0.75f, context_logit_ = -0.25f;
  std::vector<float> user_vector_, weights_, signs_;
  EncoderScratch scratch_;
};

TEST_F(AttentionEncoderTest, ASingleSlotIsTheUserVector) {
  const std::vector<float> x = {1.0f, -2.0f, 3.0f};
  for (const SlotKind kind : {SlotKind::kEvent, SlotKind::kLongTerm, SlotKind::kContext}) {
    Encode({{.kind = kind, .item_logit = -123.0f, .vector = x.data()}}, 3);
    EXPECT_EQ(user_vector_, x);
    EXPECT_EQ(weights_[0], 1.0f);
    EXPECT_EQ(signs_[0], 1.0f);
  }
}

TEST_F(AttentionEncoderTest, AClassThatCountsAgainstPointsAway) {
  const std::vector<float> x = {1.0f, -2.0f, 3.0f};
  Encode({{.event_class = 2, .vector = x.data()}}, 3);
  EXPECT_EQ(user_vector_, (std::vector<float>{-1.0f, 2.0f, -3.0f}));
  EXPECT_EQ(weights_[0], 1.0f);
  EXPECT_EQ(signs_[0], -1.0f);
}

TEST_F(AttentionEncoderTest, EqualLogitsWeighTheSame) {
  const std::vector<float> x = {1.0f}, y = {4.0f};
  const EncoderSlot a{.event_class = 1, .position = 1, .age_ms = kMinute, .vector = x.data()};
  EncoderSlot b = a;
  b.vector = y.data();
  Encode({a, b}, 1);
  EXPECT_FLOAT_EQ(user_vector_[0], 2.5f);
}

TEST_F(AttentionEncoderTest, PositionsBehindTheTableUseItsLastEntry) {
  const std::vector<float> x = {1.0f};
  Encode({{.position = 2, .vector = x.data()},
          {.position = 3, .vector = x.data()},
          {.position = std::numeric_limits<uint32_t>::max() - 1, .vector = x.data()}},
         1);
  EXPECT_EQ(weights_[0], weights_[1]);
  EXPECT_EQ(weights_[0], weights_[2]);
}

TEST_F(AttentionEncoderTest, EventsBehindMaxEventsHaveNoWeight) {
  max_events_ = 2;
  const std::vector<float> x = {1.0f}, y = {3.0f};
  Encode({{.position = 0, .vector = x.data()},
          {.position = 1, .vector = x.data()},
          {.position = 2, .item_logit = 50, .vector = y.data()}},
         1);
  EXPECT_EQ(weights_[2], 0.0f);
  EXPECT_FLOAT_EQ(weights_[0] + weights_[1], 1.0f);
  EXPECT_FLOAT_EQ(user_vector_[0], 1.0f);
}

TEST_F(AttentionEncoderTest, ExtremeLogitsGiveAllAttentionToTheLargest) {
  const float max = std::numeric_limits<float>::max();
  class_logits_ = {max, -max, 0.0f};
  position_logits_ = {max};
  recency_logits_.assign(kNumRecencyBuckets, max);
  const std::vector<float> x = {1.0f, 2.0f}, y = {3.0f, 5.0f};
  Encode({{.event_class = 0, .item_logit = max, .vector = x.data()},
          {.kind = SlotKind::kLongTerm, .vector = y.data()}},
         2);
  EXPECT_EQ(user_vector_, x);
  EXPECT_EQ(weights_, (std::vector<float>{1.0f, 0.0f}));

  position_logits_ = {-max};
  recency_logits_.assign(kNumRecencyBuckets, -max);
  Encode({{.event_class = 1, .item_logit = -max, .vector = x.data()},
          {.kind = SlotKind::kLongTerm, .vector = y.data()}},
         2);
  EXPECT_EQ(user_vector_, y);
}

// The header's formula, in doubles.
TEST_F(AttentionEncoderTest, AgreesWithTheFormula) {
  std::mt19937 random(42);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 500; ++round) {
    for (float& x : class_logits_) x = normal(random);
    for (float& x : position_logits_) x = normal(random);
    for (float& x : recency_logits_) x = normal(random);
    long_term_logit_ = normal(random);
    context_logit_ = normal(random);
    const size_t dim = 1 + random() % 70;
    const size_t n = 1 + random() % 60;
    std::vector<std::vector<float>> vectors(n, std::vector<float>(dim));
    std::vector<EncoderSlot> slots(n);
    std::vector<double> logits(n), signs(n, 1.0);
    for (size_t j = 0; j < n; ++j) {
      for (float& x : vectors[j]) x = normal(random);
      EncoderSlot& slot = slots[j];
      slot.kind = static_cast<SlotKind>(random() % 3);
      slot.event_class = random() % 3;
      slot.position = random() % 6;
      slot.age_ms = static_cast<int64_t>(random() % 100'000'000);
      slot.item_logit = normal(random);
      slot.vector = vectors[j].data();
      if (slot.kind == SlotKind::kEvent) {
        logits[j] = double{class_logits_[slot.event_class]} + position_logits_[std::min(slot.position, 2u)] +
                    recency_logits_[RecencyBucket(slot.age_ms)] + slot.item_logit;
        signs[j] = class_signs_[slot.event_class];
      } else {
        logits[j] = slot.kind == SlotKind::kLongTerm ? long_term_logit_ : context_logit_;
      }
    }
    Encode(slots, dim);
    double total = 0;
    for (const double l : logits) total += std::exp(l);
    std::vector<double> want(dim);
    for (size_t j = 0; j < n; ++j) {
      const double weight = std::exp(logits[j]) / total;
      EXPECT_NEAR(weights_[j], weight, 1e-6) << "logits of magnitude 10, rounded to float";
      EXPECT_EQ(signs_[j], signs[j]);
      for (size_t i = 0; i < dim; ++i) want[i] += weight * signs[j] * vectors[j][i];
    }
    for (size_t i = 0; i < dim; ++i) EXPECT_NEAR(user_vector_[i], want[i], 2e-5);
    EXPECT_NEAR(std::accumulate(weights_.begin(), weights_.end(), 0.0), 1.0, 1e-5);
  }
}

}  // namespace
}  // namespace swiftlet
