#include "engine/encoders/content_tower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>

#include "engine/encoders/content_features.h"

namespace swiftlet {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kBits = 16;

std::vector<uint32_t> Buckets(const ItemContent& content) {
  std::vector<uint32_t> buckets;
  ExtractContentFeatures(content, kBits, &buckets);
  return buckets;
}
std::vector<uint32_t> OfBlock(const ItemContent& content, ContentBlock block) {
  std::vector<uint32_t> result;
  for (const uint32_t bucket : Buckets(content)) {
    if (bucket >> kBits == static_cast<uint32_t>(block)) result.push_back(bucket);
  }
  return result;
}
using Attributes = std::vector<std::pair<std::string, std::string>>;

TEST(ContentFeaturesTest, NothingKnownIsNoFeature) {
  EXPECT_THAT(Buckets({}), IsEmpty());
  EXPECT_THAT(Buckets({.title = " -- !! \u2014 "}), IsEmpty());
  const std::vector<std::string> empty = {""};
  EXPECT_THAT(Buckets({.categories = empty}), IsEmpty());
}

TEST(ContentFeaturesTest, FoldsCaseAndSplitsAtWhatIsNoLetter) {
  EXPECT_EQ(Buckets({.title = "THE Matrix (1999)"}), Buckets({.title = "the matrix, 1999!"}));
  EXPECT_EQ(Buckets({.title = "\u00c9T\u00c9 \u0416\u0423\u041a \u03a3\u0391 \u0141\u00d3D\u0179"}),
            Buckets({.title = "\u00e9t\u00e9 \u0436\u0443\u043a \u03c3\u03b1 \u0142\u00f3d\u017a"}));
  EXPECT_NE(Buckets({.title = "the matrix"}), Buckets({.title = "matrix the"})) << "pairs of words";
  EXPECT_THAT(OfBlock({.title = "one two three"}, ContentBlock::kWord), SizeIs(5));
  // <one> has the 3-grams <on one ne> and the 4-grams <one one>.
  EXPECT_THAT(OfBlock({.title = "one"}, ContentBlock::kNgram), SizeIs(5));
  EXPECT_THAT(OfBlock({.title = "\u6771\u4eac"}, ContentBlock::kNgram), SizeIs(3 + 2 + 1));
}

TEST(ContentFeaturesTest, CategoriesAreSetsAndMakePairs) {
  const std::vector<std::string> ab = {"A", "B"}, ba = {"B", "A", "B"}, many(64, "x");
  EXPECT_THAT(OfBlock({.categories = ab}, ContentBlock::kCategory), SizeIs(2));
  EXPECT_THAT(OfBlock({.categories = ab}, ContentBlock::kCategoryPair), SizeIs(1));
  for (const uint32_t bucket : Buckets({.categories = ab})) {
    EXPECT_THAT(Buckets({.categories = ba}), ::testing::Contains(bucket)) << "whatever the order";
  }
  EXPECT_THAT(OfBlock({.categories = many}, ContentBlock::kCategory), SizeIs(1));
}

TEST(ContentFeaturesTest, NumbersOfNearbySizeShareFeatures) {
  const Attributes a = {{"year", "1994"}}, b = {{"year", "1995"}}, c = {{"year", "12"}};
  const auto shared = [](const Attributes& x, const Attributes& y) {
    std::vector<uint32_t> both;
    const std::vector<uint32_t> in_x = Buckets({.attributes = x}), in_y = Buckets({.attributes = y});
    std::set_intersection(in_x.begin(), in_x.end(), in_y.begin(), in_y.end(), std::back_inserter(both));
    return both.size();
  };
  EXPECT_EQ(shared(a, b), 4u) << "four digits, 1, 19, 199";
  EXPECT_EQ(shared(a, c), 0u);
  const Attributes other = {{"price", "1994"}};
  EXPECT_EQ(shared(a, other), 0u) << "another attribute";
}

TEST(ContentFeaturesTest, HostileTextsAreBounded) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200; ++i) {
    std::string noise(random() % 64, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    const std::vector<std::string> categories = {noise};
    const Attributes attributes = {{noise, noise}};
    Buckets({.title = noise, .categories = categories, .attributes = attributes});
  }
  for (const char* cut : {"\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xff\xfe", "\x80\x80"})
    Buckets({.title = cut});
  std::string huge;
  for (int i = 0; i < 1'000'000; ++i) huge += static_cast<char>('a' + random() % 26);
  const Attributes attributes(1000, {huge.substr(0, 5000), huge.substr(0, 5000)});
  const std::vector<std::string> categories(100'000, "c");
  EXPECT_LE(Buckets({.title = huge, .categories = categories, .attributes = attributes}).size(),
            kMaxContentFeatures);
}

// A tower of random tables over the features of two titles, and two sources of vectors.
ContentTowerData RandomTower(uint32_t dim, bool inputs, const ItemContent& a, const ItemContent& b) {
  std::mt19937_64 random(7);
  std::normal_distribution<float> normal;
  ContentTowerData tower;
  tower.hash_bits = kBits;
  tower.unknown_idf = 5;
  std::set<uint32_t> buckets;
  for (const ItemContent* content : {&a, &b}) {
    for (const uint32_t bucket : Buckets(*content)) buckets.insert(bucket);
  }
  tower.buckets.assign(buckets.begin(), buckets.end());
  for (size_t i = 0; i < tower.buckets.size(); ++i) tower.idf.push_back(1 + std::fabs(normal(random)));
  tower.externals = {{"text", 3}, {"image", 2}};
  const size_t rows = tower.buckets.size() + 1 + 4 + 3, stride = RowStride(dim);
  const auto fill = [&](AlignedVector<float>& table) {
    table.assign(rows * stride, 0.0f);
    for (size_t i = 0; i < table.size(); ++i) {
      if (i % stride < dim) table[i] = normal(random);
    }
  };
  fill(tower.output_weights);
  if (inputs) fill(tower.input_weights);
  for (size_t i = 0; i < 2 * rows; ++i) tower.fact_weights.push_back(normal(random));
  return tower;
}

TEST(ContentTowerTest, EqualsASlowReference) {
  const std::vector<std::string> drama = {"Drama", "War"}, other = {"Comedy"};
  const Attributes attributes = {{"director", "Ida Lupino"}};
  const ItemContent a{.title = "The Hitch-Hiker (1953)", .categories = drama, .attributes = attributes};
  const ItemContent b{.title = "Some Like It Hot", .categories = other};
  // Half of its words are unknown.
  const ItemContent c{.title = "The unheard of Hitch-Hiker", .categories = other};
  const std::vector<float> text = {1, -2, 3}, image = {0.5f, 4}, wrong = {1, 2, 3};
  for (const uint32_t dim : {1u, 7u, 16u, 33u}) {
    for (const bool inputs : {false, true}) {
      const ContentTowerData data = RandomTower(dim, inputs, a, b);
      const ContentTower tower = data.View(dim);
      for (const ItemContent* content : {&a, &b, &c}) {
        for (const bool with_vectors : {false, true}) {
          std::vector<ExternalVector> vectors = {{"nobody", text}};
          if (with_vectors) vectors = {{"image", image}, {"text", text}, {"image", wrong}};
          ContentScratch scratch;
          ContentPlace place;
          ASSERT_TRUE(tower.Place(*content, vectors, scratch, &place));

          std::map<size_t, double> rows = {{data.buckets.size(), 1.0}};
          for (size_t block = 0; block < kNumContentBlocks; ++block) {
            double squares = 0;
            std::map<size_t, double> of_block;
            for (const uint32_t bucket : OfBlock(*content, static_cast<ContentBlock>(block))) {
              double idf = data.unknown_idf;
              for (size_t r = 0; r < data.buckets.size(); ++r) {
                if (data.buckets[r] == bucket) idf = of_block[r] = data.idf[r];
              }
              squares += idf * idf;
            }
            for (const auto& [r, idf] : of_block) rows[r] += idf / std::sqrt(squares);
          }
          if (with_vectors) {
            const size_t first = data.buckets.size() + 1;
            rows[first] = 1;
            for (size_t j = 0; j < 3; ++j) rows[first + 1 + j] = text[j];
            rows[first + 4] = 1;
            for (size_t j = 0; j < 2; ++j) rows[first + 5 + j] = image[j];
          }
          const auto expected = [&](const auto& table, size_t stride, size_t column) {
            double sum = 0;
            for (const auto& [r, value] : rows) sum += value * table[r * stride + column];
            return sum;
          };
          ASSERT_THAT(place.vector, SizeIs(dim));
          ASSERT_THAT(place.input_vector, SizeIs(inputs ? dim : 0));
          for (size_t j = 0; j < dim; ++j) {
            EXPECT_NEAR(place.vector[j], expected(data.output_weights, RowStride(dim), j), 1e-4);
            if (inputs) {
              EXPECT_NEAR(place.input_vector[j], expected(data.input_weights, RowStride(dim), j), 1e-4);
            }
          }
          EXPECT_NEAR(place.bias, expected(data.fact_weights, 2, 0), 1e-4);
          EXPECT_NEAR(place.attention_logit, expected(data.fact_weights, 2, 1), 1e-4);
        }
      }
    }
  }
}

TEST(ContentTowerTest, PlacesNothingItKnowsNothingAbout) {
  const ItemContent a{.title = "alpha"}, b{.title = "beta"};
  ContentTowerData data = RandomTower(4, true, a, b);
  ContentScratch scratch;
  ContentPlace place;
  EXPECT_TRUE(data.View(4).Place(a, {}, scratch, &place));
  EXPECT_FALSE(data.View(4).Place({}, {}, scratch, &place));
  EXPECT_FALSE(data.View(4).Place({.title = "xyzzy"}, {}, scratch, &place));
  const std::vector<float> text = {1, 2, 3}, nan = {1, std::numeric_limits<float>::quiet_NaN(), 3};
  const ExternalVector known[] = {{"text", text}}, wrong_dim[] = {{"image", text}}, bad[] = {{"text", nan}};
  EXPECT_TRUE(data.View(4).Place({}, known, scratch, &place));
  EXPECT_FALSE(data.View(4).Place({}, wrong_dim, scratch, &place));
  EXPECT_FALSE(data.View(4).Place({}, bad, scratch, &place));
  data.output_weights[0] = std::numeric_limits<float>::max();
  data.output_weights[RowStride(4)] = std::numeric_limits<float>::max();
  for (float& idf : data.idf) idf = 1e10f;
  data.fact_weights.assign(data.fact_weights.size(), std::numeric_limits<float>::max());
  EXPECT_FALSE(data.View(4).Place(a, {}, scratch, &place)) << "overflow";
}

}  // namespace
}  // namespace swiftlet
