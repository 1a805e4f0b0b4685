// The transformer's forward pass in libtorch, differentiable.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_TRANSFORMER_NET_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_TRANSFORMER_NET_H_

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "engine/trainer/torch/causal_attention.h"
#include "engine/trainer/torch/sequence_shape.h"
#include "torch/torch.h"

namespace swiftlet {

// Views of the blocks' parameters in a flat array, which must outlive them; gradients are taken of them.
// Without the tables and the embeddings of positions and classes, whose gradients are sparse.
std::vector<torch::Tensor> BlockTensors(const std::vector<Parameter>& parameters, float* values,
                                        bool requires_grad);

// State of one forward pass; must live until its backward pass is done.
struct TransformerPass {
  std::deque<AttentionInput> attention;
  std::deque<DropoutMask> masks;
};

// x: [rows, dim], sums of embeddings, sequences one after another as in AttentionInput::begin. Returns what
// the last block makes of them, [rows, dim]:
//   x += sigmoid(G1 x + g1) * dropout(A attention(norm1(x)) + a)
//   x += sigmoid(G2 x + g2) * dropout(D dropout(silu(U x') * V x')),  x' = norm2(x)
// (LiGR: Borisyuk et al. 2025, "From features to transformers"; with SwiGLU as in eSASRec, Tikhonovich et al.
// 2025, sec. 3). seed: of the dropout; rate 0 for inference.
torch::Tensor TransformerForward(const SequenceShape& shape, const std::vector<torch::Tensor>& block_tensors,
                                 const torch::Tensor& x, std::span<const size_t> begin, float dropout,
                                 uint64_t seed, TransformerPass* pass);

// A well-mixed 64-bit number of a seed and two counters (SplitMix64's finaliser, twice).
uint64_t MixSeed(uint64_t seed, uint64_t a, uint64_t b = 0);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_TRANSFORMER_NET_H_
