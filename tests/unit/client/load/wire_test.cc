#include "client/load/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "swiftlet/v1/catalog.pb.h"
#include "swiftlet/v1/event.pb.h"
#include "swiftlet/v1/recommendation.pb.h"

namespace swiftlet::load {
namespace {

TEST(WireTest, RequestsAreThoseOfTheGeneratedCode) {
  std::string bytes;
  v1::RecommendRequest recommend;
  recommend.set_user_id("u42");
  recommend.set_k(300);
  AppendRecommend("u42", 300, bytes);
  EXPECT_EQ(bytes, recommend.SerializeAsString());

  std::string history;
  for (int i = 0; i < 30; ++i) {
    const std::string item = absl::StrCat("item-", i, std::string(static_cast<size_t>(i) * 8, 'x'));
    v1::Event& event = *recommend.mutable_history()->add_events();
    event.set_item_id(item);
    event.set_type("view");
    AppendInlineEvent(item, "view", history);
  }
  bytes.clear();
  AppendRecommendInline(history, 300, bytes);
  EXPECT_EQ(bytes, recommend.SerializeAsString());

  v1::SimilarItemsRequest similar;
  similar.set_item_id("i7");
  similar.set_k(10);
  bytes.clear();
  AppendSimilar("i7", 10, bytes);
  EXPECT_EQ(bytes, similar.SerializeAsString());

  v1::RecordEventsRequest events;
  bytes.clear();
  for (const int64_t time : {int64_t{0}, int64_t{1'700'000'000'000}}) {
    for (const std::string id : {"", "event-1"}) {
      v1::Event& event = *events.add_events();
      event.set_user_id(std::string(200, 'u'));
      event.set_item_id("i");
      event.set_type("click");
      event.set_timestamp_ms(time);
      event.set_event_id(id);
      AppendEvent(event.user_id(), "i", "click", time, id, bytes);
    }
  }
  EXPECT_EQ(bytes, events.SerializeAsString());

  v1::UpsertItemsRequest upsert;
  bytes.clear();
  for (const size_t dim : {0, 3, 64}) {
    v1::Item& item = *upsert.add_items();
    item.set_item_id(absl::StrCat("new-", dim));
    for (size_t d = 0; d < dim; ++d) item.add_vector(0.25f * static_cast<float>(d));
    AppendItem(item.item_id(), {item.vector().data(), dim}, bytes);
  }
  EXPECT_EQ(bytes, upsert.SerializeAsString());
}

v1::RecommendResponse Answer() {
  v1::RecommendResponse response;
  for (int i = 0; i < 12; ++i) {
    v1::ScoredItem& item = *response.add_items();
    item.set_item_id(absl::StrCat("item-", i));
    item.set_score(1.0f / static_cast<float>(i + 1));
    item.set_source(v1::SOURCE_HISTORY);
    item.add_explanation()->set_item_id("not this one");
  }
  response.set_snapshot_version(1234567890123);
  response.set_request_id("request");
  response.set_num_history_events_used(50);
  response.set_proven_exact(true);
  return response;
}

TEST(WireTest, ReadsAnswers) {
  const v1::RecommendResponse response = Answer();
  const std::string bytes = response.SerializeAsString();
  RankedAnswer answer;
  ASSERT_TRUE(ParseRanked(bytes, answer));
  EXPECT_EQ(answer.snapshot_version, 1234567890123);
  ASSERT_EQ(answer.item_ids.size(), 12u);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(answer.item_ids[i], response.items(i).item_id());
  // Nothing of the answer before is left.
  ASSERT_TRUE(ParseRanked("", answer));
  EXPECT_TRUE(answer.item_ids.empty());
  EXPECT_EQ(answer.snapshot_version, 0);

  v1::RecordEventsResponse recorded;
  recorded.set_num_recorded(64);
  recorded.set_num_duplicates(3);
  CountAnswer counts;
  ASSERT_TRUE(ParseCounts(recorded.SerializeAsString(), counts));
  EXPECT_EQ(counts.first, 64);
  EXPECT_EQ(counts.second, 3);
}

TEST(WireTest, BytesThatAreNoMessageAreRefusedOrReadWithoutHarm) {
  const std::string bytes = Answer().SerializeAsString();
  RankedAnswer answer;
  for (size_t size = 0; size < bytes.size(); ++size) {
    // A copy, so that a read beyond the end is seen by a sanitizer.
    const std::string cut = bytes.substr(0, size);
    if (ParseRanked(cut, answer)) {
      v1::RecommendResponse response;
      EXPECT_TRUE(response.ParseFromString(cut)) << size;
    }
  }
  EXPECT_FALSE(ParseRanked("\x0a\x7f", answer));                                // longer than what is there
  EXPECT_FALSE(ParseRanked("\x0b", answer));                                    // a group
  EXPECT_FALSE(ParseRanked(std::string(20, static_cast<char>(0xff)), answer));  // a number without end
}

}  // namespace
}  // namespace swiftlet::load
