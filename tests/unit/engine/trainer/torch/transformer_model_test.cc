#include "engine/trainer/torch/transformer_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/snapshot/model_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

// Users who walk through the items, with views, likes and some dislikes.
Dataset Walks(size_t num_users, size_t num_items) {
  DatasetBuilder builder(EventTypeTable::Default());
  const EventTypeTable types = EventTypeTable::Default();
  const char* const names[] = {"view", "like", "dislike"};
  std::mt19937 random(6);
  for (size_t u = 0; u < num_users; ++u) {
    const size_t start = random() % num_items, length = 4 + random() % 12;
    for (size_t t = 0; t < length; ++t) {
      const EventType* type = types.FindByName(names[random() % 8 == 0 ? 2 : random() % 2]);
      builder.AddEvent(absl::StrCat("u", u), absl::StrCat("i", (start + t) % num_items), type->id, 1,
                       static_cast<int64_t>(1000 * t));
    }
  }
  return *builder.Build();
}

TrainingOptions SmallOptions() {
  TrainingOptions options;
  options.kind = "transformer";
  options.attention.als.dim = 24;
  options.transformer.blocks = 2;
  options.transformer.heads = 2;
  options.transformer.max_epochs = 3;
  options.transformer.num_negatives = 20;
  options.transformer.learning_rate = 0.01f;
  return options;
}

class TransformerModelTest : public ::testing::TestWithParam<bool> {};

// The vector of the snapshot's encoder is that of libtorch's forward pass.
TEST_P(TransformerModelTest, TheEngineEncodesAsLibtorchDoes) {
  const Dataset data = Walks(80, 30);
  TrainingOptions options = SmallOptions();
  options.transformer.separate_tables = GetParam();
  options.epochs = 2;
  testing::TempDir dir;
  options.checkpoint_dir = dir.File("checkpoints");
  Progress quiet(nullptr);
  absl::StatusOr<TrainedModel> trained = TrainTransformer({.data = &data}, options, nullptr, &quiet);
  ASSERT_TRUE(trained.ok()) << trained.status();
  // The same fit from its checkpoint, for its parameters.
  const std::vector<EventClass> classes = MakeEventClasses(data, {});
  ASSERT_EQ(classes.size(), 3u);
  const SequenceData sequences = MakeSequences(data, classes);
  SequenceFitOptions fit = ChooseFit(sequences, options.transformer, 24, 1);
  fit.max_epochs = 2;
  fit.checkpoint = options.checkpoint_dir + "/transformer.checkpoint";
  const absl::StatusOr<SequenceModel> model = FitSequenceModel(sequences, {}, fit, nullptr, &quiet);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->curve.size(), 2u);

  std::filesystem::create_directory(dir.File("snapshot"));
  ASSERT_TRUE(WriteTrainedModel(dir.File("snapshot"), *std::move(trained), data, 1, 1000).ok());
  const auto snapshot = ModelSnapshot::Load(dir.File("snapshot"), {});
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ((*snapshot)->manifest().model_kind, "transformer");
  std::vector<uint32_t> users;
  for (uint32_t u = 0; u < data.num_users(); ++u) users.push_back(u);
  const std::vector<float> want = EncodeSequences(model->shape, model->values, sequences, users, nullptr);
  EncoderScratch scratch;
  AlignedVector<float> inputs;
  for (const uint32_t u : users) {
    const auto events = data.EventsOf(u);
    std::vector<EncoderSlot> slots;
    inputs.resize(events.size() * 24);
    for (size_t j = 0; j < events.size(); ++j) {
      const TrainingEvent& e = events[events.size() - 1 - j];
      const std::vector<float> vector = (*snapshot)->InputVector(e.item).Values();
      std::copy(vector.begin(), vector.end(), &inputs[j * 24]);
      slots.push_back({.kind = SlotKind::kEvent,
                       .event_class = ClassOfEvent((*snapshot)->manifest().event_classes, e.type, e.value),
                       .position = static_cast<uint32_t>(j),
                       .vector = &inputs[j * 24]});
    }
    slots.resize(std::min<size_t>(slots.size(), (*snapshot)->encoder().max_events()));
    std::vector<float> vector(24), weights(slots.size()), signs(slots.size());
    (*snapshot)->encoder().Encode(slots, scratch, vector, weights, signs);
    for (size_t i = 0; i < 24; ++i) EXPECT_NEAR(vector[i], want[u * 24 + i], 1e-4) << u << ", " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, TransformerModelTest, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? "separate" : "tied"; });

TEST(TransformerModel, ChoosesTheNumberOfEpochsByTheLastEventsWhereNoneAreGiven) {
  const Dataset data = Walks(150, 30);
  Progress quiet(nullptr);
  TrainingOptions options = SmallOptions();
  options.transformer.max_epochs = 12;
  const absl::StatusOr<TrainedModel> trained = TrainTransformer({.data = &data}, options, nullptr, &quiet);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_GE(trained->epochs, 1u);
  EXPECT_LE(trained->epochs, 12u);
  EXPECT_EQ(trained->contents.manifest.training_parameters.at("transformer.epochs"),
            absl::StrCat(trained->epochs));
}

TEST(TransformerModel, TypesWithoutEventsHaveClasses) {
  const Dataset data = Walks(20, 10);
  const std::vector<EventClass> classes = MakeEventClasses(data, {});
  std::vector<float> vectors(classes.size() * 2);
  for (size_t c = 0; c < classes.size(); ++c) vectors[2 * c] = classes[c].sign > 0 ? 3.0f : 100.0f;
  const TransformerClasses described = DescribeClasses(data, classes, vectors, 2);
  EXPECT_EQ(described.classes.size(), data.event_types.types().size());
  EXPECT_EQ(described.vectors.size(), 2 * described.classes.size());
  for (size_t c = 0; c < described.classes.size(); ++c) {
    const bool is_negative = data.event_types.FindById(described.classes[c].type)->weight < 0;
    EXPECT_EQ(described.classes[c].sign, is_negative ? -1.0f : 1.0f);
    EXPECT_EQ(described.used[c], is_negative && c >= classes.size() ? 0.0f : 1.0f);
    if (c < classes.size()) continue;
    EXPECT_EQ(described.vectors[2 * c], 3.0f) << "the mean of those that count for items";
  }
  EXPECT_GT(described.classes[described.context_class].sign, 0);
}

TEST(TransformerModel, WhatIsNewIsPredictedAndTheLengthFollowsTheData) {
  DatasetBuilder builder(EventTypeTable::Default());
  const EventTypeTable types = EventTypeTable::Default();
  for (const char* item : {"a", "b", "a", "c"})
    builder.AddEvent("u", item, types.FindByName("view")->id, 0, 1);
  builder.AddEvent("u", "d", types.FindByName("dislike")->id, 0, 2);
  const Dataset data = *builder.Build();
  SequenceData sequences = MakeSequences(data, MakeEventClasses(data, {}));
  EXPECT_EQ(sequences.is_target, (std::vector<uint8_t>{1, 1, 0, 1, 0}));
  EXPECT_EQ(LengthOfShare(sequences, 0.98), 5u);
  EXPECT_EQ(ChooseFit(sequences, {}, 64, 1).shape.max_length, 10u);
  const std::vector<SequenceTarget> last = HoldOutLast(&sequences);
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].items, (std::vector<uint32_t>{2}));
  EXPECT_EQ(sequences.items, (std::vector<uint32_t>{0, 1, 0}));
}

SequenceData OneHistory(size_t length) {
  SequenceData data{
      .num_items = 5, .num_classes = 1, .begin = {0, length}, .items = {}, .classes = {}, .is_target = {}};
  data.items.assign(length, 1);
  data.classes.assign(length, 0);
  data.is_target.assign(length, 1);
  return data;
}

TEST(ChooseFitTest, DropoutFollowsFromTheLengthOfHistories) {
  const auto dropout = [](size_t length, float given) {
    return ChooseFit(OneHistory(length), {.dropout = given}, 8, 1).dropout;
  };
  EXPECT_EQ(dropout(9, -1), 0.4f);
  EXPECT_EQ(dropout(150, -1), 0.2f);
  EXPECT_EQ(dropout(9, 0), 0.0f);
  EXPECT_EQ(dropout(150, 0.5f), 0.5f);
}

TEST(ChooseFitTest, TheCorrectionOfTheSampleFollowsFromTheLengthOfHistories) {
  const auto correction = [](size_t length, double given) {
    return ChooseFit(OneHistory(length), {.correction = given}, 8, 1).loss.correction;
  };
  EXPECT_EQ(correction(9, -1), 1);
  EXPECT_EQ(correction(150, -1), 0);
  EXPECT_EQ(correction(9, 0), 0) << "off is off";
  EXPECT_EQ(correction(9, 0.25), 0.25);
  EXPECT_EQ(correction(150, 0.5), 0.5);
}

}  // namespace
}  // namespace swiftlet
