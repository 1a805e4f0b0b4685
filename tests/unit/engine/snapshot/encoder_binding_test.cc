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
