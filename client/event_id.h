// Ids that make the recording of an event idempotent.
#ifndef SWIFTLET_CLIENT_EVENT_ID_H_
#define SWIFTLET_CLIENT_EVENT_ID_H_

#include <cstdint>
#include <string>

#include "swiftlet/v1/types.pb.h"

namespace swiftlet {

// 128 random bits as 32 hex digits. Thread-safe.
std::string RandomEventId();

// The id of an event that was read from a file: XXH3-128 over the event's user, item, type, value and time,
// as 32 hex digits. The same event gives the same id in every process and on every machine, however its file
// is laid out. Two events that agree in everything are one event; where the time is unknown (0), `line` (its
// number in the file) tells them apart.
std::string EventIdOf(const v1::Event& event, int64_t line);

}  // namespace swiftlet

#endif  // SWIFTLET_CLIENT_EVENT_ID_H_
