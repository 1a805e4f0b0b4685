#include "engine/trainer/search_space.h"

#include <cstdlib>
#include <set>

#include "engine/trainer/model_trainer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

TEST(SearchSpaceTest, ParsesRangesAndChoices) {
  const SearchDimension rate = *ParseSearchDimension("--learning-rate=0.001:0.1:log");
  EXPECT_EQ(rate.flag, "learning-rate");
  EXPECT_TRUE(rate.logarithmic);
  EXPECT_FALSE(rate.integer);
  EXPECT_EQ(rate.high, 0.1);
  EXPECT_TRUE(ParseSearchDimension("n=1:8:log,int")->integer);
  EXPECT_EQ(ParseSearchDimension("dim=32,64")->choices.size(), 2u);
  for (const char* bad :
       {"dim", "=1:2", "a=", "a=1:", "a=2:1", "a=0:1:log", "a=1:2:odd", "a=1:2:log:3", "a=x,,y", "a=1:inf"}) {
    EXPECT_THAT(std::string(ParseSearchDimension(bad).status().message()), HasSubstr("expected FLAG="))
        << bad;
  }
}

TEST(SearchSpaceTest, DrawsAreInTheRangeRepeatAndGatherNearTheBest) {
  const std::vector<SearchDimension> space = {*ParseSearchDimension("rate=0.001:1:log"),
                                              *ParseSearchDimension("n=2:9:int"),
                                              *ParseSearchDimension("c=a,b,c")};
  EXPECT_TRUE(DrawConfiguration(space, 1, 0, {}).empty());
  std::set<std::string> numbers, choices;
  double near = 0, far = 0;
  const Configuration best = {{"rate", "0.03"}, {"n", "5"}, {"c", "b"}};
  for (uint32_t trial = 1; trial < 401; ++trial) {
    const Configuration drawn = DrawConfiguration(space, 1, trial, best);
    EXPECT_EQ(drawn, DrawConfiguration(space, 1, trial, best));
    const double rate = std::atof(drawn.at("rate").c_str());
    EXPECT_GE(rate, 0.00099);
    EXPECT_LE(rate, 1.001);
    const int n = std::atoi(drawn.at("n").c_str());
    EXPECT_TRUE(n >= 2 && n <= 9) << n;
    numbers.insert(drawn.at("n"));
    choices.insert(drawn.at("c"));
    if (trial < 4) continue;
    (trial % 2 == 0 ? near : far) += rate > 0.01 && rate < 0.1 ? 1 : 0;
  }
  EXPECT_EQ(numbers.size(), 8u);
  EXPECT_EQ(choices.size(), 3u);
  EXPECT_GT(near, 1.5 * far);
  EXPECT_NE(DrawConfiguration(space, 1, 1, {}), DrawConfiguration(space, 2, 1, {}));
}

TEST(SearchSpaceTest, EveryUsualSpaceIsOfAKindAndParses) {
  EXPECT_FALSE(DefaultSearchSpace("attention").empty());
  EXPECT_TRUE(DefaultSearchSpace("oracle").empty());
  for (const std::string_view kind : ModelKinds())
    DefaultSearchSpace(kind);  // ends the process when one does not parse
}

}  // namespace
}  // namespace swiftlet
