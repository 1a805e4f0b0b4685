#include "engine/event_types.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"

namespace swiftlet {

EventTypeTable EventTypeTable::Default() {
  EventTypeTable table;
  table.types_ = {{1, "view", 1.0f},     {2, "click", 1.0f},  {3, "like", 3.0f},     {4, "cart", 3.0f},
                  {5, "purchase", 5.0f}, {6, "rating", 1.0f}, {7, "dislike", -3.0f}, {8, "play", 1.0f},
                  {9, "skip", -1.0f},    {10, "share", 3.0f}, {11, "save", 3.0f},    {12, "search", 1.0f}};
  return table;
}

absl::StatusOr<EventTypeTable> EventTypeTable::Create(std::vector<EventType> types) {
  if (types.empty()) return absl::InvalidArgumentError("event types: the table is empty");
  std::sort(types.begin(), types.end(), [](const EventType& a, const EventType& b) { return a.id < b.id; });
  for (size_t i = 0; i < types.size(); ++i) {
    const EventType& t = types[i];
    if (t.id == 0)
      return absl::InvalidArgumentError(
          absl::StrCat("event type ", Quoted(t.name), ": id 0 is not in [1, 255]"));
    if (i > 0 && types[i - 1].id == t.id) {
      return absl::InvalidArgumentError(absl::StrCat("event types: id ", int{t.id}, " is used twice"));
    }
    const bool name_ok =
        !t.name.empty() && t.name.size() <= 32 && std::all_of(t.name.begin(), t.name.end(), [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        });
    if (!name_ok) {
      return absl::InvalidArgumentError(absl::StrCat("event type ", int{t.id}, ": name ", Quoted(t.name),
                                                     " is not 1 to 32 characters of [a-z0-9_]"));
    }
    for (size_t j = 0; j < i; ++j) {
      if (types[j].name == t.name) {
        return absl::InvalidArgumentError(absl::StrCat("event types: name \"", t.name, "\" is used twice"));
      }
    }
    if (!std::isfinite(t.weight) || t.weight == 0 || std::fabs(t.weight) > 100) {
      return absl::InvalidArgumentError(
          absl::StrCat("event type \"", t.name, "\": weight ", t.weight, " is not in [-100, 100] without 0"));
    }
  }
  EventTypeTable table;
  table.types_ = std::move(types);
  return table;
}

const EventType* EventTypeTable::FindByName(std::string_view name) const {
  for (const EventType& t : types_) {
    if (t.name == name) return &t;
  }
  return nullptr;
}

const EventType* EventTypeTable::FindById(EventTypeId id) const {
  for (const EventType& t : types_) {
    if (t.id == id) return &t;
  }
  return nullptr;
}

}  // namespace swiftlet
