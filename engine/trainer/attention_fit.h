// Fits the additive attention encoder (engine/encoders/attention.h) to next events: for a user's event t, the
// slots are the events before t and the user's long-term vector folded in from those events alone, and the
// loss is the softmax cross entropy of the event's item against sampled items:
//
//   score_i = b_i + <q, v_i>,  q = sum_j a_j s_j x_j + a_L c p,  a = softmax(logits),
//   loss = log(exp(score_target) + N / n * sum_(i in sample) exp(score_i)) - score_target
//
// Learned by Adam: the logits, the tables x and v (each the sum of rows of items and of their features, where
// these are given: item_features.h), the bias b, and the scale c of the long-term vectors p.
#ifndef SWIFTLET_ENGINE_TRAINER_ATTENTION_FIT_H_
#define SWIFTLET_ENGINE_TRAINER_ATTENTION_FIT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/trainer/als.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/item_features.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/training_curve.h"

namespace swiftlet {

struct AttentionFitOptions {
  uint32_t max_events = 50;
  uint32_t max_epochs = 100;
  uint32_t patience = 4;  // epochs without a better validation NDCG@10 before the fit stops
  uint32_t batch_size = 256;
  uint32_t num_negatives = 512;
  uint32_t max_examples_per_user = 100;  // newest first
  uint32_t max_examples = 500'000;
  uint32_t max_validation_users = 5'000;
  float learning_rate = 0.003f;
  float logit_learning_rate = 0.03f;
  float weight_decay = 0.0f;
  float long_term_dropout = 0.1f;
  // In [0, 1): shares of the events of a history, and of the user vector's floats, that a step leaves out.
  // Negative: FitModel's choice; none for FitAttention.
  float event_dropout = -1, dropout = -1;
  // The model is a running mean of the steps' parameters, which keeps this share of the old mean at each
  // step (Polyak and Juditsky, SIAM J. Control Optim. 1992); 0: the parameters themselves. Negative as above.
  float average_decay = -1;
  float initial_bias_scale = 1.0f;  // of the logarithm of an item's positives
  bool train_items = true;          // false: v stays as it is
  uint64_t seed = 1;
};

// The parameters of the encoder and both item tables.
struct AttentionModel {
  MatrixF items;   // v, [N, dim]
  MatrixF inputs;  // x, [N, dim]
  VectorF bias;    // [N]
  VectorF item_logits;
  VectorF class_logits, class_signs;  // [classes]
  VectorF position_logits;            // [max_events]
  VectorF recency_logits;             // [kNumRecencyBuckets]
  float long_term_logit = 0;
  float long_term_scale = 1;
};

// One training example: predict event `event` (an index into Dataset::events) from those before it.
struct FitExample {
  uint32_t user = 0;
  size_t event = 0;
};

// Examples of the newest events of every user, in order of user, then event; events without one before them,
// repeated ones, and those that `skip` marks (empty: none) are left out, and so are events of a negative
// class.
std::vector<FitExample> MakeExamples(const Dataset& data, std::span<const EventClass> classes,
                                     const std::vector<bool>& skip, const AttentionFitOptions& options);

// Row e: the iALS vector of example e's user, folded in from the events before it. [examples, dim].
MatrixF FoldInPrefixes(const Dataset& data, std::span<const EventClass> classes, const MatrixF& items,
                       const AlsOptions& als, std::span<const FitExample> examples, ThreadPool* pool);

// What the fit sees of the data; all borrowed.
struct FitInput {
  const Dataset* data = nullptr;
  std::span<const uint32_t> event_classes;  // class of every event
  std::span<const FitExample> examples;
  const MatrixF* long_term = nullptr;      // [examples, dim]
  const ItemFeatures* features = nullptr;  // of the data's items, for training; null or empty: none
};

// Gradient of the mean loss over some examples, with respect to every parameter, dense. For tests.
struct AttentionGradient {
  MatrixF items, inputs;
  VectorF bias, item_logits, class_logits, position_logits, recency_logits;
  float long_term_logit = 0, long_term_scale = 0;
};
double AttentionLoss(const AttentionModel& model, const FitInput& input, std::span<const size_t> batch,
                     std::span<const uint32_t> negatives, uint32_t max_events, AttentionGradient* gradient);

// Mean over the examples of NDCG@10 of the target among all items that are not in the history.
double ValidationNdcg(const AttentionModel& model, const FitInput& input, uint32_t max_events,
                      ThreadPool* pool);

struct FitResult {
  uint32_t epochs = 0;
  double validation_ndcg = 0;  // of the best epoch; 0 without validation
  TrainingCurve curve;         // a point for each epoch that was validated
};

// Fits `model` in place. With validation examples: until validation NDCG@10 stops to grow, keeping the best
// epoch's model; without: for exactly options.max_epochs. CANCELLED when interrupted.
absl::StatusOr<FitResult> FitAttention(const FitInput& training, const FitInput& validation,
                                       const AttentionFitOptions& options, ThreadPool* pool,
                                       Progress* progress, AttentionModel* model);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_ATTENTION_FIT_H_
