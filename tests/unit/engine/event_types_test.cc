#include "engine/event_types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

TEST(EventTypeTable, DefaultIsValidAndNeverChangesItsIds) {
  const EventTypeTable table = EventTypeTable::Default();
  const absl::StatusOr<EventTypeTable> again =
      EventTypeTable::Create({table.types().begin(), table.types().end()});
  ASSERT_TRUE(again.ok()) << again.status();
  const std::vector<std::string> names = {"view",    "click", "like", "cart",  "purchase", "rating",
                                          "dislike", "play",  "skip", "share", "save",     "search"};
  ASSERT_EQ(table.types().size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    const EventType* type = table.FindByName(names[i]);
    ASSERT_NE(type, nullptr) << names[i];
    EXPECT_EQ(type->id, i + 1);
    EXPECT_EQ(table.FindById(type->id), type);
  }
  EXPECT_LT(table.FindByName("dislike")->weight, 0);
  EXPECT_LT(table.FindByName("skip")->weight, 0);
}

TEST(EventTypeTable, UnknownNamesAndIdsAreNull) {
  const EventTypeTable table = EventTypeTable::Default();
  EXPECT_EQ(table.FindByName(""), nullptr);
  EXPECT_EQ(table.FindByName("View"), nullptr);
  EXPECT_EQ(table.FindById(0), nullptr);
  EXPECT_EQ(table.FindById(255), nullptr);
}

TEST(EventTypeTable, TypesComeInOrderOfId) {
  const auto table = EventTypeTable::Create({{200, "b", 1}, {3, "a", -2}});
  ASSERT_TRUE(table.ok());
  EXPECT_EQ(table->types()[0].id, 3);
  EXPECT_EQ(table->types()[1].id, 200);
}

TEST(EventTypeTable, WhatIsWrongIsNamed) {
  const auto message = [](std::vector<EventType> types) {
    const absl::Status status = EventTypeTable::Create(std::move(types)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message({}), HasSubstr("empty"));
  EXPECT_THAT(message({{0, "zero", 1}}), HasSubstr("zero"));
  EXPECT_THAT(message({{7, "a", 1}, {7, "b", 1}}), HasSubstr("id 7"));
  EXPECT_THAT(message({{7, "same", 1}, {8, "same", 1}}), HasSubstr("\"same\""));
  EXPECT_THAT(message({{7, "", 1}}), HasSubstr("7"));
  EXPECT_THAT(message({{7, "Upper", 1}}), HasSubstr("Upper"));
  EXPECT_THAT(message({{7, "a b", 1}}), HasSubstr("a b"));
  // Names are shown on one line.
  EXPECT_THAT(message({{7, "a\nb", 1}}), HasSubstr("\"a\\nb\""));
  EXPECT_THAT(message({{0, "a\rb", 1}}), HasSubstr("\"a\\rb\""));
  EXPECT_THAT(message({{7, std::string(33, 'x'), 1}}), HasSubstr("xxx"));
  for (const float weight : {0.0f, 101.0f, -101.0f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    EXPECT_THAT(message({{7, "heavy", weight}}), HasSubstr("heavy"));
  }
  EXPECT_TRUE(EventTypeTable::Create({{255, std::string(32, 'x'), -100}}).ok());
}

}  // namespace
}  // namespace swiftlet
