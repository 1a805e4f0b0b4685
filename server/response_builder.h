// The engine's answers as API messages.
#ifndef SWIFTLET_SERVER_RESPONSE_BUILDER_H_
#define SWIFTLET_SERVER_RESPONSE_BUILDER_H_

#include <span>
#include <string>

#include "engine/catalog_view.h"
#include "engine/event_types.h"
#include "engine/recommender.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "swiftlet/v1/recommendation.pb.h"

namespace swiftlet {

struct ItemFormat {
  bool explain = false;
  bool include_metadata = false;
  bool include_source = true;
};

// Appends recommendation.items to `items`. history: what the recommendation's history_index values point
// into.
void AppendItems(const CatalogView& view, const EventTypeTable& event_types,
                 const Recommendation& recommendation, std::span<const HistoryEvent> history,
                 const ItemFormat& format, google::protobuf::RepeatedPtrField<v1::ScoredItem>* items);

// Title and categories of a row; leaves `metadata` alone when nothing is known. Returns whether anything is.
bool FillMetadata(const CatalogView& view, uint32_t row, v1::ScoredItem* item);

// Sets *id to 16 hexadecimal digits, different for every call of a process and between processes.
void SetNewRequestId(std::string* id);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_RESPONSE_BUILDER_H_
