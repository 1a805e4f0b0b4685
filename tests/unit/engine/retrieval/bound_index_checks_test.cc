#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/retrieval/bound_index_builder.h"
#include "tests/unit/engine/retrieval/random_catalogue.h"

namespace swiftlet {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class BoundIndexChecksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::mt19937 random(3);
    catalogue_ = MakeCatalogue(CatalogueKind::kClusters, 1000, 32, true, random);
    index_ =
        *BuildBoundIndex(catalogue_.items, catalogue_.inverse_norms, {.num_threads = 1, .num_clusters = 6});
    ASSERT_TRUE(Structure().ok()) << Structure();
    ASSERT_TRUE(Values().ok()) << Values();
  }
  absl::Status Structure() const { return CheckBoundIndexStructure(index_.View(), 1000); }
  absl::Status Values() const {
    return CheckBoundIndexValues(index_.View(), catalogue_.items, catalogue_.inverse_norms);
  }
  float* Box(BoxRow row) { return index_.boxes.data() + row * index_.groups.size(); }

  void ExpectBrokenStructure(const std::string& part, const std::function<void()>& damage) {
    const BoundIndexData before = index_;
    damage();
    const absl::Status status = Structure();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << part;
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
    index_ = before;
  }
  // Structure stays whole, but some bound is too small.
  void ExpectBrokenValues(const std::string& part, const std::function<void()>& damage) {
    const BoundIndexData before = index_;
    damage();
    EXPECT_TRUE(Structure().ok()) << Structure();
    const absl::Status status = Values();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << part;
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
    index_ = before;
  }

  Catalogue catalogue_;
  BoundIndexData index_;
};

TEST_F(BoundIndexChecksTest, BoundsOfRoundedRowsAreThoseOfBf16Rows) {
  RoundToBf16(catalogue_);
  EXPECT_FALSE(Values().ok()) << "the index of the rows before rounding";
  index_ =
      *BuildBoundIndex(catalogue_.items, catalogue_.inverse_norms, {.num_threads = 1, .num_clusters = 6});
  EXPECT_TRUE(Values().ok()) << Values();
  ItemMatrix floats = catalogue_.items;
  floats.vectors = catalogue_.vectors.data();
  floats.bf16_vectors = nullptr;
  EXPECT_TRUE(CheckBoundIndexValues(index_.View(), floats, catalogue_.inverse_norms).ok());
  ExpectBrokenValues("boxes", [&] { Box(kAlong)[4] *= 0.99f; });
  ExpectBrokenValues("fine", [&] { index_.groups[4].fine_error *= 0.9f; });
}

TEST_F(BoundIndexChecksTest, StructureThatMemorySafetyRestsOn) {
  ExpectBrokenStructure("cluster_groups", [&] { index_.cluster_groups.front() = 1; });
  ExpectBrokenStructure("cluster_groups",
                        [&] { std::swap(index_.cluster_groups[2], index_.cluster_groups[4]); });
  ExpectBrokenStructure("cluster_groups", [&] { index_.cluster_groups.back() += 1; });
  ExpectBrokenStructure("cluster_groups", [&] { index_.cluster_groups[1] = ~0u; });
  ExpectBrokenStructure("cluster_groups", [&] { index_.cluster_groups.resize(1); });
  ExpectBrokenStructure("rows", [&] { index_.rows[3] = 1000; });
  ExpectBrokenStructure("rows", [&] { index_.rows[3] = index_.rows[4]; });
  ExpectBrokenStructure("rows", [&] { index_.rows[3] = kNoSlotRow; });
  ExpectBrokenStructure("rows", [&] { index_.rows.pop_back(); });
  ExpectBrokenStructure("coarse", [&] { index_.coarse.pop_back(); });
  ExpectBrokenStructure("fine", [&] { index_.fine.pop_back(); });
  ExpectBrokenStructure("boxes", [&] { index_.boxes.pop_back(); });
  ExpectBrokenStructure("centres", [&] { index_.centres.pop_back(); });
  ExpectBrokenStructure("rotation", [&] { index_.rotation.pop_back(); });
}

TEST_F(BoundIndexChecksTest, NumbersThatAreNone) {
  ExpectBrokenStructure("rotation", [&] { index_.rotation[5] = kNan; });
  ExpectBrokenStructure("centres", [&] { index_.centres[5] = -std::numeric_limits<float>::infinity(); });
  for (const BoxRow row : {kAlong, kAcross, kMaxBias, kCosineAlong, kCosineAcross}) {
    ExpectBrokenStructure("boxes", [&] { Box(row)[2] = kNan; });
  }
  ExpectBrokenStructure("boxes", [&] { Box(kAlong)[2] = -1; });
  ExpectBrokenStructure("groups", [&] { index_.groups[2].coarse_scale = 0; });
  ExpectBrokenStructure("groups", [&] { index_.groups[2].fine_scale = kNan; });
  ExpectBrokenStructure("groups", [&] { index_.groups[2].coarse_error = -1; });
  ExpectBrokenStructure("groups", [&] { index_.groups[2].fine_error = kNan; });
  ExpectBrokenStructure("groups",
                        [&] { index_.groups[2].max_norm = std::numeric_limits<float>::infinity(); });
  ExpectBrokenStructure("groups", [&] { index_.groups[2].max_bias = kNan; });
}

// A query's products with them would overflow, and what a search then compares be NaN.
TEST_F(BoundIndexChecksTest, NumbersThatNoVectorOfAnIndexHas) {
  ExpectBrokenStructure("rotation", [&] { index_.rotation[5] = 1e30f; });
  ExpectBrokenStructure("rotation", [&] { index_.rotation.back() = -1.01f; });
  ExpectBrokenStructure("centres", [&] { index_.centres[5] = -1e25f; });
  ExpectBrokenStructure("centres", [&] { index_.centres.back() = 1.01f; });
  ExpectBrokenStructure("groups", [&] { index_.groups[2].max_norm = 1.1e15f; });
  ExpectBrokenStructure("groups", [&] { index_.groups[2].max_bias = 1.1e15f; });
  ExpectBrokenStructure("groups", [&] { index_.groups[2].max_bias = -1.1e15f; });
}

// The largest that an index is built over.
TEST_F(BoundIndexChecksTest, TheLongestVectorsAndLargestBiasesAreWhole) {
  std::mt19937 random(7);
  catalogue_ = MakeCatalogue(CatalogueKind::kOneAxis, 1000, 32, true, random);
  for (float& x : catalogue_.vectors) x = x == 0 ? 0.0f : std::copysign(kMaxIndexedNorm, x);
  for (float& x : catalogue_.bias) x = std::copysign(kMaxIndexedNorm, x);
  for (float& x : catalogue_.inverse_norms) x = 1 / kMaxIndexedNorm;
  const std::optional<BoundIndexData> index =
      BuildBoundIndex(catalogue_.items, catalogue_.inverse_norms, {.num_threads = 1});
  ASSERT_TRUE(index.has_value());
  index_ = *index;
  EXPECT_TRUE(Structure().ok()) << Structure();
  EXPECT_TRUE(Values().ok()) << Values();
}

TEST_F(BoundIndexChecksTest, BoundsThatDoNotHold) {
  ExpectBrokenValues("rotation", [&] { index_.rotation[7] += 0.01f; });
  ExpectBrokenValues("centres", [&] { index_.centres[7] += 0.1f; });
  for (const BoxRow row : {kAlong, kAcross, kCosineAlong, kCosineAcross}) {
    ExpectBrokenValues("boxes", [&] { Box(row)[4] *= 0.99f; });
  }
  ExpectBrokenValues("boxes", [&] { Box(kMaxBias)[4] -= 0.01f; });
  ExpectBrokenValues("groups", [&] { index_.groups[4].max_norm *= 0.99f; });
  ExpectBrokenValues("groups", [&] { index_.groups[4].max_bias -= 0.01f; });
  ExpectBrokenValues("groups", [&] { index_.groups[4].min_inverse_norm *= 1.01f; });
  ExpectBrokenValues("groups", [&] { index_.groups[4].max_inverse_norm *= 0.99f; });
  ExpectBrokenValues("coarse", [&] { index_.groups[4].coarse_error *= 0.9f; });
  ExpectBrokenValues("fine", [&] { index_.groups[4].fine_error *= 0.9f; });
  ExpectBrokenValues("coarse", [&] { index_.groups[4].coarse_scale *= 0.9f; });
  ExpectBrokenValues("fine", [&] { index_.groups[4].fine_scale *= 0.9f; });
  // Coordinate 0, and the rest of the tail, of the first row of group 4.
  ExpectBrokenValues("coarse", [&] { index_.coarse[4 * 256] ^= 0x40; });
  ExpectBrokenValues("coarse", [&] { index_.coarse[4 * 256 + 3 * 64 + 3] = 0; });
  // Coordinates 0 and 31 of the first row of group 4, and coordinate 0 of its second.
  for (const size_t at : {4 * 16 * 32, 4 * 16 * 32 + 31, 4 * 16 * 32 + 32}) {
    ExpectBrokenValues("fine", [&] { index_.fine[at] ^= 0x40; });
  }
  // Two rows trade places: each is in a group that was not made for it.
  ExpectBrokenValues("", [&] { std::swap(index_.rows[0], index_.rows[index_.rows.size() / 2]); });
}

TEST_F(BoundIndexChecksTest, PaddingOfFineCodesStandsForZero) {
  std::mt19937 random(5);
  catalogue_ = MakeCatalogue(CatalogueKind::kClusters, 1000, 20, false, random);
  index_ =
      *BuildBoundIndex(catalogue_.items, catalogue_.inverse_norms, {.num_threads = 1, .num_clusters = 6});
  ASSERT_EQ(FineBytes(20), 32u);
  ASSERT_TRUE(Values().ok()) << Values();
  ExpectBrokenValues("fine", [&] { index_.fine[3 * 16 * 32 + 20] = 129; });
}

TEST_F(BoundIndexChecksTest, AnyFlippedBitOfAnyArrayIsFoundOrHarmless) {
  std::mt19937 random(4);
  const BoundIndexData before = index_;
  const auto flip = [&](auto& array) {
    auto* const bytes = reinterpret_cast<uint8_t*>(array.data());
    const size_t size = array.size() * sizeof(array[0]);
    bytes[random() % size] ^= static_cast<uint8_t>(1u << random() % 8);
  };
  int found = 0;
  for (int round = 0; round < 300; ++round) {
    switch (round % 5) {
      case 0:
        flip(index_.rows);
        break;
      case 1:
        flip(index_.boxes);
        break;
      case 2:
        flip(index_.groups);
        break;
      case 3:
        flip(index_.centres);
        break;
      case 4:
        flip(index_.rotation);
        break;
    }
    absl::Status status = Structure();
    if (status.ok()) status = Values();
    found += status.ok() ? 0 : 1;
    index_ = before;
  }
  EXPECT_GT(found, 100) << "high bits matter; low bits of mantissas, and bounds that grow, do not";
}

}  // namespace
}  // namespace swiftlet
