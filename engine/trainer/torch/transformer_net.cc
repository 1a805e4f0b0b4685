#include "engine/trainer/torch/transformer_net.h"

namespace swiftlet {
namespace {

constexpr size_t kTensorsPerBlock = 14;
constexpr double kNormEpsilon = 1e-5;

struct GatedResidual : public torch::autograd::Function<GatedResidual> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& gate, const torch::Tensor& y, const DropoutMask* mask) {
    torch::Tensor out = torch::empty_like(x);
    GatedResidualForward(x.data_ptr<float>(), gate.data_ptr<float>(), y.data_ptr<float>(),
                         static_cast<size_t>(x.numel()), *mask, out.data_ptr<float>());
    context->save_for_backward({gate, y});
    context->saved_data["mask"] = reinterpret_cast<int64_t>(mask);
    return out;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto* mask = reinterpret_cast<const DropoutMask*>(context->saved_data["mask"].toInt());
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const torch::Tensor d_out = gradients[0].contiguous();
    torch::Tensor d_gate = torch::empty_like(saved[0]), d_y = torch::empty_like(saved[1]);
    GatedResidualBackward(saved[0].data_ptr<float>(), saved[1].data_ptr<float>(), d_out.data_ptr<float>(),
                          static_cast<size_t>(d_out.numel()), *mask, d_gate.data_ptr<float>(),
                          d_y.data_ptr<float>());
    return {d_out, d_gate, d_y, torch::Tensor()};
  }
};

struct Swiglu : public torch::autograd::Function<Swiglu> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& ab,
                               const DropoutMask* mask) {
    const int64_t rows = ab.size(0), hidden = ab.size(1) / 2;
    torch::Tensor out = torch::empty({rows, hidden});
    SwigluForward(ab.data_ptr<float>(), static_cast<size_t>(rows), static_cast<size_t>(hidden), *mask,
                  out.data_ptr<float>());
    context->save_for_backward({ab});
    context->saved_data["mask"] = reinterpret_cast<int64_t>(mask);
    return out;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto* mask = reinterpret_cast<const DropoutMask*>(context->saved_data["mask"].toInt());
    const torch::Tensor ab = context->get_saved_variables()[0];
    const torch::Tensor d_out = gradients[0].contiguous();
    torch::Tensor d_ab = torch::empty_like(ab);
    SwigluBackward(ab.data_ptr<float>(), d_out.data_ptr<float>(), static_cast<size_t>(ab.size(0)),
                   static_cast<size_t>(ab.size(1)) / 2, *mask, d_ab.data_ptr<float>());
    return {d_ab, torch::Tensor()};
  }
};

}  // namespace

std::vector<torch::Tensor> BlockTensors(const std::vector<Parameter>& parameters, float* values,
                                        bool requires_grad) {
  std::vector<torch::Tensor> tensors;
  for (const Parameter& p : parameters) {
    if (p.name.find('.') == std::string::npos) continue;
    const std::vector<int64_t> shape(p.shape.begin(), p.shape.end());
    tensors.push_back(torch::from_blob(values + p.offset, shape).requires_grad_(requires_grad));
  }
  return tensors;
}

uint64_t MixSeed(uint64_t seed, uint64_t a, uint64_t b) {
  const auto mix = [](uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  };
  return mix(mix(mix(seed + 0x9e3779b97f4a7c15ULL) + a * 0x9e3779b97f4a7c15ULL) + b * 0xd1b54a32d192ed03ULL);
}

torch::Tensor TransformerForward(const SequenceShape& shape, const std::vector<torch::Tensor>& block_tensors,
                                 const torch::Tensor& input, std::span<const size_t> begin, float dropout,
                                 uint64_t seed, TransformerPass* pass) {
  const auto dim = static_cast<int64_t>(shape.dim);
  torch::Tensor x = input;
  uint64_t layer = 0;
  const auto mask = [&]() -> const DropoutMask* {
    return &pass->masks.emplace_back(DropoutMask{MixSeed(seed, ++layer), dropout});
  };
  for (size_t b = 0; b < shape.blocks; ++b) {
    const torch::Tensor* t = &block_tensors[b * kTensorsPerBlock];
    const torch::Tensor a = torch::layer_norm(x, {dim}, t[0], t[1], kNormEpsilon);
    const torch::Tensor qkv = torch::linear(a, t[2], t[3]);
    const AttentionInput& attention =
        pass->attention.emplace_back(AttentionInput{begin, shape.heads, *mask()});
    const torch::Tensor attended = torch::linear(CausalAttention(qkv, attention), t[4], t[5]);
    x = GatedResidual::apply(x, torch::linear(x, t[6], t[7]), attended, mask());
    const torch::Tensor f = torch::layer_norm(x, {dim}, t[8], t[9], kNormEpsilon);
    const torch::Tensor fed = torch::linear(Swiglu::apply(torch::linear(f, t[10]), mask()), t[11]);
    x = GatedResidual::apply(x, torch::linear(x, t[12], t[13]), fed, mask());
  }
  return x;
}

}  // namespace swiftlet
