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
  uint32_t row = 0;               // kEvent, kContext: of the item: the same for all slots of one item
};

// What one slot adds to a user vector: factor * vector.
struct EncoderTerm {
  const float* vector = nullptr;  // [dim]
  float factor = 0;
};

// Buffers of one thread, for any encoder; they grow and are reused.
struct EncoderScratch {
  AlignedVector<float> values, term_values;
  std::vector<EncoderSlot> slots;
  std::vector<float> weights, signs;
  std::vector<EncoderTerm> terms;
  std::vector<uint64_t> keys;
  std::vector<uint32_t> counted;
  std::vector<EncoderScratch> parts;  // of encoders within an encoder
};

// Immutable and thread-safe. No call allocates once the scratch has grown.
class UserEncoder {
 public:
  virtual ~UserEncoder() = default;

  // Newest events that the encoder looks at: the caller passes no more than this many event slots.
  virtual uint32_t max_events() const = 0;

  // user_vector: [dim] out.
  // weights: [slots.size()] out: >= 0, what share each slot has in the result, adding up to 1; all 0 where an
  // encoder has no such shares.
  // signs: [slots.size()] out: +1 or -1: -1 for slots that count against.
  // slots must not be empty; events come first, newest first. A kind of slot that an encoder does not know
  // weighs 0; without any other, the user vector is 0.
  virtual void Encode(std::span<const EncoderSlot> slots, EncoderScratch& scratch,
                      std::span<float> user_vector, std::span<float> weights,
                      std::span<float> signs) const = 0;

  // The user vector as a sum over its slots, user_vector = sum_j factor_j * vector_j: for an item v the term
  // of slot j is factor_j * <vector_j, v>, the exact explanation of its score. weights and signs are what
  // Encode gave for the same slots. terms: [slots.size()] out; their vectors lie in the slots or in the
  // scratch, until its next use. False where the user vector is no such sum; then `terms` is left alone.
  virtual bool Terms(std::span<const EncoderSlot> slots, std::span<const float> weights,
                     std::span<const float> signs, EncoderScratch& scratch,
                     std::span<EncoderTerm> terms) const = 0;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_ENCODER_H_
