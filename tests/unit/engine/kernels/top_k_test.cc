#include "engine/kernels/top_k.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "tests/unit/engine/kernels/each_cpu_target.h"

namespace swiftlet {

void PrintTo(const ScoredRow& r, std::ostream* os) { *os << "{" << r.row << ", " << r.score << "}"; }

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class TopKTest : public EachCpuTarget {
 protected:
  static std::vector<ScoredRow> NaiveCollect(const std::vector<float>& scores, float threshold,
                                             uint32_t first_row) {
    std::vector<ScoredRow> rows;
    for (size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] >= threshold) rows.push_back({static_cast<uint32_t>(first_row + i), scores[i]});
    }
    return rows;
  }
  // Room for exactly n, and a sentinel behind it.
  static std::vector<ScoredRow> Collect(const std::vector<float>& scores, float threshold,
                                        uint32_t first_row) {
    constexpr ScoredRow kSentinel = {77, -77.0f};
    std::vector<ScoredRow> out(scores.size() + 1, kSentinel);
    const size_t n = CollectAtLeast(scores.data(), scores.size(), threshold, first_row, out.data());
    EXPECT_EQ(out.back(), kSentinel) << "written behind the room";
    out.resize(n);
    return out;
  }
};

TEST_P(TopKTest, CollectsWhatReachesTheThresholdInOrder) {
  for (size_t n = 0; n <= 300; ++n) {
    const std::vector<float> scores = RandomFloats(n, random_);
    for (const float threshold : {-kInfinity, -1.0f, 0.0f, 0.5f, 2.5f, kInfinity}) {
      ASSERT_EQ(Collect(scores, threshold, 1000), NaiveCollect(scores, threshold, 1000))
          << "n " << n << " threshold " << threshold;
    }
  }
}

TEST_P(TopKTest, TheLargestIsFoundWhereverItStands) {
  EXPECT_EQ(LargestOf(nullptr, 0), -kInfinity);
  for (size_t n = 1; n <= 150; ++n) {
    std::vector<float> scores = RandomFloats(n, random_);
    for (float& x : scores) x -= 100;
    for (size_t at = 0; at < n; ++at) {
      const float before = scores[at];
      scores[at] = -1;
      ASSERT_EQ(LargestOf(scores.data(), n), -1) << "n " << n << " at " << at;
      scores[at] = before;
    }
  }
}

TEST_P(TopKTest, EverySingleHitIsFoundWhereverItStands) {
  for (const size_t n : {1, 15, 64, 65, 131}) {
    for (size_t hit = 0; hit < n; ++hit) {
      std::vector<float> scores(n, 0.0f);
      scores[hit] = 1.0f;
      EXPECT_THAT(Collect(scores, 1.0f, 4'000'000'000u),
                  ::testing::ElementsAre(ScoredRow{static_cast<uint32_t>(4'000'000'000u + hit), 1.0f}));
    }
  }
}

TEST_P(TopKTest, EqualToTheThresholdCountsAndNanNever) {
  std::vector<float> scores(100, 0.25f);
  for (size_t i = 0; i < scores.size(); i += 3) scores[i] = kNan;
  const std::vector<ScoredRow> got = Collect(scores, 0.25f, 0);
  EXPECT_EQ(got.size(), 66u);
  for (const ScoredRow& r : got) EXPECT_NE(r.row % 3, 0u);
  EXPECT_EQ(Collect(scores, -kInfinity, 0), got) << "NaN is left out below any threshold";
  EXPECT_TRUE(Collect(scores, kNan, 0).empty());
}

TEST_P(TopKTest, InfiniteScoresAreScores) {
  const std::vector<float> scores = {-kInfinity, kInfinity, 0.0f};
  EXPECT_THAT(Collect(scores, -kInfinity, 0),
              ::testing::ElementsAre(ScoredRow{0, -kInfinity}, ScoredRow{1, kInfinity}, ScoredRow{2, 0.0f}));
}

TEST_P(TopKTest, SelectsAndSortsTheBestWithTiesByRow) {
  for (int round = 0; round < 300; ++round) {
    const size_t n = random_() % 200;
    const size_t k = random_() % 60;
    std::vector<ScoredRow> rows(n);
    for (size_t i = 0; i < n; ++i) {
      rows[i] = {static_cast<uint32_t>(i), static_cast<float>(random_() % 10)};  // many ties
    }
    std::vector<ScoredRow> want = rows;
    std::sort(want.begin(), want.end(), [](const ScoredRow& a, const ScoredRow& b) {
      return a.score > b.score || (a.score == b.score && a.row < b.row);
    });
    want.resize(std::min(n, k));
    std::shuffle(rows.begin(), rows.end(), random_);
    std::vector<ScoredRow> parted = rows;
    parted.resize(PartitionTopK(parted.data(), parted.size(), k));
    ASSERT_THAT(parted, ::testing::UnorderedElementsAreArray(want));
    if (!want.empty()) {
      ASSERT_EQ(parted.back(), want.back()) << "the worst is last";
    }
    rows.resize(SelectTopK(rows.data(), rows.size(), k));
    ASSERT_EQ(rows, want) << "n " << n << " k " << k;
  }
}

SWIFTLET_FOR_EACH_CPU_TARGET(TopKTest);

}  // namespace
}  // namespace swiftlet
