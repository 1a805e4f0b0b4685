// Forward and backward pass of the attention fit over a piece of a batch: private to engine/trainer.
#ifndef SWIFTLET_ENGINE_TRAINER_ATTENTION_GRADIENT_H_
#define SWIFTLET_ENGINE_TRAINER_ATTENTION_GRADIENT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/trainer/attention_fit.h"

namespace swiftlet::internal {

// An event slot of one example.
struct FitSlot {
  uint32_t item = 0;
  uint32_t event_class = 0, position = 0, recency = 0;
  float weight = 0;   // a_j
  float sign = 1;     // s_j
  float d_logit = 0;  // dLoss / dl_j
};

// Slots of `example` into `slots`, newest event first, at most `max_events`; weights are not filled.
void CollectSlots(const FitInput& input, const FitExample& example, uint32_t max_events,
                  const AttentionModel& model, std::vector<FitSlot>* slots);

// Fills the slots' weights and q ([dim]); long_term may be null. Returns the weight of the long-term slot, 0
// without.
float ForwardAttention(const AttentionModel& model, const float* long_term, std::vector<FitSlot>* slots,
                       float* q);

// The negatives of a batch, gathered once.
struct NegativeSample {
  std::span<const uint32_t> rows;
  MatrixF vectors;       // [n, dim]
  VectorF bias;          // [n]
  float log_weight = 0;  // log(N / n)
};
NegativeSample GatherNegatives(const AttentionModel& model, std::span<const uint32_t> rows);

// What a training step leaves out at random: a function of the seed and the example alone.
struct FitDropout {
  float events = 0;  // in [0, 1): slots; of each example at least one event is kept
  float values = 0;  // in [0, 1): floats of the user vector; the others are multiplied by 1 / (1 - values)
  uint64_t seed = 0;
};

// Buffers of one thread.
struct GradientScratch {
  std::vector<uint32_t> seen;  // [N]: stamp of the example whose history holds the item
  uint32_t stamp = 0;
  std::vector<FitSlot> slots;
  MatrixF mask;  // [examples, dim], of the user vectors
};

// Gradients of one piece, each multiplied by `scale`. Sparse where the tables are concerned.
struct PieceGradient {
  double loss = 0;                 // sum over the piece's examples, not scaled
  std::vector<size_t> slot_begin;  // [examples + 1] into slots
  std::vector<FitSlot> slots;
  MatrixF q, dq;                  // [examples, dim]
  std::vector<uint32_t> targets;  // [examples]
  VectorF d_target;               // [examples]: dLoss / dscore_target
  MatrixF d_negatives;            // [n, dim]
  VectorF d_negative_bias;        // [n]
  VectorF class_logits, position_logits, recency_logits;
  float long_term_logit = 0, long_term_scale = 0;
};

// examples: indices into input.examples. drop_long_term: [examples] of bytes, or empty for none.
void ComputePiece(const AttentionModel& model, const FitInput& input, std::span<const size_t> examples,
                  std::span<const uint8_t> drop_long_term, const FitDropout& dropout,
                  const NegativeSample& negatives, uint32_t max_events, float scale, GradientScratch* scratch,
                  PieceGradient* gradient);

}  // namespace swiftlet::internal

#endif  // SWIFTLET_ENGINE_TRAINER_ATTENTION_GRADIENT_H_
