// Stored events as the API has them.
#ifndef SWIFTLET_SERVER_USER_EVENTS_H_
#define SWIFTLET_SERVER_USER_EVENTS_H_

#include <span>

#include "server/service_core.h"
#include "swiftlet/v1/types.pb.h"

namespace swiftlet {

// Appends the events of a history, newest first, with the ids of their items. Blocks on disk.
absl::Status AddUserEvents(const ServiceCore& core, std::span<const HistoryEvent> history,
                           google::protobuf::RepeatedPtrField<v1::Event>* events);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_USER_EVENTS_H_
