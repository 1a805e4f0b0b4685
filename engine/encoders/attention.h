// Additive attention over slots, after "attention pooling" in neural recommenders (e.g. Covington et al. 2016
// sec. 3.2; Bahdanau et al. 2015 sec. 3.1 for the softmax over additive logits). The logit of a slot does not
// look at the candidate, so that one user vector serves the whole catalogue:
//
//   event j:      l_j = class_logit[class_j] + position_logit[min(position_j, P - 1)]
//                       + recency_logit[RecencyBucket(age_j)] + item_logit_j
//   long term:    l   = long_term_logit
//   context item: l   = context_logit
//   a = softmax(l)            q = sum_j a_j * sign_j * x_j
#ifndef SWIFTLET_ENGINE_ENCODERS_ATTENTION_H_
#define SWIFTLET_ENGINE_ENCODERS_ATTENTION_H_

#include <cstdint>
#include <span>

#include "engine/encoders/encoder.h"

namespace swiftlet {

inline constexpr uint32_t kNumRecencyBuckets = 32;

// 0 for ages under a minute, then floor(log2(age in minutes)) + 1, at most kNumRecencyBuckets - 1.
uint32_t RecencyBucket(int64_t age_ms);

// Borrowed parameters; must outlive the encoder. All finite.
struct AttentionParameters {
  std::span<const float> class_logits;     // [num_classes], num_classes >= 1
  std::span<const float> class_signs;      // [num_classes], +1 or -1
  std::span<const float> position_logits;  // [P], P >= 1
  std::span<const float> recency_logits;   // [kNumRecencyBuckets]
  float long_term_logit = 0;
  float context_logit = 0;
  uint32_t max_events = 50;  // >= 1; older events that it is given all the same have no weight
};

class AttentionEncoder final : public UserEncoder {
 public:
  explicit AttentionEncoder(const AttentionParameters& parameters) : parameters_(parameters) {}

  uint32_t max_events() const override { return parameters_.max_events; }
  void Encode(std::span<const EncoderSlot> slots, EncoderScratch& scratch, std::span<float> user_vector,
              std::span<float> weights, std::span<float> signs) const override;
  bool Terms(std::span<const EncoderSlot> slots, std::span<const float> weights, std::span<const float> signs,
             EncoderScratch& scratch, std::span<EncoderTerm> terms) const override;

 private:
  const AttentionParameters parameters_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_ATTENTION_H_
