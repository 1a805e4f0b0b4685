#include "engine/trainer/torch/causal_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace swiftlet {
namespace {

// The same with libtorch's own operators, one sequence and head after another.
torch::Tensor WithTorch(const torch::Tensor& qkv, const std::vector<size_t>& begin, int64_t heads) {
  const int64_t dim = qkv.size(1) / 3, head_dim = dim / heads;
  std::vector<torch::Tensor> sequences;
  for (size_t s = 0; s + 1 < begin.size(); ++s) {
    const auto first = static_cast<int64_t>(begin[s]), last = static_cast<int64_t>(begin[s + 1]);
    const torch::Tensor rows = qkv.slice(0, first, last);
    const torch::Tensor later = torch::ones({last - first, last - first}).triu(1).to(torch::kBool);
    std::vector<torch::Tensor> parts;
    for (int64_t h = 0; h < heads; ++h) {
      const auto columns = [&](int64_t part) {
        return rows.slice(1, part * dim + h * head_dim, part * dim + (h + 1) * head_dim);
      };
      const torch::Tensor scores =
          torch::matmul(columns(0), columns(1).t()) / std::sqrt(static_cast<double>(head_dim));
      parts.push_back(torch::matmul(torch::softmax(scores.masked_fill(later, -INFINITY), 1), columns(2)));
    }
    sequences.push_back(torch::cat(parts, 1));
  }
  return torch::cat(sequences, 0);
}

TEST(CausalAttention, ValuesAndGradientsAreThoseOfTorchsOperators) {
  torch::manual_seed(1);
  for (const int64_t heads : {1, 2, 4}) {
    const std::vector<size_t> begin = {0, 1, 6, 56, 157, 160};  // below, about and above a block of rows
    const torch::Tensor qkv = torch::randn({160, 3 * 12});
    const torch::Tensor d_out = torch::randn({160, 12});
    torch::Tensor a = qkv.clone().requires_grad_(true), b = qkv.clone().requires_grad_(true);
    const AttentionInput input{begin, static_cast<size_t>(heads), {}};
    const torch::Tensor found = CausalAttention(a, input), want = WithTorch(b, begin, heads);
    EXPECT_LT((found - want).abs().max().item<float>(), 1e-5f) << heads;
    found.backward(d_out);
    want.backward(d_out);
    EXPECT_LT((a.grad() - b.grad()).abs().max().item<float>(), 1e-4f) << heads;
  }
}

// With dropout the result is linear in the values, with weights that are a function of queries, keys and
// seed: the gradient by the values must be these weights' transpose, and that by the queries what differences
// say.
TEST(CausalAttention, GradientsUnderDropoutAreThoseOfTheSameMask) {
  torch::manual_seed(2);
  const std::vector<size_t> begin = {0, 3, 60};
  const AttentionInput input{begin, 2, {99, 0.4f}};
  const torch::Tensor qkv = torch::randn({60, 3 * 8}), d_out = torch::randn({60, 8});
  torch::Tensor x = qkv.clone().requires_grad_(true);
  CausalAttention(x, input).backward(d_out);
  const torch::NoGradGuard no_gradients;
  EXPECT_GT((CausalAttention(qkv, input) - CausalAttention(qkv, {begin, 2, {}})).abs().max().item<float>(),
            0.1f);
  for (int64_t i = 0; i < 60 * 24; i += 37) {
    constexpr float kStep = 1e-2f;
    torch::Tensor up = qkv.clone(), down = qkv.clone();
    up.view({-1})[i] += kStep;
    down.view({-1})[i] -= kStep;
    const float difference =
        ((CausalAttention(up, input) - CausalAttention(down, input)) * d_out).sum().item<float>() /
        (2 * kStep);
    EXPECT_NEAR(x.grad().view({-1})[i].item<float>(), difference, 5e-3f) << i;
  }
}

}  // namespace
}  // namespace swiftlet
