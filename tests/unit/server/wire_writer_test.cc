#include "server/wire_writer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

#include "swiftlet/v1/recommendation.pb.h"

namespace swiftlet {
namespace {

TEST(WireWriterTest, NothingIsAnEmptyMessage) {
  WireWriter writer;
  EXPECT_EQ(writer.bytes(), "");
  writer.AddVarint(1, 0);
  writer.AddFloat(2, 0);
  writer.AddString(3, "");
  EXPECT_EQ(writer.bytes(), "") << "defaults are left out";
}

TEST(WireWriterTest, WritesIntegersAsProtobufDoes) {
  for (const int64_t value :
       {int64_t{1}, int64_t{127}, int64_t{128}, int64_t{16383}, int64_t{16384}, int64_t{1} << 34,
        (int64_t{1} << 35) - 1, int64_t{1'700'000'000'000}, std::numeric_limits<int64_t>::max(), int64_t{-1},
        std::numeric_limits<int64_t>::min()}) {
    v1::RecommendResponse message;
    message.set_snapshot_version(value);
    WireWriter writer;
    writer.AddVarint(v1::RecommendResponse::kSnapshotVersionFieldNumber, static_cast<uint64_t>(value));
    EXPECT_EQ(writer.bytes(), message.SerializeAsString()) << value;
  }
}

TEST(WireWriterTest, WritesFloatsAsProtobufDoes) {
  for (const float value : {1.f, -1.f, -0.f, .1f, std::numeric_limits<float>::denorm_min(),
                            std::numeric_limits<float>::max(), -std::numeric_limits<float>::infinity()}) {
    v1::ScoredItem message;
    message.set_score(value);
    WireWriter writer;
    writer.AddFloat(v1::ScoredItem::kScoreFieldNumber, value);
    EXPECT_EQ(writer.bytes(), message.SerializeAsString()) << value;
  }
}

TEST(WireWriterTest, WritesFieldsOfLargeNumbers) {
  WireWriter writer;
  writer.AddVarint(300, 1);
  EXPECT_EQ(writer.bytes(), std::string("\xe0\x12\x01"));
}

// Lengths of one byte and more, and memory that has to grow in between, at every level.
TEST(WireWriterTest, WritesNestedMessagesAsProtobufDoes) {
  WireWriter writer;
  for (const size_t length : {size_t{0}, size_t{1}, size_t{100}, size_t{127}, size_t{128}, size_t{5000},
                              size_t{20'000}, size_t{3'000'000}, size_t{10}}) {
    v1::RecommendResponse message;
    for (int i = 0; i < 3; ++i) {
      v1::ScoredItem* item = message.add_items();
      item->set_item_id(std::string(length, static_cast<char>('a' + i)));
      item->mutable_metadata()->add_categories("");
      item->mutable_metadata()->add_categories(std::string(length, 'c'));
    }
    message.add_items();  // empty
    writer.Clear();
    writer.EndMessage(v1::RecommendResponse::kItemsFieldNumber, writer.size());
    for (int i = 3; i-- > 0;) {
      const v1::ScoredItem& item = message.items(i);
      const size_t before_item = writer.size();
      const size_t before_metadata = writer.size();
      writer.AddElement(v1::ItemMetadata::kCategoriesFieldNumber, item.metadata().categories(1));
      writer.AddElement(v1::ItemMetadata::kCategoriesFieldNumber, item.metadata().categories(0));
      writer.EndMessage(v1::ScoredItem::kMetadataFieldNumber, before_metadata);
      writer.AddString(v1::ScoredItem::kItemIdFieldNumber, item.item_id());
      writer.EndMessage(v1::RecommendResponse::kItemsFieldNumber, before_item);
    }
    EXPECT_TRUE(writer.bytes() == message.SerializeAsString()) << length;
  }
}

TEST(WireWriterTest, KeepsItsMemoryUpToABound) {
  WireWriter writer;
  writer.AddString(1, std::string(10'000, 'x'));
  const size_t capacity = writer.capacity();
  EXPECT_GE(capacity, 10'000u);
  writer.Clear();
  EXPECT_EQ(writer.bytes(), "");
  EXPECT_EQ(writer.capacity(), capacity);
  writer.AddString(1, std::string(WireWriter::kMaxKept, 'x'));
  EXPECT_GT(writer.capacity(), WireWriter::kMaxKept);
  writer.Clear();
  EXPECT_EQ(writer.capacity(), 0u);
  writer.AddString(1, "y");
  EXPECT_EQ(writer.bytes(), std::string("\x0a\x01y"));
}

}  // namespace
}  // namespace swiftlet
