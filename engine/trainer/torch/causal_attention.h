// Causal self-attention over sequences that lie one after another, without padding.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_CAUSAL_ATTENTION_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_CAUSAL_ATTENTION_H_

#include <cstddef>
#include <span>

#include "engine/trainer/torch/training_kernels.h"
#include "torch/torch.h"

namespace swiftlet {

// What is not differentiated; must live until the backward pass is done.
struct AttentionInput {
  std::span<const size_t>
      begin;            // [sequences + 1]: sequence s is rows [begin[s], begin[s + 1]), oldest first
  size_t heads = 1;     // a divisor of the dimension
  DropoutMask dropout;  // of the attention weights
};

// qkv: [rows, 3 * dim], contiguous float32: queries, keys and values beside each other. Returns [rows, dim]:
// row t of a sequence is sum_(j <= t) softmax_j(<q_t, k_j> / sqrt(dim / heads)) v_j for each head, the heads
// beside each other (Vaswani et al. 2017, sec. 3.2). Differentiable.
torch::Tensor CausalAttention(const torch::Tensor& qkv, const AttentionInput& input);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_CAUSAL_ATTENTION_H_
