#include "engine/rating_predictor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

constexpr EventTypeId kView = 1, kRating = 6;

// Of RandomSnapshot's rating model: the last ten items are unknown to it, the scale is 1 to 5.
class RatingPredictorTest : public ::testing::Test {
 protected:
  RatingPredictorTest() {
    contents_ = testing::RandomSnapshot({.num_items = 60, .with_rating_model = true});
    snapshot_ = testing::WriteAndLoad(dir_.path(), contents_);
  }
  static HistoryEvent Event(int item, float value, EventTypeId type = kRating, int64_t timestamp_ms = 0) {
    return {ItemKeyOf(absl::StrCat("item-", item)), timestamp_ms, value, type};
  }
  std::vector<float> Predict(const std::vector<HistoryEvent>& history, const std::vector<int>& items) {
    std::vector<ItemKey> keys;
    for (const int item : items) keys.push_back(ItemKeyOf(absl::StrCat("item-", item)));
    EXPECT_TRUE(PredictRatings(*snapshot_, {.history = history}, keys, scratch_, &result_).ok());
    std::vector<float> ratings;
    for (const PredictedRating& r : result_.ratings) ratings.push_back(r.rating);
    return ratings;
  }

  testing::TempDir dir_;
  SnapshotContents contents_;
  std::shared_ptr<const ModelSnapshot> snapshot_;
  RatingScratch scratch_;
  RatingPrediction result_;
};

TEST_F(RatingPredictorTest, IsTheModelsFoldInOfTheUsersRatings) {
  const std::vector<float> got = Predict({Event(7, 5), Event(3, 2), Event(20, 4.5f)}, {0, 3, 49, 0});
  RatingFoldInScratch scratch;
  std::vector<float> user(contents_.rating->parameters.dim + 1);
  const RatingModel& model = *snapshot_->rating_model();
  model.FoldIn(std::vector<RatedItem>{{7, 5}, {3, 2}, {20, 4.5f}}, scratch, user);
  ASSERT_EQ(got.size(), 4u);
  EXPECT_NEAR(got[0], model.Predict(user, 0), 1e-5f);
  EXPECT_NEAR(got[1], model.Predict(user, 3), 1e-5f);
  EXPECT_NEAR(got[2], model.Predict(user, 49), 1e-5f);
  EXPECT_EQ(got[3], got[0]);
  EXPECT_EQ(result_.num_ratings_used, 3u);
  EXPECT_NE(got[0], Predict({}, {0})[0]);
}

TEST_F(RatingPredictorTest, AnUnknownUserGetsTheItemsBaseline) {
  const uint32_t row = contents_.rating->parameters.dim + 1;
  const std::vector<float> got = Predict({}, {4, 55, 1000});
  EXPECT_FLOAT_EQ(got[0], contents_.rating->parameters.mean + contents_.rating->items[4 * row]);
  EXPECT_TRUE(result_.ratings[0].known_item);
  // Item 55 has a vector, but nobody rated it; 1000 is in no snapshot.
  for (const size_t i : {1u, 2u}) {
    EXPECT_FLOAT_EQ(got[i], contents_.rating->parameters.mean);
    EXPECT_FALSE(result_.ratings[i].known_item);
  }
  EXPECT_EQ(result_.num_ratings_used, 0u);
}

TEST_F(RatingPredictorTest, OfSeveralRatingsOfAnItemTheLastCounts) {
  const std::vector<float> once = Predict({Event(2, 5), Event(3, 1)}, {0, 1, 2});
  EXPECT_EQ(Predict({Event(3, 4), Event(2, 1), Event(2, 5), Event(3, 1)}, {0, 1, 2}), once);
  EXPECT_EQ(result_.num_ratings_used, 2u);
  EXPECT_NE(Predict({Event(3, 1), Event(2, 5), Event(2, 1), Event(3, 4)}, {0, 1, 2}), once);
}

TEST_F(RatingPredictorTest, OnlyRatingsOnTheScaleOfKnownItemsCount) {
  const std::vector<float> some = Predict({Event(2, 5)}, {0, 1, 55});
  EXPECT_EQ(Predict({Event(2, 5), Event(3, 0.5f), Event(3, 5.5f), Event(4, std::nanf("")), Event(5, 3, kView),
                     Event(55, 1), Event(1000, 1)},
                    {0, 1, 55}),
            some);
  EXPECT_EQ(result_.num_ratings_used, 1u);
}

TEST_F(RatingPredictorTest, WithoutARatingModelItSaysSo) {
  testing::TempDir dir;
  const auto snapshot = testing::WriteAndLoad(dir.path(), testing::RandomSnapshot({.version = 17}));
  EXPECT_EQ(snapshot->rating_model(), nullptr);
  const absl::Status status = PredictRatings(*snapshot, {}, {}, scratch_, &result_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("snapshot 17 has no rating model"));
}

}  // namespace
}  // namespace swiftlet
