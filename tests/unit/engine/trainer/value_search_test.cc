#include "engine/trainer/value_search.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;

// Best at x = peak, on a logarithmic scale; remembers what it was asked.
struct Hill {
  MeasureChoice measure() {
    return [this](Choice* choice) -> absl::StatusOr<double> {
      tried.push_back(choice->at("x"));
      return 1 / (1 + std::fabs(std::log(choice->at("x") / peak)));
    };
  }
  double peak;
  std::vector<double> tried = {};
};

TEST(ValueSearchTest, ClimbGoesOnInEitherDirectionUntilItIsWorse) {
  for (const double peak : {64.0, 1.0, 1.0 / 64}) {
    Hill hill{peak};
    Choice choice = {{"x", 1}, {"y", 7}};
    double ndcg = -1;
    ASSERT_TRUE(Climb("x", 4, 1e-9, 1e9, hill.measure(), &choice, &ndcg).ok());
    EXPECT_EQ(choice, (Choice{{"x", peak}, {"y", 7}}));
    EXPECT_EQ(ndcg, 1);
  }
  Hill hill{64};
  Choice choice = {{"x", 1}};
  double ndcg = -1;
  ASSERT_TRUE(Climb("x", 4, 1e-9, 1e9, hill.measure(), &choice, &ndcg).ok());
  EXPECT_THAT(hill.tried, ElementsAre(1, 4, 16, 64, 256)) << "none twice, and not back";
}

TEST(ValueSearchTest, ClimbStaysWithinItsBoundsAndBeginsWithWhatIsKnown) {
  Hill hill{1e6};
  Choice choice = {{"x", 1}};
  double ndcg = 1e-9;  // measured before
  ASSERT_TRUE(Climb("x", 10, 0.5, 500, hill.measure(), &choice, &ndcg).ok());
  EXPECT_THAT(hill.tried, ElementsAre(10, 100));
  EXPECT_EQ(choice.at("x"), 100);
}

TEST(ValueSearchTest, AFailedMeasurementEndsTheSearch) {
  Choice choice = {{"x", 1}};
  double ndcg = -1;
  const MeasureChoice fails = [](Choice*) -> absl::StatusOr<double> { return absl::InternalError("broken"); };
  EXPECT_EQ(Climb("x", 2, 0, 9, fails, &choice, &ndcg).message(), "broken");
  EXPECT_EQ(TryValues("x", {1, 2}, fails, &choice, &ndcg).message(), "broken");
  EXPECT_EQ(choice.at("x"), 1);
}

TEST(ValueSearchTest, TryValuesKeepsTheBestAndWhatTheMeasurementSets) {
  Choice choice = {{"x", 1}};
  double ndcg = -1;
  const MeasureChoice measure = [](Choice* c) -> absl::StatusOr<double> {
    (*c)["y"] = 10 * c->at("x");
    return -std::fabs(c->at("x") - 3);
  };
  ndcg = -100;
  ASSERT_TRUE(TryValues("x", {1, 2, 4, 3, 5}, measure, &choice, &ndcg).ok());
  EXPECT_EQ(choice, (Choice{{"x", 3}, {"y", 30}}));
  EXPECT_EQ(Shown(choice), "x 3, y 30");
}

}  // namespace
}  // namespace swiftlet
