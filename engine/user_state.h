// What is known about a user at one request.
#ifndef SWIFTLET_ENGINE_USER_STATE_H_
#define SWIFTLET_ENGINE_USER_STATE_H_

#include <span>

#include "engine/event_types.h"

namespace swiftlet {

// Borrowed for the call.
struct UserState {
  // Ordered by event time, then arrival: the newest last. May hold items that no snapshot knows.
  std::span<const HistoryEvent> history = {};
  // [dim] of the same snapshot version, or empty.
  std::span<const float> long_term = {};
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_USER_STATE_H_
