#include "server/response_builder.h"

#include <cstdint>
#include <random>

namespace swiftlet {
namespace {

v1::Source ToProto(ItemSource source) {
  switch (source) {
    case ItemSource::kHistory:
      return v1::SOURCE_HISTORY;
    case ItemSource::kLongTerm:
      return v1::SOURCE_LONG_TERM;
    case ItemSource::kContext:
      return v1::SOURCE_CONTEXT;
    case ItemSource::kPopular:
      return v1::SOURCE_POPULAR;
  }
  return v1::SOURCE_UNSPECIFIED;
}

v1::Contribution::Kind ToProto(ContributionKind kind) {
  switch (kind) {
    case ContributionKind::kEvent:
      return v1::Contribution::KIND_EVENT;
    case ContributionKind::kLongTerm:
      return v1::Contribution::KIND_LONG_TERM;
    case ContributionKind::kContext:
      return v1::Contribution::KIND_CONTEXT;
    case ContributionKind::kItemBias:
      return v1::Contribution::KIND_ITEM_BIAS;
    case ContributionKind::kPopularity:
      return v1::Contribution::KIND_POPULARITY;
  }
  return v1::Contribution::KIND_UNSPECIFIED;
}

void Set(std::string* field, std::string_view text) { field->assign(text.data(), text.size()); }

}  // namespace

bool FillMetadata(const CatalogView& view, uint32_t row, v1::ScoredItem* item) {
  const std::string_view title = view.Title(row);
  const std::span<const uint32_t> categories = view.CategoriesOf(row);
  if (title.empty() && categories.empty()) return false;
  v1::ItemMetadata* metadata = item->mutable_metadata();
  Set(metadata->mutable_title(), title);
  for (const uint32_t category : categories) Set(metadata->add_categories(), view.CategoryName(category));
  return true;
}

void AppendItems(const CatalogView& view, const EventTypeTable& event_types,
                 const Recommendation& recommendation, std::span<const HistoryEvent> history,
                 const ItemFormat& format, google::protobuf::RepeatedPtrField<v1::ScoredItem>* items) {
  const v1::Source source = ToProto(recommendation.source);
  items->Reserve(static_cast<int>(recommendation.items.size()));
  for (const RecommendedItem& from : recommendation.items) {
    v1::ScoredItem* to = items->Add();
    Set(to->mutable_item_id(), view.ItemId(from.row));
    to->set_score(from.score);
    if (format.include_source) to->set_source(source);
    if (format.include_metadata) FillMetadata(view, from.row, to);
    if (!format.explain) continue;
    for (const Contribution& term : recommendation.ExplanationOf(from)) {
      v1::Contribution* out = to->add_explanation();
      out->set_kind(ToProto(term.kind));
      out->set_weight(term.weight);
      out->set_score(term.score);
      if (term.kind == ContributionKind::kEvent || term.kind == ContributionKind::kContext) {
        Set(out->mutable_item_id(), view.ItemId(term.row));
        if (format.include_metadata) Set(out->mutable_item_title(), view.Title(term.row));
      }
      if (term.kind == ContributionKind::kEvent) {
        const HistoryEvent& event = history[term.history_index];
        if (const EventType* type = event_types.FindById(event.type); type != nullptr) {
          out->set_event_type(type->name);
        }
        out->set_event_timestamp_ms(event.timestamp_ms);
      }
    }
  }
}

void SetNewRequestId(std::string* id) {
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  id->resize(16);
  uint64_t bits = random();
  for (char& digit : *id) {
    digit = "0123456789abcdef"[bits & 15];
    bits >>= 4;
  }
}

}  // namespace swiftlet
