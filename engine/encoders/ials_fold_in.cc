#include "engine/encoders/ials_fold_in.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/aligned_vector.h"
#include "engine/kernels/dot.h"

namespace swiftlet {
namespace {

// The lower triangle of a [n, stride] by its Cholesky factor L, with 1 / L_ii on the diagonal. A pivot that
// is not positive, to which only numbers beyond float's precision lead, counts as infinite: its unknown is 0.
void CholeskyInPlace(size_t n, size_t stride, float* a) {
  for (size_t i = 0; i < n; ++i) {
    float* const row = a + i * stride;
    for (size_t j = 0; j < i; ++j) {
      const float* const other = a + j * stride;
      row[j] = (j == 0 ? row[0] : row[j] - Dot(row, other, j)) * other[j];
    }
    const float pivot = i == 0 ? row[0] : row[i] - Dot(row, row, i);
    row[i] = pivot > 0 ? 1 / std::sqrt(pivot) : 0;
  }
}

// x by the solution of L L^T y = x, for CholeskyInPlace's factor.
void SolveInPlace(size_t n, size_t stride, const float* factor, float* x) {
  for (size_t i = 0; i < n; ++i) {
    const float* const row = factor + i * stride;
    x[i] = (i == 0 ? x[0] : x[i] - Dot(row, x, i)) * row[i];
  }
  for (size_t i = n; i-- > 0;) {
    const float* const row = factor + i * stride;
    x[i] *= row[i];
    if (i > 0) AddScaled(-x[i], row, i, x);
  }
}

// What slots weigh as observations: an item's weight at its newest slot, 0 at its others and where it counts
// against. Leaves the slots that have a weight in scratch.counted.
void WeighSlots(const IalsParameters& p, std::span<const EncoderSlot> slots, EncoderScratch& scratch,
                std::span<float> weights, std::span<float> signs) {
  std::vector<uint64_t>& order = scratch.keys;
  order.clear();
  for (size_t j = 0; j < slots.size(); ++j) {
    const EncoderSlot& slot = slots[j];
    weights[j] = slot.kind == SlotKind::kContext ? 1.0f : 0.0f;
    signs[j] = 1;
    if (slot.kind == SlotKind::kLongTerm) continue;
    if (slot.kind == SlotKind::kEvent) {
      weights[j] = std::max(p.class_weights[slot.event_class], 0.0f);
      if (weights[j] == 0) signs[j] = -1;
    }
    // By item, newest first: context items, then the events as they come.
    const uint64_t age = slot.kind == SlotKind::kContext ? j : slots.size() + j;
    order.push_back(uint64_t{slot.row} << 32 | age);
  }
  std::sort(order.begin(), order.end());
  scratch.counted.clear();
  for (size_t begin = 0, end; begin < order.size(); begin = end) {
    const auto slot_at = [&](size_t k) {
      return static_cast<uint32_t>((order[k] & 0xffffffff) % slots.size());
    };
    const uint32_t newest = slot_at(begin);
    float largest = weights[newest];
    for (end = begin + 1; end < order.size() && order[end] >> 32 == order[begin] >> 32; ++end) {
      float& weight = weights[slot_at(end)];
      largest = std::max(largest, std::exchange(weight, 0.0f));
    }
    if (!(weights[newest] > 0)) continue;
    weights[newest] = largest;
    scratch.counted.push_back(newest);
  }
}

// The solve for the slots of scratch.counted, whose `weights` are positive, in buffers of the scratch.
class Solve {
 public:
  Solve(const IalsParameters& p, std::span<const EncoderSlot> slots, std::span<const float> weights,
        EncoderScratch& scratch)
      : slots_(slots),
        weights_(weights),
        counted_(scratch.counted),
        n_(scratch.counted.size()),
        dim_(p.gram.size()),
        by_items_(n_ < dim_),
        size_(by_items_ ? n_ : dim_),
        stride_(RowStride(size_)) {
    const size_t length = by_items_ ? dim_ : n_, row_stride = RowStride(length);
    const size_t longest = RowStride(std::max(n_, dim_));
    const size_t total = 3 * longest + size_ * (stride_ + row_stride);
    if (scratch.values.size() < total) scratch.values.resize(total);
    inverse_diagonal_ = scratch.values.data();
    x_ = inverse_diagonal_ + longest;
    float* const scale = x_ + longest;
    matrix_ = scale + longest;
    float* const rows = matrix_ + size_ * stride_;

    const double observed = static_cast<double>(n_) + p.alpha0 * p.num_items;
    const auto regularisation = static_cast<float>(p.lambda * std::pow(observed, p.nu));
    for (size_t i = 0; i < dim_; ++i) inverse_diagonal_[i] = 1 / (std::max(p.gram[i], 0.0f) + regularisation);
    // rows: W^1/2 V D^-1/2, by items or, transposed, by dimensions and without D^-1/2.
    if (by_items_) {
      for (size_t i = 0; i < dim_; ++i) scale[i] = std::sqrt(inverse_diagonal_[i]);
      for (size_t k = 0; k < n_; ++k) {
        const float root = std::sqrt(weight(k));
        float* const row = rows + k * row_stride;
        for (size_t i = 0; i < dim_; ++i) row[i] = root * vector(k)[i] * scale[i];
      }
    } else {
      for (size_t k = 0; k < n_; ++k) {
        const float root = std::sqrt(weight(k));
        for (size_t i = 0; i < dim_; ++i) rows[i * row_stride + k] = root * vector(k)[i];
      }
    }
    for (size_t i = 0; i < size_; ++i) {
      float* const row = matrix_ + i * stride_;
      DotRows(rows + i * row_stride, rows, i + 1, length, row_stride, row);
      row[i] += by_items_ ? 1 : 1 / inverse_diagonal_[i];
    }
    CholeskyInPlace(size_, stride_, matrix_);
  }

  size_t size() const { return n_; }
  uint32_t slot(size_t k) const { return counted_[k]; }
  float weight(size_t k) const { return weights_[counted_[k]]; }
  const float* vector(size_t k) const { return slots_[counted_[k]].vector; }

  // q: [dim] out, by A^-1 sum of w_k v_k over k in [begin, end).
  void Solution(size_t begin, size_t end, float* q) const {
    std::fill(q, q + dim_, 0.0f);
    if (!by_items_) {
      for (size_t k = begin; k < end; ++k) AddScaled(weight(k), vector(k), dim_, q);
      SolveInPlace(size_, stride_, matrix_, q);
      return;
    }
    // A^-1 V^T W^1/2 = D^-1 V^T W^1/2 (I + W^1/2 V D^-1 V^T W^1/2)^-1.
    for (size_t k = 0; k < n_; ++k) x_[k] = k >= begin && k < end ? std::sqrt(weight(k)) : 0.0f;
    SolveInPlace(size_, stride_, matrix_, x_);
    for (size_t k = 0; k < n_; ++k) AddScaled(std::sqrt(weight(k)) * x_[k], vector(k), dim_, q);
    for (size_t i = 0; i < dim_; ++i) q[i] *= inverse_diagonal_[i];
  }

 private:
  const std::span<const EncoderSlot> slots_;
  const std::span<const float> weights_;
  const std::span<const uint32_t> counted_;
  const size_t n_, dim_;
  const bool by_items_;  // the matrix is [n, n], not [dim, dim]
  const size_t size_, stride_;
  float *inverse_diagonal_, *x_, *matrix_;
};

bool AllFinite(const float* x, size_t n) {
  return std::all_of(x, x + n, [](float value) { return std::isfinite(value); });
}

}  // namespace

void IalsFoldIn::Encode(std::span<const EncoderSlot> slots, EncoderScratch& scratch,
                        std::span<float> user_vector, std::span<float> weights,
                        std::span<float> signs) const {
  std::fill(user_vector.begin(), user_vector.end(), 0.0f);
  WeighSlots(parameters_, slots, scratch, weights, signs);
  if (scratch.counted.empty()) return;
  const Solve solve(parameters_, slots, weights, scratch);
  solve.Solution(0, solve.size(), user_vector.data());
  if (!AllFinite(user_vector.data(), user_vector.size())) {
    std::fill(user_vector.begin(), user_vector.end(), 0.0f);
    std::fill(weights.begin(), weights.end(), 0.0f);
    return;
  }
  float sum = 0;
  for (size_t k = 0; k < solve.size(); ++k) {
    float& weight = weights[solve.slot(k)];
    weight *= std::fabs(1 - Dot(user_vector.data(), solve.vector(k), user_vector.size()));
    sum += weight;
  }
  const bool has_shares = sum > 0 && std::isfinite(sum);
  for (size_t k = 0; k < solve.size(); ++k) {
    float& weight = weights[solve.slot(k)];
    weight = has_shares ? weight / sum : 0;
  }
}

bool IalsFoldIn::Terms(std::span<const EncoderSlot> slots, std::span<const float> /*weights*/,
                       std::span<const float> /*signs*/, EncoderScratch& scratch,
                       std::span<EncoderTerm> terms) const {
  scratch.weights.resize(slots.size());
  scratch.signs.resize(slots.size());
  WeighSlots(parameters_, slots, scratch, scratch.weights, scratch.signs);
  for (size_t j = 0; j < slots.size(); ++j) terms[j] = {slots[j].vector, 0.0f};
  if (scratch.counted.empty()) return true;
  const Solve solve(parameters_, slots, scratch.weights, scratch);
  const size_t dim = parameters_.gram.size(), stride = RowStride(dim);
  if (scratch.term_values.size() < solve.size() * stride) scratch.term_values.resize(solve.size() * stride);
  for (size_t k = 0; k < solve.size(); ++k) {
    float* const term = scratch.term_values.data() + k * stride;
    solve.Solution(k, k + 1, term);
    // As Encode: numbers beyond float's range count for nothing.
    if (AllFinite(term, dim)) terms[solve.slot(k)] = {term, 1.0f};
  }
  return true;
}

}  // namespace swiftlet
