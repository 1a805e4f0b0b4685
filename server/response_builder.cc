#include "server/response_builder.h"

#include <cstdint>
#include <random>
#include <string_view>

#include "swiftlet/v1/recommendation.pb.h"

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
    case ContributionKind::kHistory:
      return v1::Contribution::KIND_HISTORY;
  }
  return v1::Contribution::KIND_UNSPECIFIED;
}

void AddContribution(const CatalogView& view, const EventTypeTable& event_types,
                     std::span<const HistoryEvent> history, const Contribution& term, bool include_metadata,
                     WireWriter* writer) {
  using Message = v1::Contribution;
  const bool of_item = term.kind == ContributionKind::kEvent || term.kind == ContributionKind::kContext;
  const size_t before = writer->size();
  if (of_item && include_metadata) writer->AddString(Message::kItemTitleFieldNumber, view.Title(term.row));
  writer->AddFloat(Message::kScoreFieldNumber, term.score);
  writer->AddFloat(Message::kWeightFieldNumber, term.weight);
  if (term.kind == ContributionKind::kEvent) {
    const HistoryEvent& event = history[term.history_index];
    writer->AddVarint(Message::kEventTimestampMsFieldNumber, static_cast<uint64_t>(event.timestamp_ms));
    if (const EventType* type = event_types.FindById(event.type); type != nullptr) {
      writer->AddString(Message::kEventTypeFieldNumber, type->name);
    }
  }
  if (of_item) writer->AddString(Message::kItemIdFieldNumber, view.ItemId(term.row));
  writer->AddVarint(Message::kKindFieldNumber, ToProto(term.kind));
  writer->EndMessage(v1::ScoredItem::kExplanationFieldNumber, before);
}

}  // namespace

void AddMetadata(const CatalogView& view, uint32_t row, int field, WireWriter* writer) {
  const std::string_view title = view.Title(row);
  const std::span<const uint32_t> categories = view.CategoriesOf(row);
  if (title.empty() && categories.empty()) return;
  const size_t before = writer->size();
  for (size_t i = categories.size(); i-- > 0;) {
    writer->AddElement(v1::ItemMetadata::kCategoriesFieldNumber, view.CategoryName(categories[i]));
  }
  writer->AddString(v1::ItemMetadata::kTitleFieldNumber, title);
  writer->EndMessage(field, before);
}

void AddItems(const CatalogView& view, const EventTypeTable& event_types,
              const Recommendation& recommendation, std::span<const HistoryEvent> history,
              const ItemFormat& format, int field, WireWriter* writer) {
  const v1::Source source = ToProto(recommendation.source);
  // From the last to the first, as the writer writes.
  for (size_t i = recommendation.items.size(); i-- > 0;) {
    const RecommendedItem& item = recommendation.items[i];
    const size_t before = writer->size();
    if (format.include_metadata) AddMetadata(view, item.row, v1::ScoredItem::kMetadataFieldNumber, writer);
    if (format.explain) {
      const std::span<const Contribution> terms = recommendation.ExplanationOf(item);
      for (size_t t = terms.size(); t-- > 0;) {
        AddContribution(view, event_types, history, terms[t], format.include_metadata, writer);
      }
    }
    if (format.include_source) writer->AddVarint(v1::ScoredItem::kSourceFieldNumber, source);
    writer->AddFloat(v1::ScoredItem::kScoreFieldNumber, item.score);
    writer->AddString(v1::ScoredItem::kItemIdFieldNumber, view.ItemId(item.row));
    writer->EndMessage(field, before);
  }
}

std::array<char, 16> NewRequestId() {
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  std::array<char, 16> id;
  uint64_t bits = random();
  for (char& digit : id) {
    digit = "0123456789abcdef"[bits & 15];
    bits >>= 4;
  }
  return id;
}

}  // namespace swiftlet
