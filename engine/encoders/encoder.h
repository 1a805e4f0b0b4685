// A user encoder: what a user did, and a trained long-term vector, to the user vector that retrieval searches
// with.
#ifndef SWIFTLET_ENGINE_ENCODERS_ENCODER_H_
#define SWIFTLET_ENGINE_ENCODERS_ENCODER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/aligned_vector.h"

namespace swiftlet {

// What a slot of the encoder's sum is.
enum class SlotKind : uint8_t { kEvent, kLongTerm, kContext };

// One input of the encoder. `vector` is the row of the *input* table for events and context items.
struct EncoderSlot {
  SlotKind kind = SlotKind::kEvent;
  uint32_t event_class = 0;       // kEvent: index into the snapshot's classes
  uint32_t position = 0;          // kEvent: 0 for the newest event, counted over the events that are slots
  int64_t age_ms = 0;             // kEvent: time from this event to the newest one, >= 0
  float item_logit = 0;           // kEvent: the item's own term of the attention logit
  const float* vector = nullptr;  // [dim]
};

// Immutable and thread-safe.
class UserEncoder {
 public:
  virtual ~UserEncoder() = default;

  // Newest events that the encoder looks at: the caller passes no more than this many event slots.
  virtual uint32_t max_events() const = 0;

  // user_vector: [dim] out. weights: [slots.size()] out: a_j >= 0, adding up to 1.
  // signs: [slots.size()] out: +1 or -1; user_vector = sum_j weights[j] * signs[j] * slots[j].vector, so that
  // for an item v the term of slot j is weights[j] * signs[j] * <slots[j].vector, v>: the exact explanation.
  // slots must not be empty.
  virtual void Encode(std::span<const EncoderSlot> slots, std::span<float> user_vector,
                      std::span<float> weights, std::span<float> signs) const = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_ENCODER_H_
