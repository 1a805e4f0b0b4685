#include "server/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

namespace swiftlet {
namespace {

constexpr int64_t kNow = 1'700'000'000'000;
constexpr int64_t kDay = 86'400'000;

class ValidationTest : public ::testing::Test {
 protected:
  std::string MessageOf(const absl::Status& status) {
    if (status.ok()) return "OK";
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  }
  v1::RecommendRequest Request() {
    v1::RecommendRequest request;
    request.set_user_id("u");
    request.set_k(1);
    return request;
  }
  v1::RecordEventsRequest Events(const std::string& item, int64_t timestamp_ms, float value) {
    v1::RecordEventsRequest request;
    v1::Event* event = request.add_events();
    event->set_user_id("u");
    event->set_item_id(item);
    event->set_type("view");
    event->set_timestamp_ms(timestamp_ms);
    event->set_value(value);
    return request;
  }

  const RequestValidator validator_{{.max_k = 50, .max_history_events = 10, .max_batch_size = 3},
                                    EventTypeTable::Default()};
};

TEST_F(ValidationTest, KIsWithinTheLimitOfTheConfiguration) {
  v1::RecommendRequest request = Request();
  for (const int k : {1, 50}) {
    request.set_k(k);
    EXPECT_TRUE(validator_.Check(request, kNow).ok()) << k;
  }
  for (const int k : {0, -1, 51, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    request.set_k(k);
    EXPECT_EQ(MessageOf(validator_.Check(request, kNow)), "k: " + std::to_string(k) + " is not in [1, 50]");
  }
}

TEST_F(ValidationTest, SearchesHaveAKnownModeAndNoNegativeBudget) {
  v1::RecommendRequest request = Request();
  v1::SimilarItemsRequest similar;
  similar.set_item_id("i");
  similar.set_k(1);
  const auto expect = [&](const std::string& message) {
    EXPECT_EQ(MessageOf(validator_.Check(request, kNow)), message);
    *similar.mutable_search() = request.search();
    EXPECT_EQ(MessageOf(validator_.Check(similar)), message);
  };
  request.mutable_search()->set_mode(v1::Search::MODE_APPROXIMATE);
  request.mutable_search()->set_budget_rows(1);
  request.mutable_search()->set_budget_us(std::numeric_limits<int32_t>::max());
  expect("OK");
  request.mutable_search()->set_budget_us(-1);
  expect("search.budget_us: -1 is negative");
  request.mutable_search()->set_budget_rows(-7);
  expect("search.budget_rows: -7 is negative");
  request.mutable_search()->set_mode(static_cast<v1::Search::Mode>(9));
  expect("search.mode: 9 is not a mode");
}

TEST_F(ValidationTest, IdsHave1To256BytesOfUtf8) {
  for (const std::string& id : {std::string("x"), std::string(256, 'x'), std::string("\xe2\x82\xac")}) {
    v1::RecommendRequest request = Request();
    request.set_user_id(id);
    EXPECT_TRUE(validator_.Check(request, kNow).ok()) << id;
  }
  for (const std::string& id :
       {std::string(), std::string(257, 'x'), std::string("\xff"), std::string("a\0", 2)}) {
    v1::RecommendRequest request = Request();
    request.set_user_id(id);
    EXPECT_THAT(MessageOf(validator_.Check(request, kNow)), ::testing::HasSubstr("user_id: \"")) << id;
  }
}

TEST_F(ValidationTest, TimestampsReachADayAhead) {
  EXPECT_TRUE(validator_.Check(Events("i", 0, 0), kNow).ok());
  EXPECT_TRUE(validator_.Check(Events("i", 1, 0), kNow).ok());
  EXPECT_TRUE(validator_.Check(Events("i", kNow + kDay, 0), kNow).ok());
  EXPECT_THAT(MessageOf(validator_.Check(Events("i", kNow + kDay + 1, 0), kNow)),
              ::testing::HasSubstr("events[0].timestamp_ms: 1700086400001 is more than a day ahead"));
  EXPECT_THAT(MessageOf(validator_.Check(Events("i", std::numeric_limits<int64_t>::min(), 0), kNow)),
              ::testing::HasSubstr("is negative"));
}

TEST_F(ValidationTest, BatchesAreBounded) {
  v1::RecordEventsRequest request = Events("i", 0, 0);
  while (request.events_size() < 3) *request.add_events() = request.events(0);
  EXPECT_TRUE(validator_.Check(request, kNow).ok());
  *request.add_events() = request.events(0);
  EXPECT_EQ(MessageOf(validator_.Check(request, kNow)), "events: 4 entries, 1 to 3 are allowed");
  EXPECT_EQ(MessageOf(validator_.Check(v1::DeleteItemsRequest())), "item_ids: 0 entries, 1 to 3 are allowed");
}

TEST_F(ValidationTest, VectorsHoldNumbersThatScoresCanHold) {
  auto check = [&](float value) {
    v1::UpsertItemsRequest request;
    request.add_items()->set_item_id("good");
    v1::Item* item = request.add_items();
    item->set_item_id("item");
    item->add_vector(0.5f);
    item->add_vector(value);
    return MessageOf(validator_.Check(request));
  };
  for (const float good : {0.0f, -0.0f, 1e6f, -1e6f, 1e-40f}) EXPECT_EQ(check(good), "OK") << good;
  EXPECT_EQ(check(3e38f), "items[1].vector[1]: 3e+38 is not in [-1e6, 1e6]");
  EXPECT_EQ(check(-1000001), "items[1].vector[1]: -1e+06 is not in [-1e6, 1e6]");
  EXPECT_EQ(check(std::numeric_limits<float>::infinity()), "items[1].vector[1]: inf is not in [-1e6, 1e6]");
  EXPECT_EQ(check(std::numeric_limits<float>::quiet_NaN()), "items[1].vector[1]: nan is not in [-1e6, 1e6]");
}

TEST_F(ValidationTest, CategoriesAreNamesThatASnapshotTakes) {
  auto check = [&](const std::string& name) {
    v1::UpsertItemsRequest request;
    v1::Item* item = request.add_items();
    item->set_item_id("item");
    item->mutable_metadata()->add_categories(name);
    return MessageOf(validator_.Check(request));
  };
  EXPECT_EQ(check("\xC3\x84" + std::string(126, 'x')), "OK");
  EXPECT_EQ(check(""), "items[0].metadata.categories[0]: \"\" is not 1 to 128 bytes of UTF-8 without NUL");
  EXPECT_EQ(check(std::string("a\0b", 3)),
            "items[0].metadata.categories[0]: \"a\\000b\" is not 1 to 128 bytes of UTF-8 without NUL");
  EXPECT_THAT(check(std::string(129, 'x')), ::testing::HasSubstr("(129 bytes) is not 1 to 128 bytes"));
}

TEST_F(ValidationTest, ContentIsBoundedAndFinite) {
  v1::UpsertItemsRequest request;
  v1::Item* item = request.add_items();
  item->set_item_id("item");
  auto& attributes = *item->mutable_metadata()->mutable_attributes();
  attributes["year"] = std::string(1024, '1');
  v1::ContentVector* vector = item->add_content_vectors();
  vector->set_source("text");
  vector->add_values(0.5f);
  EXPECT_EQ(MessageOf(validator_.Check(request)), "OK");
  const auto message_after = [&](const std::function<void(v1::Item&)>& change) {
    v1::UpsertItemsRequest changed = request;
    change(*changed.mutable_items(0));
    return MessageOf(validator_.Check(changed));
  };
  EXPECT_THAT(message_after([](v1::Item& i) {
                (*i.mutable_metadata()->mutable_attributes())["year"] = std::string(1025, '1');
              }),
              ::testing::HasSubstr("items[0].metadata.attributes[\"year\"]: "));
  EXPECT_THAT(message_after([](v1::Item& i) { (*i.mutable_metadata()->mutable_attributes())[""] = "x"; }),
              ::testing::HasSubstr("items[0].metadata.attributes: the name"));
  EXPECT_THAT(message_after([](v1::Item& i) {
                for (int a = 0; a < 65; ++a)
                  (*i.mutable_metadata()->mutable_attributes())[std::to_string(a)] = "x";
              }),
              ::testing::HasSubstr("at most 64 are allowed"));
  EXPECT_EQ(message_after([](v1::Item& i) {
              i.mutable_content_vectors(0)->add_values(std::numeric_limits<float>::quiet_NaN());
            }),
            "items[0].content_vectors[0].values[1]: nan is not in [-1e6, 1e6]");
  EXPECT_EQ(message_after([](v1::Item& i) { i.mutable_content_vectors(0)->clear_values(); }),
            "items[0].content_vectors[0].values: 0 numbers, expected 1 to 4096");
  EXPECT_THAT(message_after([](v1::Item& i) { i.mutable_content_vectors(0)->clear_source(); }),
              ::testing::HasSubstr("items[0].content_vectors[0].source: "));
  EXPECT_THAT(message_after([](v1::Item& i) { *i.add_content_vectors() = i.content_vectors(0); }),
              ::testing::HasSubstr("items[0].content_vectors[1].source: \"text\" is there twice"));
}

TEST_F(ValidationTest, ValuesOfEventsAreAnyFiniteNumber) {
  for (const float good : {0.0f, 3e38f, -3e38f}) {
    EXPECT_TRUE(validator_.Check(Events("i", 0, good), kNow).ok()) << good;
  }
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_THAT(MessageOf(validator_.Check(Events("i", 0, bad), kNow)),
                ::testing::AllOf(::testing::HasSubstr("events[0].value: "),
                                 ::testing::HasSubstr("is not a finite number")));
  }
}

TEST_F(ValidationTest, TheUserOfAnInlineHistoryIsIgnored) {
  v1::RecommendRequest request;
  request.set_k(1);
  v1::Event* event = request.mutable_history()->add_events();
  event->set_item_id("i");
  event->set_type("view");
  event->set_user_id(std::string(1000, 'x'));
  EXPECT_TRUE(validator_.Check(request, kNow).ok());
}

}  // namespace
}  // namespace swiftlet
