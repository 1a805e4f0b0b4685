#include "engine/encoders/attention.h"

#include <algorithm>
#include <bit>

#include "engine/kernels/dot.h"
#include "engine/kernels/softmax.h"

namespace swiftlet {
namespace {

constexpr int64_t kMinuteMs = 60'000;
// Sums of finite parameters may overflow; the softmax needs finite logits. No trained logit comes near.
constexpr float kMaxLogit = 1e30f;

}  // namespace

uint32_t RecencyBucket(int64_t age_ms) {
  if (age_ms < kMinuteMs) return 0;
  // floor(log2(minutes)) + 1 is the number of bits of the whole minutes.
  const auto minutes = static_cast<uint64_t>(age_ms / kMinuteMs);
  return std::min<uint32_t>(static_cast<uint32_t>(std::bit_width(minutes)), kNumRecencyBuckets - 1);
}

void AttentionEncoder::Encode(std::span<const EncoderSlot> slots, EncoderScratch& /*scratch*/,
                              std::span<float> user_vector, std::span<float> weights,
                              std::span<float> signs) const {
  const AttentionParameters& p = parameters_;
  for (size_t j = 0; j < slots.size(); ++j) {
    const EncoderSlot& slot = slots[j];
    float logit = 0;
    signs[j] = 1.0f;
    switch (slot.kind) {
      case SlotKind::kEvent:
        if (slot.position >= p.max_events) {
          logit = -kMaxLogit;
          break;
        }
        logit = p.class_logits[slot.event_class] +
                p.position_logits[std::min<size_t>(slot.position, p.position_logits.size() - 1)] +
                p.recency_logits[RecencyBucket(slot.age_ms)] + slot.item_logit;
        signs[j] = p.class_signs[slot.event_class];
        break;
      case SlotKind::kLongTerm:
        logit = p.long_term_logit;
        break;
      case SlotKind::kContext:
        logit = p.context_logit;
        break;
    }
    weights[j] = std::clamp(logit, -kMaxLogit, kMaxLogit);
  }
  Softmax(weights.data(), slots.size());
  std::fill(user_vector.begin(), user_vector.end(), 0.0f);
  for (size_t j = 0; j < slots.size(); ++j) {
    AddScaled(weights[j] * signs[j], slots[j].vector, user_vector.size(), user_vector.data());
  }
}

bool AttentionEncoder::Terms(std::span<const EncoderSlot> slots, std::span<const float> weights,
                             std::span<const float> signs, EncoderScratch& /*scratch*/,
                             std::span<EncoderTerm> terms) const {
  for (size_t j = 0; j < slots.size(); ++j) terms[j] = {slots[j].vector, weights[j] * signs[j]};
  return true;
}

}  // namespace swiftlet
