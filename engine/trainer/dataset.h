// Events and items as the trainer works on them: dense users and items, events by user and time.
#ifndef SWIFTLET_ENGINE_TRAINER_DATASET_H_
#define SWIFTLET_ENGINE_TRAINER_DATASET_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/event_types.h"

namespace swiftlet {

struct TrainingEvent {
  uint32_t user = 0, item = 0;  // indices into Dataset::user_ids and item_ids
  int64_t timestamp_ms = 0;
  float value = 0;
  EventTypeId type = 0;

  friend bool operator==(const TrainingEvent&, const TrainingEvent&) = default;
};

// What is known about an item apart from its events.
struct ItemDescription {
  std::string item_id;
  std::string title = {};
  std::vector<std::string> categories = {};
  std::vector<std::pair<std::string, std::string>> attributes = {};  // name, value
};

// Immutable once built.
struct Dataset {
  std::vector<std::string> user_ids;                      // in byte order; each has at least one event
  std::vector<std::string> item_ids;                      // in byte order; each has at least one event
  std::vector<std::string> item_titles;                   // [items], or empty when no item has one
  std::vector<std::vector<std::string>> item_categories;  // [items], or empty when no item has any
  // [items], or empty when no item has any: names and values
  std::vector<std::vector<std::pair<std::string, std::string>>> item_attributes;
  std::vector<ItemDescription> unseen_items;  // described items without events, in byte order of their ids
  std::vector<TrainingEvent> events;          // by user, then time, then arrival
  std::vector<size_t> user_begin;             // [users + 1] into events
  EventTypeTable event_types = EventTypeTable::Default();
  // Arrival of the newest event of an event log; 0 when events came from files.
  int64_t trained_through_ms = 0;

  size_t num_users() const { return user_ids.size(); }
  size_t num_items() const { return item_ids.size(); }
  std::span<const TrainingEvent> EventsOf(size_t user) const {
    return std::span(events).subspan(user_begin[user], user_begin[user + 1] - user_begin[user]);
  }
};

// Collects events in order of arrival. Thread-compatible.
class DatasetBuilder {
 public:
  explicit DatasetBuilder(EventTypeTable event_types) : event_types_(std::move(event_types)) {}

  const EventTypeTable& event_types() const { return event_types_; }
  // Requires valid ids, a known type, a finite value and timestamp_ms >= 0.
  void AddEvent(std::string_view user_id, std::string_view item_id, EventTypeId type, float value,
                int64_t timestamp_ms);
  // What is known about an item; later calls replace earlier ones.
  void SetItem(std::string_view item_id, std::string title, std::vector<std::string> categories,
               std::vector<std::pair<std::string, std::string>> attributes = {});
  // Leaves an item and its events out of the result (it was deleted from the catalogue).
  void DropItem(std::string_view item_id);
  void set_trained_through_ms(int64_t ms) { trained_through_ms_ = ms; }
  size_t num_events() const { return events_.size(); }

  // FAILED_PRECONDITION when there is no event. The builder is empty afterwards.
  absl::StatusOr<Dataset> Build();

 private:
  struct Description {
    std::string title;
    std::vector<std::string> categories;
    std::vector<std::pair<std::string, std::string>> attributes;
    bool dropped = false;
  };
  EventTypeTable event_types_;
  absl::flat_hash_map<std::string, uint32_t> users_, items_;
  std::vector<TrainingEvent> events_;
  absl::flat_hash_map<std::string, Description> descriptions_;
  int64_t trained_through_ms_ = 0;
};

// The part of `data` whose events have keep[e]; users and items without events drop out and the rest is
// renumbered; what is known about such an item goes to unseen_items. Requires keep.size() ==
// data.events.size().
Dataset Subset(const Dataset& data, const std::vector<bool>& keep);

// Events that are like an earlier one in all: user, item, type, value and time. They count as any other, as
// on a server, but for what is predicted.
size_t CountIdentical(const Dataset& data);

// By event: whether the user had its item before. Such items are not recommended, so that they are nothing to
// predict either: it would be learned to repeat what was last.
std::vector<bool> MarkRepeated(const Dataset& data);

// XXH3-128 (32 hex digits) of the events in order, ids included.
std::string Fingerprint(const Dataset& data);
// The same of what is known about the items, those without events included; empty where nothing is.
std::string FingerprintOfItems(const Dataset& data);

// How the events of one type are split into classes by their value: ascending lower edges of the 2nd, 3rd, ..
// class.
struct ValueEdges {
  EventTypeId type = 0;
  std::vector<float> edges;
};

// "rating:2.5,3.5,4.5" with a known type and ascending finite edges.
absl::StatusOr<ValueEdges> ParseValueEdges(std::string_view text, const EventTypeTable& event_types);

// Classes of all types that occur in `data`, by type, then value. Types that `given` does not name are split
// at the deciles of their values where these differ. A class has sign -1 where its type's weight is negative.
// Types of the table without events get no class here: the fit adds them (see FittedModel::classes).
std::vector<EventClass> MakeEventClasses(const Dataset& data, std::span<const ValueEdges> given);

// Index of an event's class. Requires that the type occurs in `classes`.
uint32_t ClassOfEvent(std::span<const EventClass> classes, EventTypeId type, float value);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_DATASET_H_
