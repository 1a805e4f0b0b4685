#include "engine/trainer/rating_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr EventTypeId kView = 1, kRating = 6;

// Users a and b (0 and 1), items x, y, z (0, 1, 2).
Dataset Data(const std::vector<std::tuple<std::string, std::string, EventTypeId, float, int64_t>>& events) {
  DatasetBuilder builder(EventTypeTable::Default());
  for (const auto& [user, item, type, value, time] : events) builder.AddEvent(user, item, type, value, time);
  return *builder.Build();
}

TEST(FindRatingsTest, OfSeveralRatingsOfOneItemTheLastInTimeCounts) {
  const auto ratings = FindRatings(Data({{"a", "x", kRating, 1, 50},
                                         {"a", "x", kRating, 5, 10},
                                         {"a", "y", kRating, 2, 20},
                                         {"a", "y", kRating, 4, 20},  // at the same time: by arrival
                                         {"b", "x", kRating, 3, 5},
                                         {"b", "z", kView, 9, 6}}),
                                   {});
  ASSERT_TRUE(ratings.ok()) << ratings.status();
  EXPECT_THAT(ratings->set.ratings, ElementsAre(Rating{0, 1, 4}, Rating{0, 0, 1}, Rating{1, 0, 3}));
  EXPECT_EQ(ratings->num_repeated, 2u);
  EXPECT_EQ(ratings->num_off_scale, 0u);
  EXPECT_EQ(ratings->type, kRating);
  EXPECT_EQ(ratings->set.num_users, 2u);
  EXPECT_EQ(ratings->set.num_items, 3u);
  EXPECT_EQ(ratings->set.scale, (RatingScale{1, 5}));
  EXPECT_THAT(DescribeRatings(*ratings),
              HasSubstr("3 ratings of 2 items by 2 users, from 1 to 5, mean 2.667"));
  EXPECT_THAT(DescribeRatings(*ratings), HasSubstr("2 left out"));
}

TEST(FindRatingsTest, ValuesOffTheScaleAreLeftOutAndCounted) {
  const Dataset data = Data({{"a", "x", kRating, 0, 1},
                             {"a", "y", kRating, 2, 2},
                             {"b", "x", kRating, 4, 3},
                             {"b", "x", kRating, 7, 4},  // does not replace the one before
                             {"b", "y", kRating, 5, 5}});
  const auto ratings = FindRatings(data, {.scale = RatingScale{1, 5}});
  ASSERT_TRUE(ratings.ok());
  EXPECT_THAT(ratings->set.ratings, ElementsAre(Rating{0, 1, 2}, Rating{1, 0, 4}, Rating{1, 1, 5}));
  EXPECT_EQ(ratings->num_off_scale, 2u);
  EXPECT_EQ(ratings->set.scale, (RatingScale{1, 5}));
  EXPECT_THAT(DescribeRatings(*ratings), HasSubstr("2 off the scale"));
  EXPECT_EQ(FindRatings(data, {})->set.scale, (RatingScale{0, 7}));
}

TEST(FindRatingsTest, AFewValuesFarFromAllOthersAreNamed) {
  DatasetBuilder builder(EventTypeTable::Default());
  for (int i = 0; i < 1500; ++i)
    builder.AddEvent(absl::StrCat(i), "x", kRating, static_cast<float>(1 + i % 5), 1);
  builder.AddEvent("a", "x", kRating, 99, 1);
  builder.AddEvent("b", "x", kRating, -7, 1);
  const Dataset data = *builder.Build();
  EXPECT_THAT(
      DescribeRatings(*FindRatings(data, {})),
      HasSubstr("998 of 1,000 are from 1 to 5: where the others are mistakes, give --rating-scale 1:5"));
  EXPECT_THAT(DescribeRatings(*FindRatings(data, {.scale = RatingScale{1, 5}})), Not(HasSubstr("998")));
}

TEST(FindRatingsTest, SaysWhyThereIsNothingToFit) {
  const auto refused = [](const Dataset& data, const RatingDataOptions& options, absl::StatusCode code,
                          const std::string& reason) {
    const absl::Status status = FindRatings(data, options).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(status.ToString(), HasSubstr(reason));
  };
  const auto failed = absl::StatusCode::kFailedPrecondition;
  refused(Data({{"a", "x", kView, 1, 1}, {"a", "y", kView, 2, 1}}), {}, failed, "there are 0 events");
  refused(Data({{"a", "x", kRating, 1, 1}, {"a", "x", kRating, 2, 2}}), {}, failed, "there are 1 events");
  refused(Data({{"a", "x", kRating, 3, 1}, {"a", "y", kRating, 3, 2}}), {}, failed,
          "all 2 events of type rating have the value 3");
  refused(Data({{"a", "x", kRating, 8, 1}, {"a", "y", kRating, 9, 2}}), {.scale = RatingScale{1, 5}}, failed,
          "(2 off the scale)");
  refused(Data({{"a", "x", kRating, 8, 1}}), {.type = "stars"}, absl::StatusCode::kInvalidArgument,
          "\"stars\" is not an event type");
  EXPECT_TRUE(FindRatings(Data({{"a", "x", kView, 1, 1}, {"b", "x", kView, 2, 1}}), {.type = "view"}).ok());
  DatasetBuilder other(*EventTypeTable::Create({{1, "stars", 1.0f}}));
  other.AddEvent("a", "x", 1, 1, 1);
  refused(*other.Build(), {}, failed, "there is no event type rating");
}

TEST(RatingScaleTest, Parses) {
  EXPECT_EQ(*ParseRatingScale("1:5"), (RatingScale{1, 5}));
  EXPECT_EQ(*ParseRatingScale("-10:10.5"), (RatingScale{-10, 10.5f}));
  for (const char* text : {"", "1", "1:", ":5", "5:1", "1:1", "a:b", "0:inf", "nan:1", "1:2:3"}) {
    EXPECT_THAT(ParseRatingScale(text).status().ToString(), HasSubstr("MIN:MAX")) << text;
  }
}

TEST(RatingRowsTest, GroupsByUserAndByItem) {
  const RatingSet set{
      .num_users = 3, .num_items = 2, .ratings = {{0, 1, 4}, {0, 0, 2}, {2, 1, 5}}, .scale = {1, 5}};
  const RatingRows users = RatingsByUser(set, 2, 2), items = RatingsByItem(set);
  EXPECT_THAT(users.begin, ElementsAre(0, 2, 2, 3));
  EXPECT_THAT(users.other, ElementsAre(1, 0, 1));
  EXPECT_THAT(users.values, ElementsAre(1.0f, 0.0f, 1.5f));
  EXPECT_THAT(items.begin, ElementsAre(0, 1, 3));
  EXPECT_THAT(items.other, ElementsAre(0, 0, 2));
  EXPECT_THAT(items.values, ElementsAre(2.0f, 4.0f, 5.0f));
}

TEST(RatingFoldsTest, EveryRatingIsTestedOnceAndFoldsAreEqual) {
  RatingSet set{.num_users = 1, .num_items = 103, .ratings = {}, .scale = {0, 102}};
  for (uint32_t i = 0; i < 103; ++i) set.ratings.push_back({0, i, static_cast<float>(i)});
  const std::vector<uint32_t> folds = AssignFolds(103, 5, 7);
  EXPECT_EQ(folds, AssignFolds(103, 5, 7));
  EXPECT_NE(folds, AssignFolds(103, 5, 8));
  std::vector<int> tested(103);
  for (uint32_t f = 0; f < 5; ++f) {
    const RatingSplit split = SplitRatings(set, folds, f);
    EXPECT_EQ(split.test.size() + split.train.ratings.size(), 103u);
    EXPECT_EQ(split.test.size(), f < 3 ? 21u : 20u);
    for (const Rating& r : split.test) ++tested[r.item];
  }
  EXPECT_TRUE(std::all_of(tested.begin(), tested.end(), [](int n) { return n == 1; }));
}

TEST(RatingErrorsTest, AreRootMeanSquareAndMeanAbsolute) {
  const RatingErrors errors = ErrorsOf({{0, 0, 1}, {0, 1, 4}}, {2, 1});
  EXPECT_DOUBLE_EQ(errors.rmse, std::sqrt(5.0));
  EXPECT_DOUBLE_EQ(errors.mae, 2.0);
}

}  // namespace
}  // namespace swiftlet
