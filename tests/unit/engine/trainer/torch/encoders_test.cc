// The engine's encoders that are fitted without libtorch give the vectors that libtorch's operators give for
// their formulas (the transformer: transformer_model_test.cc).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "engine/encoders/attention.h"
#include "engine/encoders/ials_fold_in.h"
#include "torch/torch.h"

namespace swiftlet {
namespace {

constexpr double kTolerance = 1e-4;

torch::Tensor Floats(const std::vector<float>& values) { return torch::tensor(values, torch::kFloat32); }

std::vector<float> Encode(const UserEncoder& encoder, const std::vector<EncoderSlot>& slots, size_t dim) {
  EncoderScratch scratch;
  std::vector<float> vector(dim), weights(slots.size()), signs(slots.size());
  encoder.Encode(slots, scratch, vector, weights, signs);
  return vector;
}

void ExpectSame(const std::vector<float>& got, const torch::Tensor& want) {
  ASSERT_EQ(static_cast<int64_t>(got.size()), want.numel());
  const torch::Tensor flat = want.to(torch::kFloat64).contiguous();
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], flat.data_ptr<double>()[i], kTolerance) << i;
    largest = std::max(largest, std::abs(flat.data_ptr<double>()[i]));
  }
  EXPECT_GT(largest, 0.01) << "the tolerance means nothing";
}

// Histories of several lengths; dim floats a row.
class EncodersTest : public ::testing::TestWithParam<int> {
 protected:
  static constexpr size_t kClasses = 3, kPositions = 20, kDim = 48;
  size_t Uniform(size_t n) { return static_cast<size_t>(random_() % n); }
  std::vector<float> Normal(size_t n, float deviation) {
    std::normal_distribution<float> normal(0, deviation);
    std::vector<float> values(n);
    for (float& v : values) v = normal(random_);
    return values;
  }
  std::mt19937_64 random_{static_cast<uint64_t>(GetParam())};
};

TEST_P(EncodersTest, AttentionPoolingIsTheSoftmaxOfItsLogits) {
  const auto n = static_cast<size_t>(GetParam());
  const std::vector<float> class_logits = Normal(kClasses, 1), class_signs = {1, 1, -1};
  const std::vector<float> positions = Normal(kPositions, 1), recencies = Normal(kNumRecencyBuckets, 1);
  const std::vector<float> vectors = Normal((n + 1) * kDim, 1), item_logits = Normal(n, 1);
  const AttentionEncoder encoder({.class_logits = class_logits,
                                  .class_signs = class_signs,
                                  .position_logits = positions,
                                  .recency_logits = recencies,
                                  .long_term_logit = 0.7f,
                                  .max_events = 200});
  std::vector<EncoderSlot> slots;
  std::vector<int64_t> classes, of_positions, buckets;
  for (size_t j = 0; j < n; ++j) {
    EncoderSlot slot{.kind = SlotKind::kEvent,
                     .event_class = static_cast<uint32_t>(Uniform(kClasses)),
                     .position = static_cast<uint32_t>(j),
                     .age_ms = static_cast<int64_t>(Uniform(1'000'000'000)),
                     .item_logit = item_logits[j],
                     .vector = &vectors[j * kDim]};
    classes.push_back(slot.event_class);
    of_positions.push_back(static_cast<int64_t>(std::min(j, kPositions - 1)));
    buckets.push_back(RecencyBucket(slot.age_ms));
    slots.push_back(slot);
  }
  slots.push_back({.kind = SlotKind::kLongTerm, .vector = &vectors[n * kDim]});
  const auto at = [](const std::vector<float>& table, const std::vector<int64_t>& rows) {
    return Floats(table).index_select(0, torch::tensor(rows, torch::kInt64));
  };
  const torch::Tensor logits = torch::cat(
      {at(class_logits, classes) + at(positions, of_positions) + at(recencies, buckets) + Floats(item_logits),
       torch::tensor({0.7f})});
  const torch::Tensor signs = torch::cat({at(class_signs, classes), torch::ones({1})});
  const torch::Tensor x = Floats(vectors).reshape({static_cast<int64_t>(n) + 1, kDim});
  ExpectSame(Encode(encoder, slots, kDim), torch::matmul(torch::softmax(logits, 0) * signs, x));
}

TEST_P(EncodersTest, TheMeanOfAHistoryIsTheMean) {
  const auto n = static_cast<size_t>(GetParam());
  const std::vector<float> logit = {0}, sign = {1}, recencies(kNumRecencyBuckets, 0.0f);
  const std::vector<float> vectors = Normal(n * kDim, 1);
  const AttentionEncoder encoder({.class_logits = logit,
                                  .class_signs = sign,
                                  .position_logits = logit,
                                  .recency_logits = recencies,
                                  .max_events = 200});
  std::vector<EncoderSlot> slots;
  for (size_t j = 0; j < n; ++j) {
    slots.push_back({.kind = SlotKind::kEvent,
                     .position = static_cast<uint32_t>(j),
                     .age_ms = static_cast<int64_t>(j) * 1'000'000,
                     .vector = &vectors[j * kDim]});
  }
  ExpectSame(Encode(encoder, slots, kDim), Floats(vectors).reshape({static_cast<int64_t>(n), kDim}).mean(0));
}

TEST_P(EncodersTest, IalsFoldInIsTheSolutionOfItsLeastSquares) {
  const auto n = static_cast<size_t>(GetParam());
  const std::vector<float> class_weights = {1.0f, 2.5f, 0.0f};
  const std::vector<float> vectors = Normal(n * kDim, 0.3f);
  std::vector<float> gram = Normal(kDim, 1);
  for (float& g : gram) g = 0.1f + g * g;
  const IalsParameters parameters{.gram = gram,
                                  .class_weights = class_weights,
                                  .lambda = 0.02,
                                  .alpha0 = 0.1,
                                  .nu = 0.9,
                                  .num_items = 500,
                                  .max_events = 200};
  std::vector<EncoderSlot> slots;
  std::vector<float> weights;
  for (size_t j = 0; j < n; ++j) {
    const auto event_class = static_cast<uint32_t>(j == 0 ? 1 : Uniform(kClasses));
    slots.push_back({.kind = SlotKind::kEvent,
                     .event_class = event_class,
                     .position = static_cast<uint32_t>(j),
                     .vector = &vectors[j * kDim],
                     .row = static_cast<uint32_t>(j)});
    weights.push_back(class_weights[event_class]);
  }
  const torch::Tensor v =
      Floats(vectors).to(torch::kFloat64).reshape({static_cast<int64_t>(n), static_cast<int64_t>(kDim)});
  const torch::Tensor w = Floats(weights).to(torch::kFloat64);
  const double positives = (w > 0).sum().item<double>();
  const double ridge =
      parameters.lambda * std::pow(positives + parameters.alpha0 * parameters.num_items, parameters.nu);
  const torch::Tensor a =
      torch::diag(Floats(gram).to(torch::kFloat64) + ridge) + torch::matmul(v.t(), w.unsqueeze(1) * v);
  const torch::Tensor b = torch::matmul(w, v);
  ExpectSame(Encode(IalsFoldIn(parameters), slots, kDim),
             torch::cholesky_solve(b.unsqueeze(1), torch::linalg_cholesky(a)));
}

INSTANTIATE_TEST_SUITE_P(Events, EncodersTest, ::testing::Values(1, 5, 50, 130));

}  // namespace
}  // namespace swiftlet
