// The encoder of a snapshot that scores by item neighbours alone (engine/retrieval/neighbour_rows.h): the
// user vector is 0.
#ifndef SWIFTLET_ENGINE_ENCODERS_NO_VECTOR_H_
#define SWIFTLET_ENGINE_ENCODERS_NO_VECTOR_H_

#include <algorithm>
#include <cstdint>
#include <span>

#include "engine/encoders/encoder.h"

namespace swiftlet {

class NoVectorEncoder final : public UserEncoder {
 public:
  explicit NoVectorEncoder(uint32_t max_events) : max_events_(max_events) {}

  uint32_t max_events() const override { return max_events_; }
  void Encode(std::span<const EncoderSlot> /*slots*/, EncoderScratch& /*scratch*/,
              std::span<float> user_vector, std::span<float> weights, std::span<float> signs) const override {
    std::fill(user_vector.begin(), user_vector.end(), 0.0f);
    std::fill(weights.begin(), weights.end(), 0.0f);
    std::fill(signs.begin(), signs.end(), 1.0f);
  }
  bool Terms(std::span<const EncoderSlot> slots, std::span<const float> /*weights*/,
             std::span<const float> /*signs*/, EncoderScratch& /*scratch*/,
             std::span<EncoderTerm> terms) const override {
    for (size_t j = 0; j < slots.size(); ++j) terms[j] = {slots[j].vector, 0.0f};
    return true;
  }

 private:
  const uint32_t max_events_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_NO_VECTOR_H_
