#include "engine/encoders/transformer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/testing/count_allocations.h"

namespace swiftlet {
namespace {

using Doubles = std::vector<double>;

// The same layers, row by row in doubles and in the order of the formulas.
class Reference {
 public:
  explicit Reference(const TransformerParameters& p) : p_(p) {}

  // x: oldest first. Returns the newest row after the last block.
  Doubles Run(std::vector<Doubles> x) const {
    for (const TransformerBlock& block : p_.blocks) x = Block(block, x);
    return x.back();
  }

 private:
  static Doubles Layer(const Doubles& x, std::span<const float> weight, std::span<const float> bias,
                       size_t out) {
    Doubles y(out, 0.0);
    for (size_t j = 0; j < out; ++j) {
      if (!bias.empty()) y[j] = double{bias[j]};
      for (size_t k = 0; k < x.size(); ++k) y[j] += x[k] * double{weight[k * out + j]};
    }
    return y;
  }
  static Doubles Norm(const Doubles& x, std::span<const float> weight, std::span<const float> bias) {
    double mean = 0, variance = 0;
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) variance += (v - mean) * (v - mean) / static_cast<double>(x.size());
    Doubles y(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      y[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * double{weight[i]} + double{bias[i]};
    }
    return y;
  }
  static double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
  static Doubles Gated(const Doubles& x, std::span<const float> weight, std::span<const float> bias,
                       const Doubles& added) {
    const Doubles gate = Layer(x, weight, bias, x.size());
    Doubles y = x;
    for (size_t i = 0; i < x.size(); ++i) y[i] += Sigmoid(gate[i]) * added[i];
    return y;
  }

  std::vector<Doubles> Block(const TransformerBlock& b, const std::vector<Doubles>& x) const {
    const size_t dim = p_.dim, head_dim = dim / p_.heads;
    std::vector<Doubles> qkv, y;
    for (const Doubles& row : x) {
      qkv.push_back(Layer(Norm(row, b.norm1_weight, b.norm1_bias), b.qkv_weight, b.qkv_bias, 3 * dim));
    }
    for (size_t t = 0; t < x.size(); ++t) {
      Doubles attended(dim, 0.0);
      for (size_t h = 0; h < p_.heads; ++h) {
        Doubles shares;
        double total = 0;
        for (size_t j = 0; j <= t; ++j) {
          double dot = 0;
          for (size_t i = h * head_dim; i < (h + 1) * head_dim; ++i) dot += qkv[t][i] * qkv[j][dim + i];
          shares.push_back(std::exp(dot / std::sqrt(static_cast<double>(head_dim))));
          total += shares.back();
        }
        for (size_t j = 0; j <= t; ++j) {
          for (size_t i = h * head_dim; i < (h + 1) * head_dim; ++i)
            attended[i] += shares[j] / total * qkv[j][2 * dim + i];
        }
      }
      const Doubles row =
          Gated(x[t], b.gate1_weight, b.gate1_bias, Layer(attended, b.attended_weight, b.attended_bias, dim));
      const Doubles up = Layer(Norm(row, b.norm2_weight, b.norm2_bias), b.up_weight, {}, 2 * p_.hidden);
      Doubles fed(p_.hidden);
      for (size_t j = 0; j < fed.size(); ++j) fed[j] = up[j] * Sigmoid(up[j]) * up[p_.hidden + j];
      y.push_back(Gated(row, b.gate2_weight, b.gate2_bias, Layer(fed, b.down_weight, {}, dim)));
    }
    return y;
  }

  const TransformerParameters& p_;
};

class TransformerEncoderTest : public ::testing::Test {
 protected:
  // Random parameters of these sizes; two classes, the second of which counts against.
  TransformerParameters Make(uint32_t dim, uint32_t heads, uint32_t hidden, size_t blocks, size_t max_length,
                             bool with_classes) {
    TransformerParameters p;
    p.dim = dim;
    p.heads = heads;
    p.hidden = hidden;
    p.positions = Floats(max_length * dim);
    if (with_classes) p.class_vectors = Floats(2 * dim);
    p.class_signs = signs_of_classes_;
    p.class_used = used_;
    p.max_events = static_cast<uint32_t>(max_length);
    for (size_t b = 0; b < blocks; ++b) {
      p.blocks.push_back({.norm1_weight = Floats(dim),
                          .norm1_bias = Floats(dim),
                          .qkv_weight = Floats(dim * 3 * dim),
                          .qkv_bias = Floats(3 * dim),
                          .attended_weight = Floats(dim * dim),
                          .attended_bias = Floats(dim),
                          .gate1_weight = Floats(dim * dim),
                          .gate1_bias = Floats(dim),
                          .norm2_weight = Floats(dim),
                          .norm2_bias = Floats(dim),
                          .up_weight = Floats(dim * 2 * hidden),
                          .down_weight = Floats(hidden * dim),
                          .gate2_weight = Floats(dim * dim),
                          .gate2_bias = Floats(dim)});
    }
    return p;
  }
  std::span<const float> Floats(size_t n) {
    std::normal_distribution<float> normal(0.0f, 0.3f);
    std::vector<float>& values = storage_.emplace_back(n);
    for (float& x : values) x = normal(random_);
    return values;
  }
  // Events newest first.
  std::vector<EncoderSlot> Events(size_t n, size_t dim) {
    std::vector<EncoderSlot> slots;
    for (size_t j = 0; j < n; ++j) {
      slots.push_back({.kind = SlotKind::kEvent,
                       .event_class = static_cast<uint32_t>(random_() % 2),
                       .position = static_cast<uint32_t>(j),
                       .vector = Floats(dim).data()});
    }
    return slots;
  }
  std::vector<float> Encode(const TransformerParameters& p, const std::vector<EncoderSlot>& slots) {
    std::vector<float> vector(p.dim, 99.0f);
    weights_.assign(slots.size(), 99.0f);
    signs_.assign(slots.size(), 99.0f);
    TransformerEncoder(p).Encode(slots, scratch_, vector, weights_, signs_);
    return vector;
  }
  // What the slots become in the reference: those of `order`, newest first, as of these classes.
  static std::vector<Doubles> Rows(const TransformerParameters& p, const std::vector<EncoderSlot>& order,
                                   const std::vector<uint32_t>& classes) {
    std::vector<Doubles> rows(order.size());
    for (size_t j = 0; j < order.size(); ++j) {
      Doubles& row = rows[order.size() - 1 - j];
      for (size_t i = 0; i < p.dim; ++i) {
        row.push_back(double{order[j].vector[i]} + double{p.positions[j * p.dim + i]} +
                      (p.class_vectors.empty() ? 0.0 : double{p.class_vectors[classes[j] * p.dim + i]}));
      }
    }
    return rows;
  }
  static void ExpectNear(const std::vector<float>& got, const Doubles& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], want[i], 1e-4 * (1 + std::fabs(want[i]))) << i;
  }

  std::mt19937 random_{7};
  std::vector<std::vector<float>> storage_;
  std::vector<float> signs_of_classes_ = {1.0f, -1.0f}, used_ = {1.0f, 1.0f};
  std::vector<float> weights_, signs_;
  EncoderScratch scratch_;
};

TEST_F(TransformerEncoderTest, IsWhatTheFormulasSayInDoubles) {
  struct Case {
    uint32_t dim, heads, hidden;
    size_t blocks, length;
    bool classes;
  };
  for (const Case& c : {Case{8, 1, 16, 1, 5, false}, Case{8, 2, 16, 2, 7, true}, Case{10, 5, 7, 3, 30, true},
                        Case{64, 1, 256, 2, 61, false}, Case{1, 1, 1, 1, 1, true},
                        Case{33, 3, 40, 0, 4, true}, Case{48, 4, 96, 2, 49, true}}) {
    const TransformerParameters p = Make(c.dim, c.heads, c.hidden, c.blocks, c.length, c.classes);
    for (const size_t n : {size_t{1}, (c.length + 1) / 2, c.length}) {
      const std::vector<EncoderSlot> slots = Events(n, c.dim);
      std::vector<uint32_t> classes;
      for (const EncoderSlot& slot : slots) classes.push_back(slot.event_class);
      SCOPED_TRACE(::testing::Message() << "dim " << c.dim << " blocks " << c.blocks << " events " << n);
      ExpectNear(Encode(p, slots), Reference(p).Run(Rows(p, slots, classes)));
      for (size_t j = 0; j < n; ++j) {
        EXPECT_EQ(weights_[j], 0.0f);
        EXPECT_EQ(signs_[j], slots[j].event_class == 0 ? 1.0f : -1.0f);
      }
    }
  }
}

TEST_F(TransformerEncoderTest, ContextItemsAreNewerThanEventsAndOfTheirClass) {
  TransformerParameters p = Make(12, 2, 24, 2, 9, true);
  p.context_class = 1;
  std::vector<EncoderSlot> slots = Events(3, 12);
  slots.push_back({.kind = SlotKind::kLongTerm, .vector = Floats(12).data()});
  slots.push_back({.kind = SlotKind::kContext, .vector = Floats(12).data()});
  slots.push_back({.kind = SlotKind::kContext, .vector = Floats(12).data()});
  const std::vector<EncoderSlot> order = {slots[4], slots[5], slots[0], slots[1], slots[2]};
  ExpectNear(Encode(p, slots),
             Reference(p).Run(
                 Rows(p, order, {1, 1, slots[0].event_class, slots[1].event_class, slots[2].event_class})));
}

TEST_F(TransformerEncoderTest, OfMoreSlotsThanPositionsTheNewestCount) {
  const TransformerParameters p = Make(16, 1, 8, 2, 4, false);
  const std::vector<EncoderSlot> slots = Events(9, 16);
  EXPECT_EQ(Encode(p, slots), Encode(p, {slots.begin(), slots.begin() + 4}));
}

TEST_F(TransformerEncoderTest, EventsOfUnusedClassesAreSkipped) {
  TransformerParameters p = Make(16, 1, 8, 2, 4, true);
  used_ = {1.0f, 0.0f};
  std::vector<EncoderSlot> slots = Events(6, 16);
  std::vector<EncoderSlot> used;
  for (size_t j = 0; j < slots.size(); ++j) {
    slots[j].event_class = j % 3 == 0 ? 1 : 0;
    if (slots[j].event_class == 0) used.push_back(slots[j]);
  }
  EXPECT_EQ(Encode(p, slots), Encode(p, used));
  for (EncoderSlot& slot : slots) slot.event_class = 1;
  EXPECT_EQ(Encode(p, slots), std::vector<float>(16, 0.0f));
}

TEST_F(TransformerEncoderTest, ALongTermVectorAloneGivesZero) {
  const TransformerParameters p = Make(16, 1, 8, 1, 4, false);
  EXPECT_EQ(Encode(p, {{.kind = SlotKind::kLongTerm, .vector = Floats(16).data()}}),
            std::vector<float>(16, 0.0f));
}

TEST_F(TransformerEncoderTest, WhatIsNotFiniteBecomesZero) {
  TransformerParameters p = Make(16, 2, 8, 2, 4, false);
  std::vector<float> huge(16, std::numeric_limits<float>::max());
  EXPECT_EQ(Encode(p, {{.kind = SlotKind::kEvent, .vector = huge.data()},
                       {.kind = SlotKind::kEvent, .vector = huge.data()}}),
            std::vector<float>(16, 0.0f));
}

TEST_F(TransformerEncoderTest, AllocatesNothingOnceTheScratchHasGrown) {
  const TransformerEncoder encoder(Make(16, 2, 32, 2, 20, true));
  const std::vector<EncoderSlot> slots = Events(20, 16);
  std::vector<float> vector(16), weights(20), signs(20);
  encoder.Encode(slots, scratch_, vector, weights, signs);
  const size_t before = testing::NumAllocations();
  for (size_t n = 1; n <= slots.size(); ++n) {
    encoder.Encode(std::span(slots).first(n), scratch_, vector, std::span(weights).first(n),
                   std::span(signs).first(n));
  }
  EXPECT_EQ(testing::NumAllocations(), before);
}

TEST_F(TransformerEncoderTest, HasNoTerms) {
  const TransformerParameters p = Make(16, 1, 8, 1, 4, false);
  const std::vector<EncoderSlot> slots = Events(2, 16);
  Encode(p, slots);
  std::vector<EncoderTerm> terms(2);
  EXPECT_FALSE(TransformerEncoder(p).Terms(slots, weights_, signs_, scratch_, terms));
}

}  // namespace
}  // namespace swiftlet
