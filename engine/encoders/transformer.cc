#include "engine/encoders/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/kernels/dot.h"
#include "engine/kernels/matrix.h"

namespace swiftlet {
namespace {

constexpr float kNormEpsilon = 1e-5f;
constexpr size_t kBlockRows =
    24;  // of attention scores at once: only columns up to the last row's are computed

}  // namespace

struct TransformerEncoder::Buffers {
  float* x;         // [rows, dim]
  float* normed;    // [rows, dim]
  float* qkv;       // [rows, 3 dim]
  float* keys;      // [dim / heads, rows]: one head's keys, transposed
  float* scores;    // [kBlockRows, rows]
  float* attended;  // [rows, dim]
  float* gate;      // [rows, dim]
  float* up;        // [rows, 2 hidden]
  float* fed;       // [rows, hidden]
  float* added;     // [rows, dim]
};

void TransformerEncoder::RunBlock(const TransformerBlock& block, bool is_last, size_t rows,
                                  const Buffers& b) const {
  const size_t dim = p_.dim, hidden = p_.hidden, head_dim = dim / p_.heads;
  const size_t first = is_last ? rows - 1 : 0;  // row that is computed first
  const size_t count = rows - first;
  LayerNorm(b.x, rows, dim, block.norm1_weight.data(), block.norm1_bias.data(), kNormEpsilon, b.normed);
  // Keys and values of all rows, queries of those that are computed.
  const float* const w = block.qkv_weight.data();
  MatrixProduct(b.normed + first * dim, count, dim, dim, w, dim, 3 * dim, block.qkv_bias.data(),
                b.qkv + first * 3 * dim, 3 * dim);
  MatrixProduct(b.normed, rows, dim, dim, w + dim, 2 * dim, 3 * dim, block.qkv_bias.data() + dim, b.qkv + dim,
                3 * dim);
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  for (size_t h = 0; h < p_.heads; ++h) {
    const float* const q = b.qkv + h * head_dim;
    const float *const k = q + dim, *const v = k + dim;
    if (is_last) {
      for (size_t r = 0; r < rows; ++r) b.scores[r] = Dot(q + first * 3 * dim, k + r * 3 * dim, head_dim);
      CausalSoftmax(scale, first, 1, rows, rows, b.scores);
      MatrixProduct(b.scores, 1, rows, rows, v, head_dim, 3 * dim, nullptr,
                    b.attended + first * dim + h * head_dim, dim);
      continue;
    }
    for (size_t r = 0; r < rows; ++r) {
      for (size_t i = 0; i < head_dim; ++i) b.keys[i * rows + r] = k[r * 3 * dim + i];
    }
    for (size_t begin = 0; begin < rows; begin += kBlockRows) {
      const size_t end = std::min(rows, begin + kBlockRows);
      MatrixProduct(q + begin * 3 * dim, end - begin, head_dim, 3 * dim, b.keys, end, rows, nullptr, b.scores,
                    rows);
      CausalSoftmax(scale, begin, end - begin, end, rows, b.scores);
      MatrixProduct(b.scores, end - begin, end, rows, v, head_dim, 3 * dim, nullptr,
                    b.attended + begin * dim + h * head_dim, dim);
    }
  }
  float* const x = b.x + first * dim;
  const auto gate = [&](std::span<const float> weight, std::span<const float> bias) {
    MatrixProduct(x, count, dim, dim, weight.data(), dim, dim, bias.data(), b.gate, dim);
    AddGated(b.gate, b.added, count * dim, x);
  };
  MatrixProduct(b.attended + first * dim, count, dim, dim, block.attended_weight.data(), dim, dim,
                block.attended_bias.data(), b.added, dim);
  gate(block.gate1_weight, block.gate1_bias);
  LayerNorm(x, count, dim, block.norm2_weight.data(), block.norm2_bias.data(), kNormEpsilon, b.normed);
  MatrixProduct(b.normed, count, dim, dim, block.up_weight.data(), 2 * hidden, 2 * hidden, nullptr, b.up,
                2 * hidden);
  Swiglu(b.up, count, hidden, b.fed);
  MatrixProduct(b.fed, count, hidden, hidden, block.down_weight.data(), dim, dim, nullptr, b.added, dim);
  gate(block.gate2_weight, block.gate2_bias);
}

void TransformerEncoder::Encode(std::span<const EncoderSlot> slots, EncoderScratch& scratch,
                                std::span<float> user_vector, std::span<float> weights,
                                std::span<float> signs) const {
  const size_t dim = p_.dim, hidden = p_.hidden, max_length = p_.positions.size() / dim;
  std::fill(user_vector.begin(), user_vector.end(), 0.0f);
  std::fill(weights.begin(), weights.end(), 0.0f);
  size_t rows = 0;
  for (size_t j = 0; j < slots.size(); ++j) {
    const EncoderSlot& slot = slots[j];
    signs[j] = slot.kind == SlotKind::kEvent ? p_.class_signs[slot.event_class] : 1.0f;
    if (IsLookedAt(slot)) ++rows;
  }
  rows = std::min(rows, max_length);
  if (rows == 0) return;

  const size_t floats = rows * (8 * dim + 3 * hidden + dim / p_.heads + kBlockRows);
  if (scratch.values.size() < floats) scratch.values.resize(floats);
  float* next = scratch.values.data();
  const auto take = [&next](size_t size) {
    float* const buffer = next;
    next += size;
    return buffer;
  };
  const Buffers b{.x = take(rows * dim),
                  .normed = take(rows * dim),
                  .qkv = take(rows * 3 * dim),
                  .keys = take(rows * (dim / p_.heads)),
                  .scores = take(rows * kBlockRows),
                  .attended = take(rows * dim),
                  .gate = take(rows * dim),
                  .up = take(rows * 2 * hidden),
                  .fed = take(rows * hidden),
                  .added = take(rows * dim)};

  // Newest first: context items, then events.
  size_t position = 0;
  const auto add = [&](const EncoderSlot& slot, uint32_t event_class) {
    if (position == rows) return;
    float* const x = b.x + (rows - 1 - position) * dim;
    std::memcpy(x, slot.vector, dim * sizeof(float));
    AddScaled(1.0f, &p_.positions[position * dim], dim, x);
    if (!p_.class_vectors.empty()) AddScaled(1.0f, &p_.class_vectors[event_class * dim], dim, x);
    ++position;
  };
  for (const EncoderSlot& slot : slots) {
    if (slot.kind == SlotKind::kContext) add(slot, p_.context_class);
  }
  for (const EncoderSlot& slot : slots) {
    if (slot.kind == SlotKind::kEvent && IsLookedAt(slot)) add(slot, slot.event_class);
  }
  for (size_t k = 0; k < p_.blocks.size(); ++k) RunBlock(p_.blocks[k], k + 1 == p_.blocks.size(), rows, b);

  const float* const newest = b.x + (rows - 1) * dim;
  if (!std::all_of(newest, newest + dim, [](float value) { return std::isfinite(value); })) return;
  std::copy_n(newest, dim, user_vector.begin());
}

bool TransformerEncoder::IsLookedAt(const EncoderSlot& slot) const {
  if (slot.kind == SlotKind::kContext) return true;
  return slot.kind == SlotKind::kEvent && p_.class_used[slot.event_class] != 0;
}

}  // namespace swiftlet
