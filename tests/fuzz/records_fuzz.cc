// What storage keeps: every decoder, and the operator that merges histories. Input: a byte that picks one,
// then the bytes of the record (for the merge: parts, each after its length).
#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "storage/history_merge_operator.h"
#include "storage/records.h"
#include "tests/fuzz/fuzz_target.h"

namespace swiftlet::fuzz {
namespace {

enum Kind : uint8_t { kHistory, kEvent, kItem, kEventTypes, kErasure, kUserVectors, kMerge, kNumKinds };

std::string Seed(Kind kind, std::string_view bytes) {
  std::string seed;
  Put<uint8_t>(kind, &seed);
  seed.append(bytes);
  return seed;
}

void CheckError(const absl::Status& status) {
  FUZZ_CHECK(absl::IsDataLoss(status) && !status.message().empty(), status.ToString());
}

std::string_view Encoded(const HistoryEvent* events, size_t n, std::string* buffer) {
  *buffer = EncodeHistory({events, n});
  return *buffer;
}

// The documented properties of a merge.
void CheckMerge(InputReader input) {
  const uint32_t max_events = 1 + input.Take<uint8_t>() % 16;
  std::vector<std::string_view> parts;
  bool whole = true;
  while (!input.empty() && parts.size() < 64) {
    parts.push_back(input.TakeBytes(input.Take<uint8_t>()));
    whole = whole && IsEncodedHistory(parts.back());
  }
  std::string merged;
  MergeHistories(parts, max_events, &merged);
  std::vector<HistoryEvent> events;
  const absl::Status status = DecodeHistory(merged, &events);
  FUZZ_CHECK(status.ok() == whole, status.ToString());
  if (!whole) return CheckError(status);
  FUZZ_CHECK(events.size() <= max_events, absl::StrCat(events.size()));
  std::vector<HistoryEvent> all;
  for (const std::string_view part : parts) FUZZ_CHECK(DecodeHistory(part, &all).ok(), "a part");
  FUZZ_CHECK(events.size() == std::min<size_t>(all.size(), max_events), absl::StrCat(all.size()));
  std::stable_sort(all.begin(), all.end(), [](const HistoryEvent& a, const HistoryEvent& b) {
    return a.timestamp_ms < b.timestamp_ms;
  });
  const std::span<const HistoryEvent> newest = std::span(all).last(events.size());
  // Byte by byte: a value may be NaN.
  std::string expected;
  FUZZ_CHECK(Encoded(newest.data(), newest.size(), &expected) == merged, "the newest, by time, then arrival");
  // Any grouping gives the same.
  if (parts.size() < 3) return;
  const std::span<const std::string_view> view = parts;
  std::string left;
  MergeHistories(view.first(parts.size() / 2), max_events, &left);
  std::vector<std::string_view> grouped = {left};
  grouped.insert(grouped.end(), parts.begin() + static_cast<ptrdiff_t>(parts.size() / 2), parts.end());
  std::string regrouped;
  MergeHistories(grouped, max_events, &regrouped);
  FUZZ_CHECK(regrouped == merged, "grouping");
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<HistoryEvent> events;
  for (int i = 0; i < 5; ++i) {
    events.push_back({.item_key = uint64_t{0x0123456789ABCDEF} * static_cast<uint64_t>(i),
                      .timestamp_ms = 1'700'000'000'000 + i % 3,
                      .value = 0.5f * static_cast<float>(i),
                      .type = static_cast<EventTypeId>(i + 1)});
  }
  CatalogItem item;
  item.item_id = "item-1";
  item.title = "A title";
  item.has_metadata = true;
  item.categories = {"Drama", "\xC3\x84rger", ""};
  item.vector = {1.0f, -2.5f, 0.0f};
  item.space = "space-1";
  CatalogItem deleted;
  deleted.item_id = "gone";
  deleted.deleted = true;
  const auto types = EventTypeTable::Default();
  std::string merge(1, '\x02');
  for (size_t i = 0; i < events.size(); ++i) {
    const std::string part = EncodeHistory({&events[i], std::min<size_t>(2, events.size() - i)});
    merge.push_back(static_cast<char>(part.size()));
    merge.append(part);
  }
  return {Seed(kHistory, EncodeHistory(events)),
          Seed(kHistory, EncodeHistory({})),
          Seed(kEvent, EncodeEventRecord(1'700'000'000'000, {.user_id = "u",
                                                             .item_id = "i",
                                                             .event_id = "e",
                                                             .timestamp_ms = 1'600'000'000'000,
                                                             .value = 4.5f,
                                                             .type = 6})),
          Seed(kItem, EncodeCatalogItem(item)),
          Seed(kItem, EncodeCatalogItem(deleted)),
          Seed(kEventTypes, EncodeEventTypes(types.types())),
          Seed(kErasure, EncodeErasure({.erased_ms = 1'700'000'000'000, .arrival = 77})),
          Seed(kUserVectors, EncodeUserVectors({.dim = 64, .trained_through_ms = 5, .fingerprint = 6})),
          Seed(kMerge, merge)};
}

}  // namespace swiftlet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;        // NOLINT(google-build-using-namespace): an extern "C" function
  using namespace swiftlet::fuzz;  // NOLINT(google-build-using-namespace)
  InputReader input(data, size);
  const auto kind = static_cast<Kind>(input.Take<uint8_t>() % kNumKinds);
  const std::string_view bytes = input.TakeRest();
  // Whatever a decoder accepts, its encoder writes again, byte by byte.
  absl::Status status;
  std::string encoded;
  switch (kind) {
    case kHistory: {
      std::vector<HistoryEvent> events;
      status = DecodeHistory(bytes, &events);
      encoded = EncodeHistory(events);
      break;
    }
    case kEvent: {
      int64_t arrival_ms = 0;
      EventRecord event;
      status = DecodeEventRecord(bytes, &arrival_ms, &event);
      encoded = EncodeEventRecord(arrival_ms, event);
      break;
    }
    case kItem: {
      CatalogItem item;
      status = DecodeCatalogItem(bytes, &item);
      encoded = EncodeCatalogItem(item);
      break;
    }
    case kEventTypes: {
      const absl::StatusOr<EventTypeTable> table = DecodeEventTypes(bytes);
      status = table.status();
      if (!table.ok()) break;
      // The table is in order of id, the bytes may not be.
      encoded = EncodeEventTypes(table->types());
      FUZZ_CHECK(encoded.size() == bytes.size(), "event types");
      const absl::StatusOr<EventTypeTable> again = DecodeEventTypes(encoded);
      FUZZ_CHECK(again.ok() && EncodeEventTypes(again->types()) == encoded, "event types");
      return 0;
    }
    case kErasure: {
      ErasureRecord record;
      status = DecodeErasure(bytes, &record);
      encoded = EncodeErasure(record);
      break;
    }
    case kUserVectors: {
      UserVectorsRecord record;
      status = DecodeUserVectors(bytes, &record);
      encoded = EncodeUserVectors(record);
      break;
    }
    case kMerge:
      CheckMerge(InputReader(data + std::min<size_t>(1, size), size - std::min<size_t>(1, size)));
      return 0;
    case kNumKinds:
      return 0;
  }
  if (status.ok()) {
    FUZZ_CHECK(encoded == bytes, absl::StrCat("kind ", int{kind}));
  } else {
    CheckError(status);
  }
  return 0;
}
