// A causal transformer over a user's events; its last row is the user vector. The layers are LiGR's gated
// residuals (Borisyuk et al. 2025, "From features to transformers", sec. 3) with SwiGLU (Shazeer 2020), as in
// eSASRec (Tikhonovich et al. 2025, sec. 3):
//
//   x_j = input vector + position[age in events] + class embedding           oldest event first
//   x  += sigmoid(x G1 + g1) * (attention(norm1(x)) A + a)                     causal, one row for each event
//   x  += sigmoid(x G2 + g2) * ((silu(x' U) * (x' V)) D),   x' = norm2(x)      in every block
//   q   = the newest event's row after the last block
#ifndef SWIFTLET_ENGINE_ENCODERS_TRANSFORMER_H_
#define SWIFTLET_ENGINE_ENCODERS_TRANSFORMER_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/encoders/encoder.h"

namespace swiftlet {

// Of one block; borrowed. Matrices are [in, out], row-major.
struct TransformerBlock {
  std::span<const float> norm1_weight, norm1_bias;        // [dim]
  std::span<const float> qkv_weight, qkv_bias;            // [dim, 3 dim], [3 dim]: queries, keys, values
  std::span<const float> attended_weight, attended_bias;  // [dim, dim], [dim]: A, a
  std::span<const float> gate1_weight, gate1_bias;        // [dim, dim], [dim]
  std::span<const float> norm2_weight, norm2_bias;        // [dim]
  std::span<const float> up_weight;                       // [dim, 2 hidden]: U and V
  std::span<const float> down_weight;                     // [hidden, dim]: D
  std::span<const float> gate2_weight, gate2_bias;        // [dim, dim], [dim]
};

// Borrowed parameters; must outlive the encoder.
struct TransformerParameters {
  uint32_t dim = 0;     // >= 1
  uint32_t heads = 1;   // a divisor of dim
  uint32_t hidden = 0;  // >= 1
  // [max_length, dim]; row 0 is that of the newest event. max_length >= 1.
  std::span<const float> positions;
  // [classes, dim], or empty: events of all classes are alike.
  std::span<const float> class_vectors;
  std::span<const float> class_signs;  // [classes], +1 or -1
  // [classes]: events of a class with a 0 are not looked at (nothing was learned about them, and they do not
  // speak for their items).
  std::span<const float> class_used;
  uint32_t context_class = 0;  // < classes: what a context item is taken for
  std::vector<TransformerBlock> blocks;
  uint32_t max_events = 50;  // >= 1
};

// Context items count as newer than the newest event; a long-term vector is not looked at. Of more slots than
// max_length, the newest count. A user vector that would not be finite is 0 throughout.
class TransformerEncoder final : public UserEncoder {
 public:
  explicit TransformerEncoder(TransformerParameters parameters) : p_(std::move(parameters)) {}

  uint32_t max_events() const override { return p_.max_events; }
  // weights are 0: the user vector is no sum over its slots.
  void Encode(std::span<const EncoderSlot> slots, EncoderScratch& scratch, std::span<float> user_vector,
              std::span<float> weights, std::span<float> signs) const override;
  bool Terms(std::span<const EncoderSlot> slots, std::span<const float> weights, std::span<const float> signs,
             EncoderScratch& scratch, std::span<EncoderTerm> terms) const override {
    return false;
  }

 private:
  struct Buffers;
  bool IsLookedAt(const EncoderSlot& slot) const;
  // x: [rows, dim], in place; of the last block only the last row is computed.
  void RunBlock(const TransformerBlock& block, bool is_last, size_t rows, const Buffers& buffers) const;

  const TransformerParameters p_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_TRANSFORMER_H_
