#include "engine/retrieval/bound_retriever.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "engine/kernels/code_match.h"
#include "engine/retrieval/bound_index_builder.h"
#include "engine/retrieval/exact_retriever.h"
#include "tests/unit/engine/kernels/each_cpu_target.h"
#include "tests/unit/engine/retrieval/random_catalogue.h"

namespace swiftlet {

inline void PrintTo(const ScoredRow& r, std::ostream* os) { *os << "{" << r.row << ", " << r.score << "}"; }

namespace {

constexpr auto kNumKinds = static_cast<uint32_t>(CatalogueKind::kNumKinds);

class BoundRetrieverTest : public EachCpuTarget {
 protected:
  // One random catalogue, an index over it, and a few searches, each of which must give what the full scan
  // gives, rows and scores.
  void CheckOne(int round) {
    const auto kind = static_cast<CatalogueKind>(random_() % kNumKinds);
    const size_t n = 1 + random_() % (round % 40 == 0 ? 4000 : 300);
    const size_t dim = 1 + random_() % (round % 10 == 0 ? 140 : 70);
    const bool has_bias = random_() % 2 == 0, is_bf16 = random_() % 2 == 0;
    Catalogue c = MakeCatalogue(kind, n, dim, has_bias, random_);
    if (is_bf16) RoundToBf16(c);
    const std::optional<BoundIndexData> index = BuildBoundIndex(
        c.items, c.inverse_norms,
        {.num_threads = 1, .num_clusters = random_() % 4 == 0 ? 1 + random_() % 20 : 0, .seed = random_()});
    ASSERT_TRUE(index.has_value());
    ASSERT_TRUE(CheckBoundIndexStructure(index->View(), n).ok())
        << CheckBoundIndexStructure(index->View(), n);
    const absl::Status holds = CheckBoundIndexValues(index->View(), c.items, c.inverse_norms);
    ASSERT_TRUE(holds.ok()) << holds;
    const BoundRetriever fast(c.items, c.inverse_norms, index->View());
    // Over the rows as float32, whatever the index is over.
    ItemMatrix floats = c.items;
    floats.vectors = c.vectors.data();
    floats.bf16_vectors = nullptr;

    for (int search = 0; search < 4; ++search) {
      std::vector<float> vector = RandomFloats(dim, random_);
      if (random_() % 3 == 0) {  // an item, as SimilarItems searches
        const size_t row = random_() % n;
        std::copy_n(&c.vectors[row * c.items.stride], dim, vector.begin());
      }
      if (kind == CatalogueKind::kTies) {
        for (float& x : vector) x = static_cast<float>(static_cast<int>(random_() % 5) - 2) / 2;
      }
      if (random_() % 20 == 0) std::fill(vector.begin(), vector.end(), 0.0f);
      std::vector<uint64_t> masked;
      if (random_() % 2 == 0) {
        masked.resize((n + 63) / 64);
        const uint32_t sparse = random_() % 3;  // the more, the fewer rows are allowed
        for (uint64_t& word : masked) {
          for (uint32_t j = 0; j <= 2 * sparse; ++j) word |= uint64_t{random_()} << 32 | random_();
        }
        if (random_() % 8 == 0) std::fill(masked.begin(), masked.end(), ~uint64_t{0});
      }
      RowFilter filter;
      filter.Reset(static_cast<uint32_t>(n), masked);
      for (uint32_t i = random_() % 20; i > 0; --i) filter.Exclude(static_cast<uint32_t>(random_() % n));
      const RetrievalQuery query{.vector = vector,
                                 .k = 1 + random_() % (search == 0 ? 2 * n : 20),
                                 .filter = random_() % 2 == 0 ? nullptr : &filter,
                                 .similarity = random_() % 3 == 0 ? Similarity::kCosine : Similarity::kDot};
      const RetrievalStats stats = fast.Search(query, scratch_, got_);
      const ItemMatrix matrix = MatrixFor(query.similarity, floats, c.inverse_norms);
      SearchExact({&matrix, 1}, query, scratch_, want_);
      ASSERT_EQ(got_, want_) << "round " << round << ", kind " << static_cast<int>(kind) << ", " << n << " x "
                             << dim << ", k " << query.k << (has_bias ? ", bias" : "")
                             << (is_bf16 ? ", bf16" : "")
                             << (query.similarity == Similarity::kCosine ? ", cosine" : "");
      ASSERT_TRUE(stats.proven_exact);
      if (is_bf16) {
        ExactRetriever(c.items, c.inverse_norms).Search(query, scratch_, got_);
        ASSERT_EQ(got_, want_) << "full scan, round " << round;
      }
    }
  }

  RetrievalScratch scratch_;
  std::vector<ScoredRow> got_, want_;
};
SWIFTLET_FOR_EACH_CPU_TARGET(BoundRetrieverTest);

TEST_P(BoundRetrieverTest, GivesWhatTheFullScanGivesOnThousandsOfCatalogues) {
  for (int round = 0; round < 600 && !HasFatalFailure(); ++round) CheckOne(round);
}

TEST_P(BoundRetrieverTest, AnIndexBuiltForOneTargetIsExactOnAnother) {
  for (int round = 0; round < 10; ++round) {
    const Catalogue c = MakeCatalogue(CatalogueKind::kClusters, 3000, 33, true, random_);
    ASSERT_TRUE(ForceCpuTarget("").ok());
    const std::optional<BoundIndexData> index = BuildBoundIndex(c.items, c.inverse_norms, {.num_threads = 1});
    ASSERT_TRUE(ForceCpuTarget(GetParam()).ok());
    ASSERT_TRUE(CheckBoundIndexValues(index->View(), c.items, c.inverse_norms).ok());
    const std::vector<float> vector = RandomFloats(33, random_);
    const RetrievalQuery query{.vector = vector, .k = 10};
    BoundRetriever(c.items, c.inverse_norms, index->View()).Search(query, scratch_, got_);
    ExactRetriever(c.items, c.inverse_norms).Search(query, scratch_, want_);
    ASSERT_EQ(got_, want_);
  }
}

TEST(BoundRetriever, LooksAtFewRowsOfClusteredItems) {
  std::mt19937 random(5);
  const Catalogue c = MakeCatalogue(CatalogueKind::kClusters, 20'000, 32, false, random);
  const std::optional<BoundIndexData> index = BuildBoundIndex(c.items, c.inverse_norms, {});
  RetrievalScratch scratch;
  std::vector<ScoredRow> results;
  const std::span<const float> query(c.items.vectors, 32);
  const RetrievalStats stats = BoundRetriever(c.items, c.inverse_norms, index->View())
                                   .Search({.vector = query, .k = 10}, scratch, results);
  EXPECT_TRUE(stats.proven_exact);
  EXPECT_LT(stats.rows_scanned, 5000u);
  EXPECT_LT(stats.rows_scored, 1000u);
  EXPECT_GT(stats.rows_scored, 9u);
  EXPECT_LT(stats.bytes_read, 20'000u * 32 * sizeof(float) / 4);
}

TEST(BoundRetriever, RowsOfBf16AreHalfTheBytes) {
  std::mt19937 random(5);
  Catalogue c = MakeCatalogue(CatalogueKind::kNormal, 50'000, 64, false, random);
  RoundToBf16(c);
  EXPECT_EQ(c.items.row_bytes(), 128u);
  const std::vector<float> query = RandomFloats(64, random);
  RetrievalScratch scratch;
  std::vector<ScoredRow> results;
  EXPECT_EQ(ExactRetriever(c.items).Search({.vector = query, .k = 10}, scratch, results).bytes_read,
            50'000u * 128);
  const std::optional<BoundIndexData> index = BuildBoundIndex(c.items, c.inverse_norms, {});
  EXPECT_LT(50'000 * 128 + index->View().size_bytes() + c.inverse_norms.size() * 4, 50'000 * 64 * 7 / 2)
      << "three and a half bytes a dimension";
}

TEST(BoundRetriever, ABudgetBoundsTheRowsAndTheProof) {
  std::mt19937 random(6);
  const Catalogue c = MakeCatalogue(CatalogueKind::kEqualNorms, 20'000, 48, false, random);
  const std::optional<BoundIndexData> index = BuildBoundIndex(c.items, c.inverse_norms, {});
  const BoundRetriever retriever(c.items, c.inverse_norms, index->View());
  const std::vector<float> vector = RandomFloats(48, random);
  RetrievalScratch scratch;
  std::vector<ScoredRow> results;
  ASSERT_GT(retriever.Search({.vector = vector, .k = 10}, scratch, results).rows_scanned, 5000u)
      << "or it shows nothing";
  const RetrievalStats stats =
      retriever.Search({.vector = vector, .k = 10, .max_rows = 1000}, scratch, results);
  EXPECT_FALSE(stats.proven_exact);
  EXPECT_GE(stats.rows_scanned, 1000u);
  EXPECT_LT(stats.rows_scanned, 2000u);
  EXPECT_EQ(results.size(), 10u);
  EXPECT_TRUE(std::is_sorted(results.begin(), results.end(), IsBetter));
}

TEST(BoundRetriever, ABudgetOfTimeEndsTheSearch) {
  std::mt19937 random(6);
  const Catalogue c = MakeCatalogue(CatalogueKind::kEqualNorms, 50'000, 48, false, random);
  const std::optional<BoundIndexData> index = BuildBoundIndex(c.items, c.inverse_norms, {});
  const BoundRetriever retriever(c.items, c.inverse_norms, index->View());
  const std::vector<float> vector = RandomFloats(48, random);
  RetrievalScratch scratch;
  std::vector<ScoredRow> results;
  const RetrievalStats all =
      retriever.Search({.vector = vector, .k = 10, .max_us = 100'000'000}, scratch, results);
  EXPECT_TRUE(all.proven_exact);
  const RetrievalStats stats = retriever.Search({.vector = vector, .k = 10, .max_us = 1}, scratch, results);
  EXPECT_FALSE(stats.proven_exact);
  EXPECT_LT(stats.rows_scanned, all.rows_scanned);
  EXPECT_EQ(results.size(), 10u);
}

TEST(BoundRetriever, AFilterThatAllowsFewRowsIsSearchedWithoutTheIndex) {
  std::mt19937 random(16);
  const Catalogue c = MakeCatalogue(CatalogueKind::kNormal, 20'000, 48, true, random);
  const std::optional<BoundIndexData> index = BuildBoundIndex(c.items, c.inverse_norms, {});
  const BoundRetriever retriever(c.items, c.inverse_norms, index->View());
  std::vector<uint64_t> masked((20'000 + 63) / 64, ~uint64_t{0});
  for (size_t i = 0; i < 100; ++i) masked[i * 3] &= ~(uint64_t{1} << (random() % 64));
  RowFilter filter;
  filter.Reset(20'000, masked);
  RetrievalScratch scratch;
  std::vector<ScoredRow> got, want;
  for (const Similarity similarity : {Similarity::kDot, Similarity::kCosine}) {
    const std::vector<float> vector = RandomFloats(48, random);
    const RetrievalQuery query{.vector = vector, .k = 10, .filter = &filter, .similarity = similarity};
    const RetrievalStats stats = retriever.Search(query, scratch, got);
    EXPECT_EQ(stats.rows_scanned, 100u);
    EXPECT_TRUE(stats.proven_exact);
    const ItemMatrix matrix = MatrixFor(similarity, c.items, c.inverse_norms);
    SearchExact({&matrix, 1}, query, scratch, want);
    EXPECT_EQ(got, want);
  }
}

TEST(BoundRetriever, SmallerBoundsLookAtFewerRowsAndAreNoProof) {
  std::mt19937 random(7);
  const Catalogue c = MakeCatalogue(CatalogueKind::kNormal, 20'000, 48, false, random);
  const std::optional<BoundIndexData> index = BuildBoundIndex(c.items, c.inverse_norms, {});
  const BoundRetriever retriever(c.items, c.inverse_norms, index->View());
  const std::vector<float> vector = RandomFloats(48, random);
  RetrievalScratch scratch;
  std::vector<ScoredRow> results;
  const uint64_t all = retriever.Search({.vector = vector, .k = 10}, scratch, results).rows_scanned;
  const RetrievalStats stats =
      retriever.Search({.vector = vector, .k = 10, .bound_scale = {0.5f, 0.5f}}, scratch, results);
  EXPECT_FALSE(stats.proven_exact);
  EXPECT_LT(stats.rows_scanned, all);
  EXPECT_EQ(results.size(), 10u);
}

TEST(BoundRetriever, QueriesBeyondWhatFloatBoundsCanSayAreScanned) {
  std::mt19937 random(8);
  const Catalogue c = MakeCatalogue(CatalogueKind::kNormal, 500, 8, true, random);
  const std::optional<BoundIndexData> index = BuildBoundIndex(c.items, c.inverse_norms, {});
  const BoundRetriever retriever(c.items, c.inverse_norms, index->View());
  RetrievalScratch scratch;
  std::vector<ScoredRow> got, want;
  for (const float x :
       {0.0f, 1e-30f, 1e30f, std::numeric_limits<float>::max(), std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<float> vector(8, x);
    const RetrievalQuery query{.vector = vector, .k = 5};
    const RetrievalStats stats = retriever.Search(query, scratch, got);
    ExactRetriever(c.items).Search(query, scratch, want);
    EXPECT_EQ(got, want) << x;
    EXPECT_EQ(stats.rows_scored, 500u) << x;
  }
  const std::vector<float> vector(8, 1.0f);
  EXPECT_TRUE(retriever.Search({.vector = vector, .k = 0}, scratch, got).proven_exact);
  EXPECT_TRUE(got.empty());
}

TEST(BoundIndexBuilder, IsTheSameEveryTime) {
  std::mt19937 random(9);
  const Catalogue c = MakeCatalogue(CatalogueKind::kClusters, 6000, 24, true, random);
  const std::optional<BoundIndexData> a = BuildBoundIndex(c.items, c.inverse_norms, {.num_threads = 1});
  const std::optional<BoundIndexData> b = BuildBoundIndex(c.items, c.inverse_norms, {.num_threads = 4});
  EXPECT_EQ(a->rows, b->rows);
  EXPECT_EQ(a->coarse, b->coarse);
  EXPECT_EQ(a->fine, b->fine);
  EXPECT_EQ(a->boxes, b->boxes);
}

TEST(BoundIndexBuilder, RefusesWhatItCannotBound) {
  std::mt19937 random(10);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f}) {
    Catalogue c = MakeCatalogue(CatalogueKind::kNormal, 100, 8, true, random);
    c.vectors[5] = bad;
    EXPECT_FALSE(BuildBoundIndex(c.items, c.inverse_norms, {}).has_value()) << bad;
    c.vectors[5] = 0;
    c.bias[5] = bad;
    EXPECT_FALSE(BuildBoundIndex(c.items, c.inverse_norms, {}).has_value()) << bad;
    c = MakeCatalogue(CatalogueKind::kNormal, 100, 8, true, random);
    c.vectors[5] = bad;
    RoundToBf16(c);
    EXPECT_FALSE(BuildBoundIndex(c.items, c.inverse_norms, {}).has_value()) << bad;
  }
  const Catalogue wide = MakeCatalogue(CatalogueKind::kNormal, 3, kMaxIndexedDim + 1, false, random);
  EXPECT_FALSE(BuildBoundIndex(wide.items, wide.inverse_norms, {}).has_value());
  EXPECT_FALSE(
      BuildBoundIndex({.vectors = nullptr, .num_items = 0, .dim = 4, .stride = 16}, {}, {}).has_value());
}

}  // namespace
}  // namespace swiftlet
