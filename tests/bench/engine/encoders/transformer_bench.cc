// One user vector of the transformer encoder, by number of events, of one block and of two (dim 64, hidden
// 256).
#include "engine/encoders/transformer.h"

#include <benchmark/benchmark.h>

#include <deque>
#include <random>
#include <span>
#include <vector>

#include "engine/kernels/cpu_target.h"

namespace swiftlet {
namespace {

constexpr uint32_t kDim = 64, kHidden = 256, kMaxLength = 200;

class Numbers {
 public:
  std::span<const float> Make(size_t n) {
    std::normal_distribution<float> normal(0.0f, 0.1f);
    std::vector<float>& values = all_.emplace_back(n);
    for (float& x : values) x = normal(random_);
    return values;
  }

 private:
  std::mt19937 random_{1};
  std::deque<std::vector<float>> all_;
};

void BM_Encode(benchmark::State& state) {
  const auto events = static_cast<size_t>(state.range(0));
  Numbers numbers;
  const std::vector<float> ones = {1.0f};
  TransformerParameters p;
  p.dim = kDim;
  p.hidden = kHidden;
  p.positions = numbers.Make(kMaxLength * kDim);
  p.class_signs = p.class_used = ones;
  p.max_events = kMaxLength;
  for (int64_t b = 0; b < state.range(1); ++b) {
    p.blocks.push_back({.norm1_weight = numbers.Make(kDim),
                        .norm1_bias = numbers.Make(kDim),
                        .qkv_weight = numbers.Make(kDim * 3 * kDim),
                        .qkv_bias = numbers.Make(3 * kDim),
                        .attended_weight = numbers.Make(kDim * kDim),
                        .attended_bias = numbers.Make(kDim),
                        .gate1_weight = numbers.Make(kDim * kDim),
                        .gate1_bias = numbers.Make(kDim),
                        .norm2_weight = numbers.Make(kDim),
                        .norm2_bias = numbers.Make(kDim),
                        .up_weight = numbers.Make(kDim * 2 * kHidden),
                        .down_weight = numbers.Make(kHidden * kDim),
                        .gate2_weight = numbers.Make(kDim * kDim),
                        .gate2_bias = numbers.Make(kDim)});
  }
  const TransformerEncoder encoder(std::move(p));
  std::vector<EncoderSlot> slots(events);
  for (size_t j = 0; j < events; ++j) {
    slots[j] = {.position = static_cast<uint32_t>(j), .vector = numbers.Make(kDim).data()};
  }
  EncoderScratch scratch;
  std::vector<float> vector(kDim), weights(events), signs(events);
  for (auto _ : state) {
    encoder.Encode(slots, scratch, vector, weights, signs);
    benchmark::DoNotOptimize(vector.data());
  }
}
BENCHMARK(BM_Encode)
    ->ArgNames({"events", "blocks"})
    ->ArgsProduct({{1, 10, 50, 200}, {1, 2}})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace swiftlet

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("CPU target", swiftlet::ActiveCpuTarget());
  benchmark::RunSpecifiedBenchmarks();
}
