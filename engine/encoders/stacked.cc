#include "engine/encoders/stacked.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace swiftlet {
namespace {

// The slots as the part sees them whose columns begin at `offset`.
std::span<const EncoderSlot> SlotsOfPart(std::span<const EncoderSlot> slots, uint32_t offset,
                                         EncoderScratch& scratch) {
  if (offset == 0) return slots;
  scratch.slots.assign(slots.begin(), slots.end());
  for (EncoderSlot& slot : scratch.slots) slot.vector += offset;
  return scratch.slots;
}

}  // namespace

StackedEncoder::StackedEncoder(std::vector<Part> parts, uint32_t max_events)
    : parts_(std::move(parts)), max_events_(max_events) {
  for (const Part& part : parts_) {
    dim_ += part.dim;
    total_weight_ += std::fabs(part.weight);
  }
  if (total_weight_ == 0) total_weight_ = 1;
}

void StackedEncoder::Encode(std::span<const EncoderSlot> slots, EncoderScratch& scratch,
                            std::span<float> user_vector, std::span<float> weights,
                            std::span<float> signs) const {
  std::fill(weights.begin(), weights.end(), 0.0f);
  scratch.parts.resize(std::max(scratch.parts.size(), parts_.size()));
  scratch.weights.resize(slots.size());
  scratch.signs.resize(slots.size());
  float largest_weight = -1;
  uint32_t offset = 0;
  for (size_t k = 0; k < parts_.size(); ++k) {
    const Part& part = parts_[k];
    const std::span<float> columns = user_vector.subspan(offset, part.dim);
    part.encoder->Encode(SlotsOfPart(slots, offset, scratch), scratch.parts[k], columns, scratch.weights,
                         scratch.signs);
    for (float& x : columns) x *= part.weight;
    const float size = std::fabs(part.weight);
    for (size_t j = 0; j < slots.size(); ++j) weights[j] += size / total_weight_ * scratch.weights[j];
    if (size > largest_weight) {
      largest_weight = size;
      std::copy(scratch.signs.begin(), scratch.signs.end(), signs.begin());
    }
    offset += part.dim;
  }
}

bool StackedEncoder::Terms(std::span<const EncoderSlot> slots, std::span<const float> /*weights*/,
                           std::span<const float> /*signs*/, EncoderScratch& scratch,
                           std::span<EncoderTerm> terms) const {
  scratch.parts.resize(std::max(scratch.parts.size(), parts_.size()));
  scratch.weights.resize(slots.size());
  scratch.signs.resize(slots.size());
  scratch.terms.resize(slots.size());
  // [slots, dim_], then room for the user vector of one part.
  scratch.values.resize((slots.size() + 1) * dim_);
  uint32_t offset = 0;
  for (size_t k = 0; k < parts_.size(); ++k) {
    const Part& part = parts_[k];
    const std::span<const EncoderSlot> own = SlotsOfPart(slots, offset, scratch);
    // Only the weights of all parts together were kept: this part's are computed anew.
    part.encoder->Encode(own, scratch.parts[k], {scratch.values.data() + slots.size() * dim_, part.dim},
                         scratch.weights, scratch.signs);
    if (!part.encoder->Terms(own, scratch.weights, scratch.signs, scratch.parts[k], scratch.terms))
      return false;
    for (size_t j = 0; j < slots.size(); ++j) {
      const EncoderTerm& term = scratch.terms[j];
      float* const columns = scratch.values.data() + j * dim_ + offset;
      for (uint32_t i = 0; i < part.dim; ++i) columns[i] = part.weight * term.factor * term.vector[i];
    }
    offset += part.dim;
  }
  for (size_t j = 0; j < slots.size(); ++j) terms[j] = {scratch.values.data() + j * dim_, 1.0f};
  return true;
}

}  // namespace swiftlet
