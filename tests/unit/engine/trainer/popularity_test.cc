#include "engine/trainer/popularity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;
using trainer_testing::kRating;

TEST(TrendingPopularityTest, AnEventCountsHalfAfterEachHalfLife) {
  const EventTypeTable types = EventTypeTable::Default();
  const EventType* const dislike = types.FindByName("dislike");
  ASSERT_NE(dislike, nullptr);
  DatasetBuilder builder(types);
  for (int u = 0; u < 4; ++u) builder.AddEvent("u" + std::to_string(u), "old", kRating, 5, 1000);
  builder.AddEvent("u0", "new", kRating, 5, 4000);
  builder.AddEvent("u1", "new", kRating, 5, 2500);
  builder.AddEvent("u2", "new", dislike->id, 0, 4000);
  builder.AddEvent("u3", "shunned", dislike->id, 0, 4000);
  const Dataset data = *builder.Build();
  // Items in byte order: new, old, shunned.
  EXPECT_THAT(TrendingPopularity(data, 1500), ElementsAre(FloatEq(1.5f), FloatEq(1.0f), 0));
  EXPECT_THAT(TrendingPopularity(data, std::numeric_limits<double>::infinity()), ElementsAre(2, 4, 0));
}

}  // namespace
}  // namespace swiftlet
