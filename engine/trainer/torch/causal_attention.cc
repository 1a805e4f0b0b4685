#include "engine/trainer/torch/causal_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/trainer/torch/blas.h"

namespace swiftlet {
namespace {

// Rows of a sequence that are worked on at once: only the columns up to the last of them are computed.
constexpr size_t kBlock = 48;

// Where the weights of a sequence and head lie, [length, length] each.
size_t NumWeights(const AttentionInput& input) {
  size_t n = 0;
  for (size_t s = 0; s + 1 < input.begin.size(); ++s) {
    const size_t length = input.begin[s + 1] - input.begin[s];
    n += length * length * input.heads;
  }
  return n;
}

// Calls fn(row of the sequence's start, length, first column of the head, offset of its weights).
template <typename Fn>
void ForEachHead(const AttentionInput& input, size_t head_dim, const Fn& fn) {
  size_t offset = 0;
  for (size_t s = 0; s + 1 < input.begin.size(); ++s) {
    const size_t length = input.begin[s + 1] - input.begin[s];
    for (size_t h = 0; h < input.heads; ++h) {
      fn(input.begin[s], length, h * head_dim, offset);
      offset += length * length;
    }
  }
}

struct Attend : public torch::autograd::Function<Attend> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& qkv,
                               const AttentionInput* input) {
    const auto rows = static_cast<size_t>(qkv.size(0)), dim = static_cast<size_t>(qkv.size(1)) / 3;
    const size_t head_dim = dim / input->heads, stride = 3 * dim;
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    torch::Tensor out = torch::empty({qkv.size(0), static_cast<int64_t>(dim)});
    const auto num_weights = static_cast<int64_t>(NumWeights(*input));
    torch::Tensor weights = torch::empty({num_weights});
    const bool drops = input->dropout.rate > 0;
    torch::Tensor dropped = drops ? torch::empty({num_weights}) : weights;
    float* const o = out.data_ptr<float>();
    const float* const x = qkv.data_ptr<float>();
    ForEachHead(*input, head_dim, [&](size_t begin, size_t length, size_t column, size_t offset) {
      const float* q = x + begin * stride + column;
      const float *k = q + dim, *v = k + dim;
      float* const p = weights.data_ptr<float>() + offset;
      float* const u = dropped.data_ptr<float>() + offset;
      for (size_t r0 = 0; r0 < length; r0 += kBlock) {
        const size_t r1 = std::min(length, r0 + kBlock);
        Gemm(r1 - r0, r1, head_dim, scale, {q + r0 * stride, stride}, {k, stride, true}, 0, p + r0 * length,
             length);
        for (size_t r = r0; r < r1; ++r) {
          float* row = p + r * length;
          SoftmaxInPlace(row, r + 1);
          std::fill(row + r + 1, row + r1, 0.0f);
          if (!drops) continue;
          std::copy(row, row + r1, u + r * length);
          ApplyDropout(input->dropout, offset + r * length, r + 1, u + r * length);
        }
        Gemm(r1 - r0, head_dim, r1, 1, {u + r0 * length, length}, {v, stride}, 0,
             o + (begin + r0) * dim + column, dim);
      }
    });
    (void)rows;
    context->save_for_backward({qkv, weights, dropped});
    context->saved_data["input"] = reinterpret_cast<int64_t>(input);
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto* input = reinterpret_cast<const AttentionInput*>(context->saved_data["input"].toInt());
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const torch::Tensor& qkv = saved[0];
    const torch::Tensor d_out = gradients[0].contiguous();
    const size_t dim = static_cast<size_t>(qkv.size(1)) / 3, head_dim = dim / input->heads, stride = 3 * dim;
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    torch::Tensor d_qkv = torch::zeros_like(qkv);
    std::vector<float> d_scores;
    ForEachHead(*input, head_dim, [&](size_t begin, size_t length, size_t column, size_t offset) {
      const float* q = qkv.data_ptr<float>() + begin * stride + column;
      const float *k = q + dim, *v = k + dim;
      float* d_q = d_qkv.data_ptr<float>() + begin * stride + column;
      float *d_k = d_q + dim, *d_v = d_k + dim;
      const float* p = saved[1].data_ptr<float>() + offset;
      const float* u = saved[2].data_ptr<float>() + offset;
      const float* d_o = d_out.data_ptr<float>() + begin * dim + column;
      d_scores.resize(std::max(d_scores.size(), kBlock * length));
      float* const s = d_scores.data();
      for (size_t r0 = 0; r0 < length; r0 += kBlock) {
        const size_t r1 = std::min(length, r0 + kBlock), n = r1 - r0;
        Gemm(n, r1, head_dim, 1, {d_o + r0 * dim, dim}, {v, stride, true}, 0, s, length);
        for (size_t r = r0; r < r1; ++r) {
          float* row = s + (r - r0) * length;
          SoftmaxBackwardInPlace(p + r * length, input->dropout, offset + r * length, scale, r + 1, row);
          std::fill(row + r + 1, row + r1, 0.0f);
        }
        Gemm(n, head_dim, r1, 1, {s, length}, {k, stride}, 0, d_q + r0 * stride, stride);
        Gemm(r1, head_dim, n, 1, {s, length, true}, {q + r0 * stride, stride}, 1, d_k, stride);
        Gemm(r1, head_dim, n, 1, {u + r0 * length, length, true}, {d_o + r0 * dim, dim}, 1, d_v, stride);
      }
    });
    return {d_qkv, torch::Tensor()};
  }
};

}  // namespace

torch::Tensor CausalAttention(const torch::Tensor& qkv, const AttentionInput& input) {
  return Attend::apply(qkv, &input);
}

}  // namespace swiftlet
