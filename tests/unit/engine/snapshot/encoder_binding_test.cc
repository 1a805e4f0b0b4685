#include "engine/snapshot/encoder_binding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/catalog_view.h"
#include "engine/encoders/attention.h"
#include "engine/recommender.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

EncoderTensor TensorOf(const std::vector<float>& values) { return {{values.size()}, values}; }

// The additive attention of `c` as an encoder of the manifest, over `dim` columns.
EncoderContents AttentionOf(const SnapshotContents& c, uint32_t dim, float weight) {
  return {.encoder = {.kind = "attention", .dim = dim, .weight = weight, .parameters = {}},
          .tensors = {{"class_logits", TensorOf(c.class_logits)},
                      {"position_logits", TensorOf(c.position_logits)},
                      {"recency_logits", TensorOf(c.recency_logits)},
                      {"slot_logits", TensorOf({c.long_term_logit, c.context_logit})}}};
}

// A transformer of one block over 8 columns, all of whose tensors are `value`.
EncoderContents TransformerOf(const SnapshotContents& c, float value) {
  const uint64_t dim = 8, hidden = 4, length = 5, classes = c.manifest.event_classes.size();
  EncoderContents encoder{
      .encoder = {.kind = "transformer",
                  .dim = 8,
                  .weight = 1,
                  .parameters =
                      {{"blocks", 1}, {"heads", 2}, {"hidden", 4}, {"max_length", 5}, {"context_class", 0}}},
      .tensors = {}};
  const std::pair<const char*, std::vector<uint64_t>> shapes[] = {{"position", {length, dim}},
                                                                  {"class", {classes, dim}},
                                                                  {"class_used", {classes}},
                                                                  {"0.norm1.weight", {dim}},
                                                                  {"0.norm1.bias", {dim}},
                                                                  {"0.qkv.weight", {dim, 3 * dim}},
                                                                  {"0.qkv.bias", {3 * dim}},
                                                                  {"0.attended.bias", {dim}},
                                                                  {"0.attended.weight", {dim, dim}},
                                                                  {"0.gate1.weight", {dim, dim}},
                                                                  {"0.gate1.bias", {dim}},
                                                                  {"0.norm2.weight", {dim}},
                                                                  {"0.norm2.bias", {dim}},
                                                                  {"0.up.weight", {dim, 2 * hidden}},
                                                                  {"0.down.weight", {hidden, dim}},
                                                                  {"0.gate2.weight", {dim, dim}},
                                                                  {"0.gate2.bias", {dim}}};
  for (const auto& [name, shape] : shapes) {
    size_t size = 1;
    for (const uint64_t n : shape) size *= n;
    encoder.tensors[name] = {shape, std::vector<float>(size, value)};
  }
  return encoder;
}

void UseEncoders(std::vector<EncoderContents> encoders, SnapshotContents* c) {
  c->encoders = std::move(encoders);
  c->manifest.model_kind.clear();
  c->class_logits.clear();
  c->position_logits.clear();
  c->recency_logits.clear();
}

std::vector<RecommendedItem> Answer(const ModelSnapshot& snapshot) {
  const std::vector<HistoryEvent> history = {{snapshot.Key(3), 1'000'000, 5.0f, 6},
                                             {snapshot.Key(5), 2'000'000, 1.0f, 1},
                                             {snapshot.Key(7), 9'000'000, 0.0f, 2}};
  Scratch scratch;
  Recommendation result;
  EXPECT_TRUE(Recommend(snapshot, *CatalogView::Build(snapshot, {}), {.k = 10, .explain = true},
                        {.history = history}, scratch, &result)
                  .ok());
  EXPECT_EQ(result.items.size(), 10u);
  for (const RecommendedItem& item : result.items) {
    double sum = 0, largest = 0;
    for (const Contribution& term : result.ExplanationOf(item)) {
      sum += term.score;
      largest = std::max(largest, std::fabs(double{term.score}));
    }
    EXPECT_NEAR(sum, item.score, 1e-4 * largest);
  }
  return result.items;
}

TEST(EncoderBindingTest, AnEncoderOfTheManifestAnswersLikeTheClassicForm) {
  testing::TempDir dir;
  SnapshotContents c = testing::RandomSnapshot({.num_items = 50, .dim = 8});
  const auto classic = testing::WriteAndLoad(dir.File("classic"), c);
  UseEncoders({AttentionOf(c, 8, 1)}, &c);
  const auto listed = testing::WriteAndLoad(dir.File("listed"), c);
  EXPECT_EQ(listed->manifest().model_kind, "attention");
  ASSERT_EQ(listed->manifest().encoders.size(), 1u);
  EXPECT_EQ(listed->manifest().encoders[0], c.encoders[0].encoder);
  const std::vector<RecommendedItem> want = Answer(*classic), found = Answer(*listed);
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(found[i].row, want[i].row);
    EXPECT_EQ(found[i].score, want[i].score);
  }
}

TEST(EncoderBindingTest, TwoEncodersAreOneWeightedSum) {
  testing::TempDir dir;
  SnapshotContents c = testing::RandomSnapshot({.num_items = 50, .dim = 8, .with_bias = false});
  // The same parameters over halves of the columns, with equal weights: the same ranking as over all of them.
  const auto classic = testing::WriteAndLoad(dir.File("classic"), c);
  UseEncoders({AttentionOf(c, 3, 2), AttentionOf(c, 5, 2)}, &c);
  const auto stacked = testing::WriteAndLoad(dir.File("stacked"), c);
  EXPECT_EQ(stacked->manifest().model_kind, "attention+attention");
  const std::vector<RecommendedItem> want = Answer(*classic), found = Answer(*stacked);
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(found[i].row, want[i].row);
    EXPECT_NEAR(found[i].score, 2 * want[i].score, 1e-5);
  }
}

TEST(EncoderBindingTest, WhatDoesNotFitIsRefusedByName) {
  using C = SnapshotContents;
  const struct {
    std::function<void(C&)> change;
    std::string reason;
  } cases[] = {
      {[](C& c) { c.encoders[0].encoder.kind = "gru"; },
       "encoder 0 (gru): this kind of encoder is not known"},
      {[](C& c) { c.encoders[0].tensors.erase("slot_logits"); }, "\"encoder.0.slot_logits\": missing"},
      {[](C& c) { c.encoders[0].tensors["class_logits"] = TensorOf({1}); },
       "\"encoder.0.class_logits\": expected"},
      {[](C& c) { c.encoders[0].tensors["position_logits"] = TensorOf({}); },
       "position_logits: expected at least 1"},
      {[](C& c) { c.encoders[0].tensors["position_logit"] = TensorOf({1}); },
       "\"encoder.0.position_logit\": not known"},
  };
  for (const auto& [change, reason] : cases) {
    testing::TempDir dir;
    SnapshotContents c = testing::RandomSnapshot({.num_items = 20, .dim = 8});
    UseEncoders({AttentionOf(c, 8, 1)}, &c);
    change(c);
    ASSERT_TRUE(WriteSnapshot(dir.path(), c).ok()) << reason;
    const auto snapshot = ModelSnapshot::Load(dir.path(), {});
    EXPECT_TRUE(absl::IsDataLoss(snapshot.status())) << snapshot.status();
    EXPECT_THAT(snapshot.status().ToString(), HasSubstr(reason));
  }
}

TEST(EncoderBindingTest, ATransformerAnswersAndIsNoSum) {
  testing::TempDir dir;
  SnapshotContents c = testing::RandomSnapshot({.num_items = 50, .dim = 8});
  UseEncoders({TransformerOf(c, 0.1f)}, &c);
  const auto snapshot = testing::WriteAndLoad(dir.File("snapshot"), c);
  EXPECT_EQ(snapshot->manifest().model_kind, "transformer");
  Answer(*snapshot);
}

// Finite, but far beyond what a trained model has: the answer is some list, never a crash.
TEST(EncoderBindingTest, ATransformerOfHugeNumbersIsSafe) {
  testing::TempDir dir;
  SnapshotContents c = testing::RandomSnapshot({.num_items = 50, .dim = 8});
  UseEncoders({TransformerOf(c, 3e38f)}, &c);
  const auto snapshot = testing::WriteAndLoad(dir.File("snapshot"), c);
  const std::vector<HistoryEvent> history = {{snapshot->Key(3), 1'000'000, 5.0f, 6},
                                             {snapshot->Key(5), 2'000'000, 1.0f, 1}};
  Scratch scratch;
  Recommendation result;
  EXPECT_TRUE(Recommend(*snapshot, *CatalogView::Build(*snapshot, {}), {.k = 10}, {.history = history},
                        scratch, &result)
                  .ok());
}

TEST(EncoderBindingTest, ATransformerThatDoesNotFitIsRefusedByName) {
  using C = SnapshotContents;
  const struct {
    std::function<void(C&)> change;
    std::string reason;
  } cases[] = {
      {[](C& c) { c.encoders[0].encoder.parameters.erase("heads"); }, "parameter heads: missing"},
      {[](C& c) { c.encoders[0].encoder.parameters["heads"] = 3; }, "dim 8 is not a multiple of 3"},
      {[](C& c) { c.encoders[0].encoder.parameters["heads"] = 0; }, "parameter heads: expected"},
      {[](C& c) { c.encoders[0].encoder.parameters["hidden"] = 1.5; }, "parameter hidden: expected a whole"},
      {[](C& c) { c.encoders[0].encoder.parameters["hidden"] = 65536; },
       "\"encoder.0.0.up.weight\": expected"},
      {[](C& c) { c.encoders[0].encoder.parameters["blocks"] = 2; }, "\"encoder.0.1.norm1.weight\": missing"},
      {[](C& c) { c.encoders[0].encoder.parameters["blocks"] = 0; }, "\"encoder.0.0."},
      {[](C& c) { c.encoders[0].encoder.parameters["max_length"] = 0; }, "parameter max_length: expected"},
      {[](C& c) { c.encoders[0].encoder.parameters["context_class"] = 1000; }, "parameter context_class"},
      {[](C& c) { c.encoders[0].tensors.erase("0.qkv.bias"); }, "\"encoder.0.0.qkv.bias\": missing"},
      {[](C& c) { c.encoders[0].tensors["class_used"] = TensorOf({1}); },
       "\"encoder.0.class_used\": expected"},
      {[](C& c) { c.encoders[0].tensors["class"] = TensorOf({1}); }, "\"encoder.0.class\": expected"},
  };
  for (const auto& [change, reason] : cases) {
    testing::TempDir dir;
    SnapshotContents c = testing::RandomSnapshot({.num_items = 20, .dim = 8});
    UseEncoders({TransformerOf(c, 0.1f)}, &c);
    change(c);
    ASSERT_TRUE(WriteSnapshot(dir.path(), c).ok()) << reason;
    const auto snapshot = ModelSnapshot::Load(dir.path(), {});
    EXPECT_TRUE(absl::IsDataLoss(snapshot.status())) << snapshot.status();
    EXPECT_THAT(snapshot.status().ToString(), HasSubstr(reason));
  }
}

TEST(EncoderBindingTest, TheWriterRefusesWhatTheReaderWould) {
  using C = SnapshotContents;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const struct {
    std::function<void(C&)> change;
    std::string reason;
  } cases[] = {
      {[](C& c) { c.encoders[0].encoder.dim = 7; }, "encoders: expected dims that add up to 8"},
      {[](C& c) { c.encoders[0].encoder.kind = "a+b"; }, "encoders[0].kind"},
      {[](C& c) { c.encoders[0].tensors["slot_logits"].shape = {3}; },
       "encoder.0.slot_logits: expected 3 elements"},
      {[=](C& c) { c.encoders[0].tensors["slot_logits"].values[1] = nan; },
       "encoder.0.slot_logits[1]: expected a finite"},
      {[=](C& c) { c.encoders[0].encoder.parameters["x"] = INFINITY; }, "encoders[0].parameters.x"},
      {[](C& c) { c.class_logits = {1}; }, "class_logits: expected 0"},
      {[](C& c) { c.manifest.model_kind = "transformer"; }, "model_kind: expected \"attention\""},
  };
  for (const auto& [change, reason] : cases) {
    testing::TempDir dir;
    SnapshotContents c = testing::RandomSnapshot({.num_items = 20, .dim = 8});
    UseEncoders({AttentionOf(c, 8, 1)}, &c);
    change(c);
    const absl::Status status = WriteSnapshot(dir.path(), c);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.ToString(), HasSubstr(reason));
  }
}

}  // namespace
}  // namespace swiftlet
