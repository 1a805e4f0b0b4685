// The engine's answers in the wire form of the API's messages. Written as they are sent: message objects
// would take a multiple of the time, and memory for every item.
#ifndef SWIFTLET_SERVER_RESPONSE_BUILDER_H_
#define SWIFTLET_SERVER_RESPONSE_BUILDER_H_

#include <array>
#include <span>

#include "engine/catalog_view.h"
#include "engine/event_types.h"
#include "engine/recommender.h"
#include "server/wire_writer.h"

namespace swiftlet {

struct ItemFormat {
  bool explain = false;
  bool include_metadata = false;
  bool include_source = true;
};

// Adds recommendation.items as v1::ScoredItem elements of field `field`. history: what the recommendation's
// history_index values point into. Metadata is left out where nothing is known.
void AddItems(const CatalogView& view, const EventTypeTable& event_types,
              const Recommendation& recommendation, std::span<const HistoryEvent> history,
              const ItemFormat& format, int field, WireWriter* writer);

// Adds the title and categories of `row` as a v1::ItemMetadata in field `field`, where any is known.
void AddMetadata(const CatalogView& view, uint32_t row, int field, WireWriter* writer);

// 16 hexadecimal digits, different for every call of a process and between processes.
std::array<char, 16> NewRequestId();

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_RESPONSE_BUILDER_H_
