#include "storage/records.h"

#include <cmath>
#include <random>

#include "storage/coding.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::Item;

CatalogItem FullItem() {
  return {.item_id = "film-1",
          .deleted = true,
          .has_metadata = true,
          .title = "Le Fabuleux Destin d'Amélie",
          .categories = {"Comedy", "", "Romance"},
          .attributes = {{"director", "Jean-Pierre Jeunet"}, {"year", "2001"}},
          .content_vectors = {{"text", {0.5f, -1.0f}}, {"image", {}}},
          .vector = {1.5f, -2.0f, 0.0f},
          .space = "space-7"};
}

void ExpectSame(const CatalogItem& a, const CatalogItem& b) {
  EXPECT_EQ(a.item_id, b.item_id);
  EXPECT_EQ(a.deleted, b.deleted);
  EXPECT_EQ(a.has_metadata, b.has_metadata);
  EXPECT_EQ(a.title, b.title);
  EXPECT_EQ(a.categories, b.categories);
  EXPECT_EQ(a.attributes, b.attributes);
  EXPECT_EQ(a.content_vectors, b.content_vectors);
  EXPECT_EQ(a.vector, b.vector);
  EXPECT_EQ(a.space, b.space);
}

TEST(RecordsTest, WhatIsEncodedComesBack) {
  const std::vector<HistoryEvent> history = {{1, 10, 4.5f, 6}, {UINT64_MAX, 11, -1.0f, 255}};
  std::vector<HistoryEvent> decoded;
  ASSERT_OK(DecodeHistory(EncodeHistory(history), &decoded));
  EXPECT_EQ(decoded, history);
  EXPECT_EQ(EncodeHistory(history).size(), 1 + 2 * 21);
  ASSERT_OK(DecodeHistory(EncodeHistory(history), &decoded));
  EXPECT_EQ(decoded.size(), 4) << "decoding appends";

  const EventRecord event = Event("user", "item", 123, "id", 2.5f, 9);
  EventRecord read;
  int64_t arrival_ms = 0;
  ASSERT_OK(DecodeEventRecord(EncodeEventRecord(77, event), &arrival_ms, &read));
  EXPECT_EQ(arrival_ms, 77);
  EXPECT_EQ(read, event);

  CatalogItem item;
  ASSERT_OK(DecodeCatalogItem(EncodeCatalogItem(FullItem()), &item));
  ExpectSame(item, FullItem());
  ASSERT_OK(DecodeCatalogItem(EncodeCatalogItem(Item("x")), &item));
  ExpectSame(item, Item("x"));

  const EventTypeTable types = EventTypeTable::Default();
  const auto table = DecodeEventTypes(EncodeEventTypes(types.types()));
  ASSERT_OK(table.status());
  EXPECT_TRUE(
      std::equal(table->types().begin(), table->types().end(), types.types().begin(), types.types().end()));
}

TEST(RecordsTest, KeysSortLikeNumbers) {
  const std::vector<uint64_t> numbers = {0, 1, 255, 256, 0x0102030405060708, UINT64_MAX - 1, UINT64_MAX};
  for (size_t i = 0; i < numbers.size(); ++i) {
    uint64_t back = 1;
    ASSERT_TRUE(DecodeKey64(EncodeKey64(numbers[i]), &back));
    EXPECT_EQ(back, numbers[i]);
    if (i > 0) {
      EXPECT_LT(EncodeKey64(numbers[i - 1]), EncodeKey64(numbers[i]));
    }
  }
  uint64_t value;
  EXPECT_FALSE(DecodeKey64("1234567", &value));
}

// Every decoder on every cut and on random damage: it may succeed (a changed letter of a title is a title),
// but it must not read outside the bytes (AddressSanitizer watches) and must refuse what is cut short or too
// long.
TEST(RecordsTest, DamagedBytesAreRefusedAndNeverReadOutside) {
  struct Case {
    std::string bytes;
    std::function<absl::Status(std::string_view)> decode;
    bool any_multiple = false;  // a shorter one may be a valid record too
  };
  const std::vector<Case> cases = {
      {EncodeHistory(std::vector<HistoryEvent>(3)),
       [](std::string_view b) {
         std::vector<HistoryEvent> out;
         return DecodeHistory(b, &out);
       },
       true},
      {EncodeEventRecord(1, Event("user", "item", 2, "id")),
       [](std::string_view b) {
         EventRecord out;
         int64_t ms;
         return DecodeEventRecord(b, &ms, &out);
       }},
      {EncodeCatalogItem(FullItem()),
       [](std::string_view b) {
         CatalogItem out;
         return DecodeCatalogItem(b, &out);
       }},
      {EncodeEventTypes(EventTypeTable::Default().types()),
       [](std::string_view b) { return DecodeEventTypes(b).status(); }},
      {EncodeErasure({.erased_ms = 5, .arrival = 6}),
       [](std::string_view b) {
         ErasureRecord out;
         return DecodeErasure(b, &out);
       }},
      {EncodeUserVectors({.dim = 4, .trained_through_ms = 5, .fingerprint = 6}), [](std::string_view b) {
         UserVectorsRecord out;
         return DecodeUserVectors(b, &out);
       }}};
  std::mt19937 rng(7);
  for (size_t c = 0; c < cases.size(); ++c) {
    SCOPED_TRACE(c);
    const auto& [bytes, decode, any_multiple] = cases[c];
    ASSERT_OK(decode(bytes));
    for (size_t n = 0; n < bytes.size(); ++n) {
      const std::vector<char> exact(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
      const absl::Status status = decode({exact.data(), exact.size()});
      if (any_multiple && n % 21 == 1) continue;
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << "cut to " << n;
    }
    EXPECT_EQ(decode(bytes + "x").code(), absl::StatusCode::kDataLoss);
    for (int round = 0; round < 3000; ++round) {
      std::vector<char> damaged(bytes.begin(), bytes.end());
      for (int flips = 0; flips < 1 + round % 4; ++flips) {
        damaged[rng() % damaged.size()] = static_cast<char>(rng() % 3 == 0 ? 0xFF : rng());
      }
      const absl::Status status = decode({damaged.data(), damaged.size()});
      EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kDataLoss) << status;
    }
  }
}

}  // namespace
}  // namespace swiftlet
