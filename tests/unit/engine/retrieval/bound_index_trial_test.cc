#include "engine/retrieval/bound_index_trial.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

#include "engine/retrieval/bound_index_builder.h"
#include "engine/retrieval/bound_retriever.h"
#include "engine/retrieval/exact_retriever.h"
#include "tests/unit/engine/retrieval/random_catalogue.h"

namespace swiftlet {
namespace {

constexpr size_t kDim = 32;

struct Fixture {
  explicit Fixture(CatalogueKind kind, size_t n) {
    std::mt19937 random(3);
    catalogue = MakeCatalogue(kind, n, kDim, /*has_bias=*/false, random);
    index = BuildBoundIndex(catalogue.items, catalogue.inverse_norms, {.num_threads = 2});
    std::normal_distribution<float> normal;
    users.resize(300 * kDim);
    for (float& x : users) x = normal(random);
  }
  BoundIndexTrial Try(const BoundIndexTrialOptions& options) const {
    return TryBoundIndex(catalogue.items, catalogue.inverse_norms, index->View(), options);
  }

  Catalogue catalogue;
  std::optional<BoundIndexData> index;
  std::vector<float> users;
};

TEST(BoundIndexTrial, FindsScalesThatReachTheRecallForOtherQueriesToo) {
  for (const CatalogueKind kind : {CatalogueKind::kNormal, CatalogueKind::kEqualNorms}) {
    const Fixture f(kind, 20'000);
    const BoundIndexTrial trial =
        f.Try({.user_vectors = std::span(f.users).first(200 * kDim), .num_queries = 200});
    EXPECT_EQ(trial.recall, 1.0);
    EXPECT_EQ(trial.num_queries, 200u);
    for (const Calibration& c : {trial.dot, trial.cosine}) {
      EXPECT_FALSE(c.scale.IsExact());
      EXPECT_GE(c.recall, kCalibratedFilteredRecall);
      EXPECT_LT(c.rows_scanned, 1);
    }

    const BoundRetriever fast(f.catalogue.items, f.catalogue.inverse_norms, f.index->View());
    RetrievalScratch scratch;
    std::vector<ScoredRow> got, want;
    RowFilter filter;
    for (const Similarity similarity : {Similarity::kDot, Similarity::kCosine}) {
      const ItemMatrix matrix = MatrixFor(similarity, f.catalogue.items, f.catalogue.inverse_norms);
      for (const size_t num_excluded : {0, 50}) {
        size_t hits = 0, wanted = 0;
        for (size_t user = 200; user < 300; ++user) {
          RetrievalQuery query{.vector = std::span(f.users).subspan(user * kDim, kDim),
                               .k = 10 + num_excluded,
                               .similarity = similarity};
          SearchExact({&matrix, 1}, query, scratch, want);
          filter.Reset(20'000, {});
          for (size_t i = 0; i < num_excluded; ++i) filter.Exclude(want[i].row);
          want.erase(want.begin(), want.begin() + static_cast<ptrdiff_t>(num_excluded));
          query.k = 10;
          query.filter = &filter;
          query.bound_scale = similarity == Similarity::kDot ? trial.dot.scale : trial.cosine.scale;
          fast.Search(query, scratch, got);
          for (const ScoredRow& row : want) {
            hits += std::find(got.begin(), got.end(), row) != got.end() ? 1 : 0;
          }
          wanted += want.size();
        }
        EXPECT_GE(static_cast<double>(hits) / static_cast<double>(wanted), 0.985)
            << num_excluded << " excluded";
      }
    }
  }
}

TEST(BoundIndexTrial, AsksForEveryUserThatThereIsRoomFor) {
  Fixture f(CatalogueKind::kClusters, 3000);
  constexpr size_t kUsers = 16;  // half of the queries
  const auto bytes_read = [&] {
    return f
        .Try({.user_vectors = std::span(f.users).first(kUsers * kDim),
              .num_queries = 2 * kUsers,
              .num_threads = 1})
        .bytes_read;
  };
  const double before = bytes_read();
  for (size_t user = 0; user < kUsers; ++user) {
    const std::vector<float> users = f.users;
    for (size_t j = 0; j < kDim; ++j) f.users[user * kDim + j] = j == user ? 1.0f : 0.0f;
    EXPECT_NE(bytes_read(), before) << "user " << user;
    f.users = users;
  }
}

TEST(BoundIndexTrial, SaysTheSameTwiceWhateverTheThreads) {
  const Fixture f(CatalogueKind::kClusters, 9000);
  const BoundIndexTrial one = f.Try({.user_vectors = f.users, .num_queries = 64, .num_threads = 1});
  const BoundIndexTrial two = f.Try({.user_vectors = f.users, .num_queries = 64, .num_threads = 3});
  for (const auto& [a, b] : {std::pair(one.dot, two.dot), std::pair(one.cosine, two.cosine)}) {
    EXPECT_EQ(a.scale, b.scale);
    EXPECT_EQ(a.recall, b.recall);
    EXPECT_EQ(a.rows_scanned, b.rows_scanned);
  }
  EXPECT_EQ(one.rows_scanned, two.rows_scanned);
  EXPECT_EQ(one.bytes_read, two.bytes_read);
}

TEST(BoundIndexTrial, TakesItemsOnOneLineAndFewItems) {
  const Fixture f(CatalogueKind::kOneAxis, 3000);
  const BoundIndexTrial trial = f.Try({.num_queries = 32});
  EXPECT_EQ(trial.recall, 1.0);
  EXPECT_GE(trial.dot.recall, kCalibratedFilteredRecall);
  const Fixture few(CatalogueKind::kNormal, 5);
  EXPECT_EQ(few.Try({.num_queries = 8}).recall, 1.0);
}

}  // namespace
}  // namespace swiftlet
