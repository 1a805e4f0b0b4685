// Several encoders side by side, each over its own columns of the item tables: a weighted sum of the scores
// of several models as one user vector, so that one exact search ranks by it.
//
//   q = [w_1 q_1; w_2 q_2; ..]    so    <q, v_i> = sum_k w_k <q_k, v_ik>
#ifndef SWIFTLET_ENGINE_ENCODERS_STACKED_H_
#define SWIFTLET_ENGINE_ENCODERS_STACKED_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/encoders/encoder.h"

namespace swiftlet {

class StackedEncoder final : public UserEncoder {
 public:
  struct Part {
    std::unique_ptr<const UserEncoder> encoder;
    uint32_t dim = 0;  // its columns, after those of the parts before it
    float weight = 1;
  };
  // Requires at least one part. Slots are given to the parts as they come, `max_events` of them at most; a
  // long-term vector holds the columns of all parts.
  StackedEncoder(std::vector<Part> parts, uint32_t max_events);

  uint32_t max_events() const override { return max_events_; }
  // weights: the means of the parts' weights by |weight|; signs: those of the part with the largest |weight|.
  void Encode(std::span<const EncoderSlot> slots, EncoderScratch& scratch, std::span<float> user_vector,
              std::span<float> weights, std::span<float> signs) const override;
  // True when it is for every part.
  bool Terms(std::span<const EncoderSlot> slots, std::span<const float> weights, std::span<const float> signs,
             EncoderScratch& scratch, std::span<EncoderTerm> terms) const override;

 private:
  const std::vector<Part> parts_;
  const uint32_t max_events_;
  uint32_t dim_ = 0;
  float total_weight_ = 0;  // sum of |weight|, 1 where that is 0
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_STACKED_H_
