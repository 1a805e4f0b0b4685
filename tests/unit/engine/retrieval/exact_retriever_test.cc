#include "engine/retrieval/exact_retriever.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace swiftlet {

inline void PrintTo(const ScoredRow& r, std::ostream* os) { *os << "{" << r.row << ", " << r.score << "}"; }

namespace {

// A matrix that owns its numbers.
struct Part {
  AlignedVector<float> vectors;
  AlignedVector<Bf16> bf16_vectors;
  std::vector<float> bias, scale;
  ItemMatrix matrix;
};

struct Shape {
  size_t num_items = 0, dim = 0;
  uint32_t first_row = 0;
  bool has_bias = false, has_scale = false, is_bf16 = false;
};

// Values are small multiples of 1/4, so that all arithmetic is exact in float: results can be compared for
// equality, and ties are frequent.
Part MakePart(const Shape& shape, std::mt19937& random) {
  const auto value = [&] { return static_cast<float>(static_cast<int>(random() % 5) - 2) / 4; };
  Part part;
  const size_t stride = RowStride(shape.dim);
  part.vectors.resize(shape.num_items * stride);
  for (size_t i = 0; i < shape.num_items; ++i) {
    for (size_t j = 0; j < shape.dim; ++j) part.vectors[i * stride + j] = value();
  }
  if (shape.is_bf16) {
    for (const float x : part.vectors) part.bf16_vectors.push_back(ToBf16(x));
  }
  for (size_t i = 0; i < shape.num_items; ++i) {
    part.bias.push_back(value());
    part.scale.push_back(value());
  }
  part.matrix = {.vectors = shape.is_bf16 ? nullptr : part.vectors.data(),
                 .bf16_vectors = shape.is_bf16 ? part.bf16_vectors.data() : nullptr,
                 .bias = shape.has_bias ? part.bias.data() : nullptr,
                 .scale = shape.has_scale ? part.scale.data() : nullptr,
                 .num_items = shape.num_items,
                 .dim = shape.dim,
                 .stride = stride,
                 .first_row = shape.first_row};
  return part;
}

// All allowed rows, scored in double, sorted, cut to k.
std::vector<ScoredRow> Oracle(std::span<const ItemMatrix> parts, const RetrievalQuery& query) {
  std::vector<ScoredRow> all;
  for (const ItemMatrix& part : parts) {
    for (size_t i = 0; i < part.num_items; ++i) {
      const auto row = static_cast<uint32_t>(part.first_row + i);
      if (query.filter != nullptr && !query.filter->Allows(row)) continue;
      double score = 0;
      for (size_t j = 0; j < part.dim; ++j) {
        score += double{query.vector[j]} * double{part.Row(i)[j]};
      }
      if (part.scale != nullptr) score *= double{part.scale[i]};
      if (part.bias != nullptr) score += double{part.bias[i]};
      all.push_back({row, static_cast<float>(score)});
    }
  }
  std::sort(all.begin(), all.end(), [](const ScoredRow& a, const ScoredRow& b) {
    return a.score > b.score || (a.score == b.score && a.row < b.row);
  });
  all.resize(std::min(all.size(), query.k));
  return all;
}

class ModuloCategories final : public CategoryIndex {
 public:
  explicit ModuloCategories(uint32_t n) : n_(n) {
    for (uint32_t i = 0; i < n; ++i) ids_.push_back(i);
  }
  std::span<const uint32_t> CategoriesOf(uint32_t row) const override { return {&ids_[row % n_], 1}; }
  uint32_t num_categories() const override { return n_; }

 private:
  const uint32_t n_;
  std::vector<uint32_t> ids_;
};

TEST(ExactRetriever, AgreesWithTheOracleOnThousandsOfSmallCatalogues) {
  std::mt19937 random(99);
  const ModuloCategories categories(7);
  RetrievalScratch scratch;
  RowFilter filter;
  std::vector<ScoredRow> got;
  for (int round = 0; round < 4000; ++round) {
    const Shape shape{.num_items = random() % (round % 50 == 0 ? 5000 : 120),
                      .dim = 1 + random() % 40,
                      .first_row = static_cast<uint32_t>(random() % 3 == 0 ? random() % 1000 : 0),
                      .has_bias = random() % 2 == 0,
                      .has_scale = random() % 2 == 0,
                      .is_bf16 = random() % 2 == 0};
    const Part part = MakePart(shape, random);
    std::vector<float> vector(shape.dim);
    for (float& x : vector) x = static_cast<float>(static_cast<int>(random() % 5) - 2) / 2;

    const auto num_rows = static_cast<uint32_t>(shape.first_row + shape.num_items);
    std::vector<uint64_t> masked;
    if (random() % 3 == 0) {
      masked.resize((num_rows + 63) / 64);
      for (uint64_t& word : masked) word = uint64_t{random()} << 32 | random();
    }
    filter.Reset(num_rows, masked);
    if (num_rows > 0 && random() % 2 == 0) {
      for (uint32_t i = random() % 50; i > 0; --i) filter.Exclude(random() % num_rows);
    }
    if (random() % 3 == 0) {
      const uint32_t any[] = {static_cast<uint32_t>(random() % 7), static_cast<uint32_t>(random() % 7)};
      const uint32_t none[] = {static_cast<uint32_t>(random() % 7)};
      filter.SetCategories(&categories, any, random() % 2 == 0,
                           random() % 2 == 0 ? std::span<const uint32_t>(none) : std::span<const uint32_t>());
    }
    const RetrievalQuery query{.vector = vector,
                               .k = 1 + random() % (round % 3 == 0 ? 2000 : 20),
                               .filter = random() % 4 == 0 ? nullptr : &filter};
    const RetrievalStats stats = ExactRetriever(part.matrix).Search(query, scratch, got);
    ASSERT_EQ(got, Oracle({&part.matrix, 1}, query)) << "round " << round;
    EXPECT_TRUE(stats.proven_exact);
    // A filter that allows few rows turns the search around.
    if (query.filter == nullptr) {
      EXPECT_EQ(stats.rows_scored, shape.num_items);
    }
    EXPECT_LE(stats.rows_scored, shape.num_items);
    EXPECT_EQ(stats.bytes_read, stats.rows_scored * part.matrix.row_bytes());
  }
}

TEST(ExactRetriever, ScoresOnlyTheRowsOfAFilterThatAllowsFew) {
  std::mt19937 random(17);
  const Part part = MakePart({.num_items = 3000, .dim = 24, .has_bias = true}, random);
  std::vector<uint64_t> masked((3000 + 63) / 64, ~uint64_t{0});
  for (int i = 0; i < 100; ++i) masked[random() % masked.size()] &= ~(uint64_t{1} << (random() % 64));
  RowFilter filter;
  filter.Reset(3000, masked);
  size_t num_allowed = 0;
  for (uint32_t row = 0; row < 3000; ++row) num_allowed += filter.Allows(row) ? 1 : 0;
  ASSERT_GT(num_allowed, 60u);
  const std::vector<float> vector(24, 0.5f);
  RetrievalScratch scratch;
  std::vector<ScoredRow> got;
  for (const size_t k : {1, 10, 40, 1000}) {
    const RetrievalQuery query{.vector = vector, .k = k, .filter = &filter};
    const RetrievalStats stats = ExactRetriever(part.matrix).Search(query, scratch, got);
    EXPECT_EQ(got, Oracle({&part.matrix, 1}, query)) << k;
    EXPECT_EQ(stats.rows_scored, num_allowed);
    EXPECT_TRUE(stats.proven_exact);
  }
  const RetrievalStats stats =
      ExactRetriever(part.matrix)
          .Search({.vector = vector, .k = 10, .filter = &filter, .max_rows = 32}, scratch, got);
  EXPECT_EQ(stats.rows_scored, 32u) << "the budget";
  EXPECT_FALSE(stats.proven_exact);
  EXPECT_EQ(got.size(), 10u);
}

TEST(ExactRetriever, PartsCountAsOneMatrixInAnyOrder) {
  std::mt19937 random(5);
  RetrievalScratch scratch;
  std::vector<ScoredRow> got;
  for (int round = 0; round < 300; ++round) {
    std::vector<Part> parts;
    uint32_t first_row = 0;
    for (uint32_t i = random() % 5; i > 0; --i) {
      const Shape shape{.num_items = random() % 1500,
                        .dim = 8,
                        .first_row = first_row,
                        .has_bias = random() % 2 == 0,
                        .is_bf16 = random() % 2 == 0};
      parts.push_back(MakePart(shape, random));
      first_row += static_cast<uint32_t>(shape.num_items) + random() % 2;
    }
    if (round % 2 == 0) std::shuffle(parts.begin(), parts.end(), random);
    std::vector<ItemMatrix> matrices;
    for (const Part& part : parts) matrices.push_back(part.matrix);
    const std::vector<float> vector(8, 0.5f);
    const RetrievalQuery query{.vector = vector, .k = 1 + random() % 50};
    SearchExact(matrices, query, scratch, got);
    ASSERT_EQ(got, Oracle(matrices, query)) << "round " << round;
  }
}

TEST(ExactRetriever, AllScoresEqualReturnsTheLowestRows) {
  std::mt19937 random(1);
  Part part = MakePart({.num_items = 10'000, .dim = 16}, random);
  std::fill(part.vectors.begin(), part.vectors.end(), 1.0f);
  const std::vector<float> vector(16, 1.0f);
  RetrievalScratch scratch;
  std::vector<ScoredRow> got;
  for (const size_t k : {1, 10, 1000, 5000}) {
    ExactRetriever(part.matrix).Search({.vector = vector, .k = k}, scratch, got);
    ASSERT_EQ(got.size(), k);
    for (size_t i = 0; i < k; ++i) ASSERT_EQ(got[i], (ScoredRow{static_cast<uint32_t>(i), 16.0f}));
  }
}

TEST(ExactRetriever, AscendingScoresWhereEveryRowBeatsTheThreshold) {
  constexpr size_t kItems = 20'000;
  std::vector<float> vectors(kItems);
  for (size_t i = 0; i < kItems; ++i) vectors[i] = static_cast<float>(i);
  const ItemMatrix items{.vectors = vectors.data(), .num_items = kItems, .dim = 1, .stride = 1};
  const float one = 1.0f;
  RetrievalScratch scratch;
  std::vector<ScoredRow> got;
  ExactRetriever(items).Search({.vector = {&one, 1}, .k = 100}, scratch, got);
  ASSERT_EQ(got.size(), 100u);
  for (uint32_t i = 0; i < 100; ++i) EXPECT_EQ(got[i].row, kItems - 1 - i);
}

TEST(ExactRetriever, ResultsAreClearedFirstAndMayBeEmpty) {
  std::mt19937 random(3);
  const Part part = MakePart({.num_items = 300, .dim = 4}, random);
  const std::vector<float> vector(4, 1.0f);
  RetrievalScratch scratch;
  std::vector<ScoredRow> got = {{1, 2.0f}};
  const std::vector<uint64_t> everything(5, ~uint64_t{0});
  RowFilter filter;
  filter.Reset(300, everything);
  ExactRetriever(part.matrix).Search({.vector = vector, .k = 10, .filter = &filter}, scratch, got);
  EXPECT_TRUE(got.empty()) << "everything is filtered";
  got = {{1, 2.0f}};
  SearchExact({}, {.vector = vector, .k = 10}, scratch, got);
  EXPECT_TRUE(got.empty()) << "no parts";
}

TEST(ExactRetriever, AnAbsurdKCostsNoMemory) {
  std::mt19937 random(3);
  const Part part = MakePart({.num_items = 50, .dim = 4}, random);
  const std::vector<float> vector(4, 1.0f);
  RetrievalScratch scratch;
  std::vector<ScoredRow> got;
  ExactRetriever(part.matrix)
      .Search({.vector = vector, .k = std::numeric_limits<size_t>::max()}, scratch, got);
  EXPECT_EQ(got.size(), 50u);
  EXPECT_LT(scratch.candidates.size(), 10'000u);
}

TEST(ExactRetriever, RowsThatScoreNanAreLeftOut) {
  const std::vector<float> vectors = {1.0f, std::numeric_limits<float>::quiet_NaN(), 3.0f};
  const ItemMatrix items{.vectors = vectors.data(), .num_items = 3, .dim = 1, .stride = 1};
  const float one = 1.0f;
  RetrievalScratch scratch;
  std::vector<ScoredRow> got;
  ExactRetriever(items).Search({.vector = {&one, 1}, .k = 3}, scratch, got);
  EXPECT_EQ(got, (std::vector<ScoredRow>{{2, 3.0f}, {0, 1.0f}}));
}

}  // namespace
}  // namespace swiftlet
