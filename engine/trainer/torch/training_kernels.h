// Element-wise steps of the sequence trainer, each in one pass over memory: compiled for every SIMD target
// and dispatched at run time (Highway). All functions are thread-safe.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_TRAINING_KERNELS_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_TRAINING_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace swiftlet {

// Which elements are dropped is a function of the seed and the element's index alone, so that a backward pass
// finds the mask of its forward pass again without having stored it, and a training that is resumed goes on
// with the masks that it would have had.
struct DropoutMask {
  uint64_t seed = 0;
  float rate = 0;  // in [0, 1): dropped elements; the others are multiplied by 1 / (1 - rate)
};

// x[i] *= mask(first + i), i in [0, n).
void ApplyDropout(const DropoutMask& mask, uint64_t first, size_t n, float* x);

// out[i, j] = silu(ab[i, j]) * ab[i, hidden + j] * mask(i * hidden + j), i in [0, rows), j in [0, hidden).
// ab: [rows, 2 * hidden], out: [rows, hidden]. SwiGLU: Shazeer 2020, "GLU variants improve transformer".
void SwigluForward(const float* ab, size_t rows, size_t hidden, const DropoutMask& mask, float* out);
// d_ab: [rows, 2 * hidden] out; d_out: [rows, hidden].
void SwigluBackward(const float* ab, const float* d_out, size_t rows, size_t hidden, const DropoutMask& mask,
                    float* d_ab);

// out[i] = x[i] + sigmoid(gate[i]) * y[i] * mask(i), i in [0, n). LiGR's gated residual: Borisyuk et al.
// 2025, "From features to transformers", sec. 3.
void GatedResidualForward(const float* x, const float* gate, const float* y, size_t n,
                          const DropoutMask& mask, float* out);
void GatedResidualBackward(const float* gate, const float* y, const float* d_out, size_t n,
                           const DropoutMask& mask, float* d_gate, float* d_y);

// x[i] = exp(x[i] - max) / sum in place, max and sum over x; returns log(sum) + max. n >= 1.
float SoftmaxInPlace(float* x, size_t n);

// x[i] = p[i] * (x[i] * mask - dot), in place, with mask(first + i) and dot = sum_i p[i] * x[i] * mask:
// the gradient of a softmax whose result was dropped out.
void SoftmaxBackwardInPlace(const float* p, const DropoutMask& mask, uint64_t first, float scale, size_t n,
                            float* x);

// Sampled softmax over one row of scores: x[j] = exp(x[j] + shift[j] - Z) with Z = log(exp(positive) + sum_j
// exp(x[j] + shift[j])); returns Z. shift may be null. x: [n].
float SampledSoftmaxInPlace(float positive, const float* shift, size_t n, float* x);

// x[j] = sigmoid(x[j]); returns sum_j log(1 + exp(x[j])).
float SigmoidInPlace(float* x, size_t n);

// One step of Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay; `step` is its t >= 1 and
// gives the corrections of the bias. The gradient is set to zero.
struct AdamParameters {
  float learning_rate = 0.001f, beta1 = 0.9f, beta2 = 0.98f, epsilon = 1e-8f, weight_decay = 0;
};
void AdamStep(const AdamParameters& parameters, uint64_t step, size_t n, float* gradient, float* m, float* v,
              float* x);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_TRAINING_KERNELS_H_
