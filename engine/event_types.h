// Types of events and what a user's history is made of.
//
// A type has an id (1 to 255, stored with every event and never given another meaning), a name (what callers
// send) and a prior weight, negative for types that count against the item. The server's configuration may
// replace the default table. Models see finer *classes*: a type, split by the event's value where the trainer
// chose edges (a rating of 1 is another signal than a rating of 5). A snapshot carries its own list of
// classes (see EventClass).
#ifndef SWIFTLET_ENGINE_EVENT_TYPES_H_
#define SWIFTLET_ENGINE_EVENT_TYPES_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/item_key.h"

namespace swiftlet {

using EventTypeId = uint8_t;  // 0 is never a type

struct EventType {
  EventTypeId id = 0;
  std::string name;
  float weight = 1.0f;  // finite, not 0

  friend bool operator==(const EventType&, const EventType&) = default;
};

// Immutable after construction.
class EventTypeTable {
 public:
  // view 1, click 2, like 3, cart 4, purchase 5, rating 6, dislike 7, play 8, skip 9, share 10, save 11,
  // search 12.
  static EventTypeTable Default();
  // INVALID_ARGUMENT for an id outside [1, 255], an id or name used twice, a name that is not 1 to 32 bytes
  // of [a-z0-9_], a weight that is 0, not finite or outside [-100, 100]; or an empty list.
  static absl::StatusOr<EventTypeTable> Create(std::vector<EventType> types);

  // Null when there is none.
  const EventType* FindByName(std::string_view name) const;
  const EventType* FindById(EventTypeId id) const;
  // In order of id.
  std::span<const EventType> types() const { return types_; }

 private:
  std::vector<EventType> types_;
};

// A class of events that a model tells apart: events of type `type` whose value is in [min_value, next
// class's min_value of the same type). The first class of a type has min_value = -infinity.
struct EventClass {
  EventTypeId type = 0;
  float min_value = 0;
  // +1, or -1 where events of this class count against their item.
  float sign = 1.0f;

  friend bool operator==(const EventClass&, const EventClass&) = default;
};

// One event of a user's history, as kept in memory: newest events are what the encoder sees.
struct HistoryEvent {
  ItemKey item_key = 0;
  int64_t timestamp_ms = 0;
  float value = 0;
  EventTypeId type = 0;

  friend bool operator==(const HistoryEvent&, const HistoryEvent&) = default;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_EVENT_TYPES_H_
