#include "engine/trainer/torch/sequence_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/torch/checkpoint.h"
#include "engine/trainer/torch/transformer_net.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

constexpr size_t kItems = 40;

// Users who go through the items in steps of 1: what comes next is certain, and seldom what is popular.
SequenceData Walks(size_t num_users) {
  SequenceData data{
      .num_items = kItems, .num_classes = 1, .begin = {0}, .items = {}, .classes = {}, .is_target = {}};
  std::mt19937 random(4);
  for (size_t u = 0; u < num_users; ++u) {
    const size_t start = random() % kItems, length = 3 + random() % 9;
    for (size_t t = 0; t < length; ++t) {
      data.items.push_back(static_cast<uint32_t>((start + t) % kItems));
      data.classes.push_back(0);
      data.is_target.push_back(1);
    }
    data.begin.push_back(data.items.size());
  }
  return data;
}

SequenceFitOptions SmallFit() {
  SequenceFitOptions o;
  o.shape = {.num_items = kItems,
             .num_classes = 1,
             .dim = 16,
             .blocks = 1,
             .heads = 2,
             .hidden = 32,
             .max_length = 10,
             .tied = true};
  o.loss.num_negatives = 20;
  o.dropout = 0.1f;
  o.learning_rate = 0.01f;
  o.batch_users = 32;
  o.max_epochs = 6;
  o.pieces = 2;
  o.checkpoint_seconds = 0;
  return o;
}

class SequenceTrainerTest : public ::testing::Test {
 protected:
  SequenceTrainerTest() { validation_ = HoldOutLast(&data_); }
  absl::StatusOr<SequenceModel> Fit(const SequenceFitOptions& options, ThreadPool* pool = nullptr) {
    return FitSequenceModel(data_, validation_, options, pool, &quiet_);
  }
  // Fits with a checkpoint, interrupted after `first`, then `more` longer each time, until it comes to its
  // end: with the result of `whole`, which nothing interrupted.
  void ExpectSameThroughInterruptions(const SequenceFitOptions& options, const SequenceModel& whole,
                                      std::chrono::milliseconds first, std::chrono::milliseconds more) {
    int num_interrupted = 0, num_within_epoch = 0;
    for (int round = 0; round < 500; ++round) {
      std::thread interrupt([&, round] {
        std::this_thread::sleep_for(first + round * more);
        SetInterrupted(true);
      });
      const absl::StatusOr<SequenceModel> model = Fit(options);
      interrupt.join();
      SetInterrupted(false);
      if (model.ok()) {
        EXPECT_EQ(model->values, whole.values);
        ASSERT_EQ(model->curve.size(), whole.curve.size());
        for (size_t i = 0; i < whole.curve.size(); ++i) EXPECT_EQ(model->curve[i].loss, whole.curve[i].loss);
        EXPECT_GT(num_interrupted, 0);
        EXPECT_GT(num_within_epoch, 0);
        return;
      }
      ASSERT_EQ(model.status().code(), absl::StatusCode::kCancelled);
      ++num_interrupted;
      num_within_epoch += ReadCheckpoint(options.checkpoint)->batch > 0 ? 1 : 0;
    }
    FAIL() << "it never ended";
  }
  SequenceData data_ = Walks(300);
  std::vector<SequenceTarget> validation_;
  Progress quiet_{nullptr};
  testing::TempDir dir_;
};

TEST_F(SequenceTrainerTest, LearnsWhatComesNext) {
  for (const bool tied : {true, false}) {
    for (const LossKind kind : {LossKind::kSoftmax, LossKind::kGbce}) {
      SequenceFitOptions options = SmallFit();
      options.shape.tied = tied;
      options.loss.kind = kind;
      options.max_epochs = 30;
      const absl::StatusOr<SequenceModel> model = Fit(options);
      ASSERT_TRUE(model.ok()) << model.status();
      EXPECT_GT(model->validation_ndcg, 0.9) << tied;
      EXPECT_EQ(model->validation_ndcg,
                SequenceNdcg(model->shape, model->values, data_, validation_, nullptr));
      EXPECT_LT(model->curve.back().loss, model->curve.front().loss / 2);
    }
  }
}

TEST_F(SequenceTrainerTest, StopsWhenValidationNoLongerGrowsAndKeepsTheBest) {
  SequenceFitOptions options = SmallFit();
  options.max_epochs = 1000;
  options.patience = 3;
  const absl::StatusOr<SequenceModel> model = Fit(options);
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->curve.size(), model->epochs + 3);
  for (const EpochRecord& r : model->curve) EXPECT_LE(r.validation_ndcg, model->validation_ndcg);
  EXPECT_EQ(model->curve[model->epochs - 1].validation_ndcg, model->validation_ndcg);
}

TEST_F(SequenceTrainerTest, IsAFunctionOfSeedAndPiecesNotOfThreads) {
  SequenceFitOptions options = SmallFit();
  options.average_decay = 0.9f;
  ThreadPool pool(1);
  const absl::StatusOr<SequenceModel> one = Fit(options), two = Fit(options, &pool);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->values, two->values);
  options.seed = 2;
  EXPECT_NE(Fit(options)->values, one->values);
}

TEST_F(SequenceTrainerTest, GoesOnFromACheckpointToTheSameResult) {
  for (const float average : {0.0f, 0.9f}) {
    SequenceFitOptions options = SmallFit();
    options.average_decay = average;
    const absl::StatusOr<SequenceModel> whole = Fit(options);
    ASSERT_TRUE(whole.ok());
    options.checkpoint = dir_.File(absl::StrCat("deep/", average > 0 ? "mean" : "plain", ".checkpoint"));
    options.max_epochs = 2;
    ASSERT_TRUE(Fit(options).ok());
    options.max_epochs = 6;
    const absl::StatusOr<SequenceModel> resumed = Fit(options);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->values, whole->values);
    EXPECT_EQ(resumed->epochs, whole->epochs);
    EXPECT_EQ(resumed->curve.size(), 6u);
    for (size_t i = 0; i < 6; ++i) EXPECT_EQ(resumed->curve[i].loss, whole->curve[i].loss);
    // And once more, when all is done.
    EXPECT_EQ(Fit(options)->values, whole->values);
    std::ifstream csv(options.checkpoint + ".csv");
    const std::string text((std::istreambuf_iterator<char>(csv)), {});
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7);
    EXPECT_THAT(text, HasSubstr("epoch,loss,validation_ndcg_at_10,seconds\n1,"));
    EXPECT_FALSE(std::filesystem::exists(options.checkpoint + ".tmp"));
  }
}

TEST_F(SequenceTrainerTest, AnInterruptedFitLosesNothing) {
  SequenceFitOptions options = SmallFit();
  options.average_decay = 0.9f;
  const absl::StatusOr<SequenceModel> whole = Fit(options);
  ASSERT_TRUE(whole.ok());
  options.checkpoint = dir_.File("a.checkpoint");
  options.checkpoint_seconds = 3600;  // nothing is written but what an interruption leaves
  ExpectSameThroughInterruptions(options, *whole, std::chrono::milliseconds(1), std::chrono::milliseconds(1));
}

// Items of features: one of the item modulo 5, and, `copies` times, one that all items have.
ItemFeatures Shared(size_t copies) {
  ItemFeatures features{.num_features = 5 + copies, .begin = {0}};
  for (size_t i = 0; i < kItems; ++i) {
    features.features.push_back(static_cast<uint32_t>(i % 5));
    for (size_t c = 0; c < copies; ++c) features.features.push_back(static_cast<uint32_t>(5 + c));
    features.begin.push_back(features.features.size());
  }
  return features;
}

TEST_F(SequenceTrainerTest, ItemsAreTheirOwnVectorsAndThoseOfTheirFeatures) {
  data_.item_features = Shared(1);
  for (const int round : {0, 1, 2, 3}) {
    const bool tied = round % 2 == 0;
    SequenceFitOptions options = SmallFit();
    options.shape.tied = tied;
    options.dense_tables = round < 2;
    options.max_epochs = 20;
    options.shape.num_features = data_.item_features.num_features;
    options.average_decay = 0.9f;
    ThreadPool pool(1);
    const absl::StatusOr<SequenceModel> one = Fit(options), two = Fit(options, &pool);
    ASSERT_TRUE(one.ok() && two.ok()) << one.status();
    EXPECT_EQ(one->values, two->values) << "depends on the number of threads";
    const std::vector<Parameter> parameters = TransformerParameters(options.shape);
    EXPECT_EQ(FindParameter(parameters, kInputFeatures) == nullptr, tied);
    const auto norm = [&](std::string_view name) {
      const Parameter* p = FindParameter(parameters, name);
      double sum = 0;
      for (size_t i = 0; i < p->size; ++i) sum += std::fabs(one->values[p->offset + i]);
      return sum / static_cast<double>(p->size);
    };
    EXPECT_GT(norm(kFeatures), 0);
    if (!tied) {
      EXPECT_GT(norm(kInputFeatures), 0);
    }
    EXPECT_GT(one->validation_ndcg, 0.8) << round;
  }
}

// Where every batch touches every row, updating the touched ones only is updating all; the means, too, though
// of items and features they are then kept apart.
TEST_F(SequenceTrainerTest, RowsThatAreTouchedAreUpdatedAsAllWouldBe) {
  data_.item_features = Shared(2);
  SequenceFitOptions options = SmallFit();
  options.shape.num_features = data_.item_features.num_features;
  options.average_decay = 0.95f;
  options.loss.num_negatives = 2000;
  for (const bool tied : {true, false}) {
    options.shape.tied = tied;
    // Of two tables not all rows of that of inputs are touched: by events only.
    options.batch_users = tied ? 32 : 300;
    options.dense_tables = true;
    const absl::StatusOr<SequenceModel> all = Fit(options);
    options.dense_tables = false;
    const absl::StatusOr<SequenceModel> touched = Fit(options);
    ASSERT_TRUE(all.ok() && touched.ok()) << all.status();
    ASSERT_EQ(all->values.size(), touched->values.size());
    for (size_t i = 0; i < all->values.size(); ++i)
      ASSERT_NEAR(all->values[i], touched->values[i], 1e-4) << i;
  }
}

TEST_F(SequenceTrainerTest, TheSizeOfAFitCountsWhatItemsShare) {
  SequenceFitOptions options = SmallFit();
  const uint64_t without = SequenceFitBytes(data_, options);
  data_.item_features = Shared(1000);
  options.shape.num_features = data_.item_features.num_features;
  // Values, two moments, the best, one gradient for each of two pieces, moves and what they led to.
  EXPECT_GE(SequenceFitBytes(data_, options), without + uint64_t{1005} * 16 * 4 * 8);
  options.memory_limit = without;
  const absl::Status status = Fit(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("--no-item-features"));
}

TEST_F(SequenceTrainerTest, AnItemWithoutEventsMovesWithItsFeatures) {
  // Item kItems is in no event; it shares the feature of item 0 and of every fifth one.
  data_.num_items = kItems + 1;
  data_.item_features = Shared(1);
  data_.item_features.features.push_back(0);
  data_.item_features.begin.push_back(data_.item_features.features.size());
  SequenceFitOptions options = SmallFit();
  options.shape.num_items = data_.num_items;
  options.shape.num_features = data_.item_features.num_features;
  options.loss.num_negatives = 1;
  const absl::StatusOr<SequenceModel> model = Fit(options);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<Parameter> parameters = TransformerParameters(options.shape);
  const float* const v = model->values.data() + FindParameter(parameters, "output")->offset;
  const float* const a = model->values.data() + FindParameter(parameters, kFeatures)->offset;
  // What it moved by is what its one feature moved by, and a little as a negative of its own.
  const std::vector<float> start = InitialParameters(parameters, MixSeed(options.seed, 1));
  const float* const before = start.data() + FindParameter(parameters, "output")->offset;
  double dot = 0, of_item = 0, of_feature = 0;
  for (size_t k = 0; k < options.shape.dim; ++k) {
    const double moved = v[kItems * options.shape.dim + k] - before[kItems * options.shape.dim + k];
    dot += moved * a[k];
    of_item += moved * moved;
    of_feature += double{a[k]} * a[k];
  }
  EXPECT_GT(of_feature, 0);
  EXPECT_GT(dot / std::sqrt(of_item * of_feature), 0.5);
}

TEST_F(SequenceTrainerTest, FeaturesThatMoveAfterSeveralBatchesGoOnFromACheckpoint) {
  data_.item_features = Shared(27'000);
  ASSERT_EQ(BatchesOfOneMove(data_.item_features, 16), 2u);
  SequenceFitOptions options = SmallFit();
  options.average_decay = 0.9f;
  options.dense_tables = false;
  options.batch_users = 60;  // five batches an epoch: the last one moves them, too
  options.shape.num_features = data_.item_features.num_features;
  options.max_epochs = 2;
  const absl::StatusOr<SequenceModel> whole = Fit(options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  options.checkpoint = dir_.File("a.checkpoint");
  ExpectSameThroughInterruptions(options, *whole, std::chrono::milliseconds(60),
                                 std::chrono::milliseconds(10));
}

TEST_F(SequenceTrainerTest, ACheckpointOfAnotherFitIsRefused) {
  SequenceFitOptions options = SmallFit();
  options.checkpoint = dir_.File("a.checkpoint");
  ASSERT_TRUE(Fit(options).ok());
  options.dropout = 0.2f;
  const absl::Status status = Fit(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("other events or options"));
  options = SmallFit();
  options.checkpoint = dir_.File("a.checkpoint");
  data_.items[1] = (data_.items[1] + 1) % kItems;
  EXPECT_EQ(Fit(options).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SequenceTrainerTest, ADamagedCheckpointIsAnError) {
  SequenceFitOptions options = SmallFit();
  options.checkpoint = dir_.File("a.checkpoint");
  ASSERT_TRUE(Fit(options).ok());
  std::filesystem::resize_file(options.checkpoint, std::filesystem::file_size(options.checkpoint) - 100);
  EXPECT_EQ(Fit(options).status().code(), absl::StatusCode::kDataLoss);
  std::ofstream(options.checkpoint) << "";
  EXPECT_EQ(Fit(options).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(SequenceTrainerTest, EventsThatAreNoTargetsAndUsersOfOneEventAreNoTrouble) {
  std::fill(data_.is_target.begin(), data_.is_target.end(), 0);
  EXPECT_TRUE(Fit(SmallFit()).ok());
  SequenceData one{
      .num_items = 1, .num_classes = 1, .begin = {0, 1}, .items = {0}, .classes = {0}, .is_target = {1}};
  SequenceFitOptions options = SmallFit();
  options.shape.num_items = 1;
  EXPECT_TRUE(FitSequenceModel(one, {}, options, nullptr, &quiet_).ok());
}

TEST_F(SequenceTrainerTest, SizesThatCannotBeAreRefused) {
  SequenceFitOptions options = SmallFit();
  options.shape.heads = 3;
  EXPECT_EQ(Fit(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = SmallFit();
  options.shape.hidden = size_t{1} << 40;
  const absl::Status status = Fit(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("--dim"));
}

}  // namespace
}  // namespace swiftlet
