#include "server/user_events.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace swiftlet {

absl::Status AddUserEvents(const ServiceCore& core, std::span<const HistoryEvent> history,
                           google::protobuf::RepeatedPtrField<v1::Event>* events) {
  const std::shared_ptr<const ServingState> state = core.catalog->Acquire();
  std::vector<ItemKey> keys;
  keys.reserve(history.size());
  for (const HistoryEvent& event : history) keys.push_back(event.item_key);
  absl::StatusOr<std::vector<std::string>> ids = core.database->ReadItemIds(keys);
  if (!ids.ok()) return ids.status();
  for (size_t i = history.size(); i-- > 0;) {
    v1::Event* event = events->Add();
    std::string& id = (*ids)[i];
    if (id.empty() && state != nullptr) {
      if (const auto row = state->view->FindRow(keys[i]); row.has_value()) id = state->view->ItemId(*row);
    }
    event->set_item_id(std::move(id));
    if (const EventType* type = core.event_types.FindById(history[i].type); type != nullptr) {
      event->set_type(type->name);
    }
    event->set_value(history[i].value);
    event->set_timestamp_ms(history[i].timestamp_ms);
  }
  return absl::OkStatus();
}

}  // namespace swiftlet
