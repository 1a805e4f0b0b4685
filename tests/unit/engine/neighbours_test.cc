// Neighbours, items and users, as part of a request's scores.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/recommender.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

constexpr EventTypeId kView = 1, kDislike = 7;
constexpr uint32_t kItems = 400;

// Few entries a row, so that most items have no sum; many of them negative.
NeighbourContents RandomNeighbours(uint32_t num_items, uint32_t entries, std::mt19937& random) {
  NeighbourContents n;
  n.neighbours = {.kind = "ease", .scale = 1.5f};
  n.position_weights = {1, 0.5f, 0.25f};
  std::normal_distribution<float> normal;
  for (uint32_t row = 0; row < num_items; ++row) {
    std::set<uint32_t> to;
    while (row % 7 != 0 && to.size() < entries) to.insert(static_cast<uint32_t>(random() % num_items));
    for (const uint32_t i : to) {
      n.rows.push_back(i);
      n.weights.push_back(normal(random));
    }
    n.offsets.push_back(n.rows.size());
  }
  return n;
}

// The same of users. Weights are powers of two, so that dots are exact and which users are nearest is not for
// rounding to say; rows of an item in four count against.
NeighbourContents RandomUsers(uint32_t num_items, std::mt19937& random) {
  constexpr uint32_t kUsers = 150;
  NeighbourContents n;
  n.neighbours = {.kind = "user-knn", .scale = 1.5f, .users = {{.nearest = 6, .shrinkage = 2}}};
  n.position_weights = {1, 0.5f, 0.25f};
  n.user_offsets = {0};
  std::vector<std::vector<uint32_t>> users_of(num_items);
  for (uint32_t v = 0; v < kUsers; ++v) {
    std::set<uint32_t> items;
    const size_t count = 1 + random() % 12;
    while (items.size() < count) items.insert(static_cast<uint32_t>(random() % num_items));
    if (v == 0) items.insert(8 % num_items);
    for (const uint32_t i : items) {
      n.user_items.push_back(i);
      if (i % 7 != 0 && (v == 0 || random() % 8 != 0)) users_of[i].push_back(v);
    }
    n.user_offsets.push_back(n.user_items.size());
  }
  for (uint32_t i = 0; i < num_items; ++i) {
    for (const uint32_t v : users_of[i]) {
      n.rows.push_back(v);
      n.weights.push_back(std::exp2(-static_cast<float>(i % 3)) * (i % 4 == 3 ? -1 : 1));
    }
    n.offsets.push_back(n.rows.size());
  }
  return n;
}

void UseNoVectors(SnapshotContents* c) {
  const size_t n = c->item_ids.size();
  c->dim = 1;
  c->manifest.model_kind.clear();
  c->long_term_logit = c->context_logit = 0;
  c->item_vectors.assign(n, 0.0f);
  c->item_input_vectors.clear();
  c->item_bias.clear();
  c->input_map.clear();
  c->class_logits.clear();
  c->position_logits.clear();
  c->recency_logits.clear();
  c->encoders = {
      {.encoder = {.kind = kNoVectorKind, .dim = 1, .weight = 1, .parameters = {}}, .tensors = {}}};
}

class NeighboursTest : public ::testing::TestWithParam<std::tuple<bool, bool>> {
 protected:
  bool has_vectors() const { return std::get<0>(GetParam()); }
  bool has_users() const { return std::get<1>(GetParam()); }
  NeighbourContents MakeNeighbours(uint32_t num_items, uint32_t entries) {
    return has_users() ? RandomUsers(num_items, random_) : RandomNeighbours(num_items, entries, random_);
  }
  void Load(uint32_t entries, IndexMode index = IndexMode::kAuto) {
    contents_ = testing::RandomSnapshot({.num_items = kItems, .dim = 8});
    contents_.index = index;
    contents_.neighbours = MakeNeighbours(kItems, entries);
    if (!has_vectors()) UseNoVectors(&contents_);
    snapshot_ = testing::WriteAndLoad(dir_.File(absl::StrCat("model-", ++num_loaded_)), contents_);
    view_ = CatalogView::Build(*snapshot_, {});
  }
  std::vector<HistoryEvent> RandomHistory(size_t size) {
    std::vector<HistoryEvent> history;
    for (size_t i = 0; i < size; ++i) {
      history.push_back({.item_key = ItemKeyOf(absl::StrCat("item-", random_() % kItems)),
                         .timestamp_ms = static_cast<int64_t>(i) * 1000,
                         .type = random_() % 5 == 0 ? kDislike : kView});
    }
    return history;
  }
  std::optional<uint32_t> BaseOf(uint32_t row) const {
    return row < kItems ? std::optional(row) : view_->BaseRowOf(row);
  }
  // Rows of the snapshot that count, with f_j.
  std::vector<std::pair<uint32_t, float>> Factors(std::span<const HistoryEvent> history,
                                                  std::span<const ItemKey> context) const {
    const NeighbourContents& n = *contents_.neighbours;
    std::set<uint32_t> used;
    std::vector<std::pair<uint32_t, float>> factors;
    const auto add = [&](uint32_t from_row, size_t position, float sign) {
      const std::optional<uint32_t> from = BaseOf(from_row);
      if (!from.has_value() || !used.insert(*from).second) return;
      factors.push_back(
          {*from, sign * n.position_weights[std::min(position, n.position_weights.size() - 1)]});
    };
    for (const ItemKey key : context) {
      if (const auto r = view_->FindRow(key); r.has_value()) add(*r, 0, 1);
    }
    size_t position = 0;
    for (size_t i = history.size(); i-- > 0 && position < snapshot_->encoder().max_events();) {
      const auto r = view_->FindRow(history[i].item_key);
      const auto c = snapshot_->ClassOf(history[i].type, history[i].value);
      if (!r.has_value() || !c.has_value()) continue;
      add(*r, position++, snapshot_->manifest().event_classes[*c].sign);
    }
    return factors;
  }
  double Weight(uint32_t from, uint32_t to) const {
    const NeighbourContents& n = *contents_.neighbours;
    for (uint64_t k = n.offsets[from]; k < n.offsets[from + 1]; ++k) {
      if (n.rows[k] == to) return n.weights[k];
    }
    return 0;
  }
  bool Had(uint32_t user, uint32_t item) const {
    const NeighbourContents& n = *contents_.neighbours;
    return std::count(n.user_items.begin() + static_cast<ptrdiff_t>(n.user_offsets[user]),
                      n.user_items.begin() + static_cast<ptrdiff_t>(n.user_offsets[user + 1]), item) > 0;
  }
  // The definition: the nearest users, with 1 / (|x|^1/2 |S_v|^1/2 + shrinkage). Similarities are floats, as
  // the engine compares them.
  std::vector<std::pair<uint32_t, float>> NearestUsers(
      const std::vector<std::pair<uint32_t, float>>& factors) const {
    const NeighbourContents& n = *contents_.neighbours;
    struct Near {
      uint32_t user;
      float similarity, inverse;
    };
    std::vector<Near> near;
    const float root = std::sqrt(static_cast<float>(factors.size()));
    for (uint32_t v = 0; v + 1 < n.user_offsets.size(); ++v) {
      double dot = 0;
      for (const auto& [from, factor] : factors) dot += double{factor} * Weight(from, v);
      const auto size = static_cast<float>(n.user_offsets[v + 1] - n.user_offsets[v]);
      const float inverse = 1 / (root * std::sqrt(size) + n.neighbours.users->shrinkage);
      if (dot > 0) near.push_back({v, static_cast<float>(dot) * inverse, inverse});
    }
    std::stable_sort(near.begin(), near.end(),
                     [](const Near& a, const Near& b) { return a.similarity > b.similarity; });
    near.resize(std::min<size_t>(near.size(), n.neighbours.users->nearest));
    std::vector<std::pair<uint32_t, float>> nearest;
    for (const Near& v : near) nearest.push_back({v.user, v.inverse});
    return nearest;
  }
  // What each of the factors adds to the score of a row of the snapshot.
  std::vector<double> TermsFor(uint32_t to, const std::vector<std::pair<uint32_t, float>>& factors,
                               const std::vector<std::pair<uint32_t, float>>& nearest) const {
    const double scale = contents_.neighbours->neighbours.scale;
    std::vector<double> terms;
    for (const auto& [from, factor] : factors) {
      double weight = has_users() ? 0 : Weight(from, to);
      for (const auto& [user, inverse] : nearest) {
        if (Had(user, to)) weight += Weight(from, user) * double{inverse};
      }
      terms.push_back(scale * double{factor} * weight);
    }
    return terms;
  }
  // What neighbours add to the score of every row of the snapshot.
  std::vector<double> SumsFor(std::span<const HistoryEvent> history, std::span<const ItemKey> context) const {
    const auto factors = Factors(history, context);
    const auto nearest = has_users() ? NearestUsers(factors) : std::vector<std::pair<uint32_t, float>>();
    std::vector<double> sums(kItems, 0.0);
    for (uint32_t row = 0; row < kItems; ++row) {
      for (const double term : TermsFor(row, factors, nearest)) sums[row] += term;
    }
    return sums;
  }

  std::string BadDirectory() {
    const std::string path = dir_.File(absl::StrCat("bad-", ++num_loaded_));
    std::filesystem::create_directory(path);
    return path;
  }

  testing::TempDir dir_;
  int num_loaded_ = 0;
  std::mt19937 random_{12};
  SnapshotContents contents_;
  std::shared_ptr<const ModelSnapshot> snapshot_;
  std::shared_ptr<const CatalogView> view_;
  Scratch scratch_;
  Recommendation result_;
};
INSTANTIATE_TEST_SUITE_P(WithAndWithoutVectorsOfItemsAndUsers, NeighboursTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool()));

TEST_P(NeighboursTest, AnswersAreThoseOfTheDefinitionWhateverTheCatalogue) {
  for (const IndexMode index : {IndexMode::kNever, IndexMode::kAlways}) {
    if (!has_vectors() && index == IndexMode::kAlways) continue;
    Load(index == IndexMode::kNever ? 12 : 60, index);
    for (int trial = 0; trial < 40; ++trial) {
      if (trial % 8 == 4) {
        std::vector<CatalogItem> changes;
        for (int i = 0; i < 60; ++i) {
          CatalogItem item{.item_id = absl::StrCat("item-", random_() % (kItems + 40)),
                           .space = "test-space"};
          item.deleted = i % 4 == 0;
          if (i % 4 != 1)
            item.vector.assign(snapshot_->dim(), has_vectors() ? float(i % 9) / 9 - 0.5f : 0.5f);
          changes.push_back(item);
        }
        view_ = view_->With(changes);
      }
      const std::vector<HistoryEvent> history = RandomHistory(1 + random_() % 70);
      const std::vector<ItemKey> context = {ItemKeyOf(absl::StrCat("item-", random_() % kItems))};
      const std::vector<ItemKey> excluded = {ItemKeyOf("item-3"), ItemKeyOf("item-7")};
      RecommendQuery query{.k = trial % 5 == 0 ? kItems * 2 : 10,
                           .exclude_items = excluded,
                           .exclude_seen = trial % 2 == 0,
                           .explain = true};
      if (trial % 3 == 0) query.context_items = context;
      const UserState user{.history = history};

      // Without neighbours' part the scores are those of the same model without neighbours.
      std::vector<uint32_t> rows(view_->num_rows());
      for (uint32_t row = 0; row < rows.size(); ++row) rows[row] = row;
      ASSERT_TRUE(ScoreItems(*snapshot_, *view_, query, user, rows, scratch_, &result_).ok());
      if (result_.source == ItemSource::kPopular) continue;
      std::vector<float> scores;
      const std::vector<double> sums = SumsFor(history, query.context_items);
      for (const RecommendedItem& item : result_.items) {
        const std::optional<uint32_t> base = BaseOf(item.row);
        double expected = base.has_value() ? sums[*base] : 0;
        if (has_vectors()) {
          for (uint32_t j = 0; j < snapshot_->dim(); ++j) {
            expected += double{scratch_.user_vector[j]} * view_->ItemVector(item.row)[j];
          }
          expected += view_->Bias(item.row);
        }
        ASSERT_NEAR(item.score, expected, 1e-4) << "row " << item.row;
        double terms = 0;
        for (const Contribution& term : result_.ExplanationOf(item)) terms += term.score;
        ASSERT_NEAR(terms, expected, 1e-4) << "row " << item.row;
        scores.push_back(item.score);
      }

      ASSERT_TRUE(Recommend(*snapshot_, *view_, query, user, scratch_, &result_).ok());
      std::set<uint32_t> out;
      for (const ItemKey key : excluded) {
        if (const auto r = view_->FindRow(key); r.has_value()) out.insert(*r);
      }
      if (query.exclude_seen) {
        for (const HistoryEvent& e : history) {
          if (const auto r = view_->FindRow(e.item_key); r.has_value()) out.insert(*r);
        }
        for (const ItemKey key : query.context_items) {
          if (const auto r = view_->FindRow(key); r.has_value()) out.insert(*r);
        }
      }
      std::vector<float> best;
      for (uint32_t row = 0; row < rows.size(); ++row) {
        if (!view_->IsMasked(row) && !out.contains(row)) best.push_back(scores[row]);
      }
      std::sort(best.begin(), best.end(), std::greater<>());
      best.resize(std::min<size_t>(best.size(), query.k));
      ASSERT_EQ(result_.items.size(), best.size());
      std::set<uint32_t> seen;
      for (size_t i = 0; i < best.size(); ++i) {
        const RecommendedItem& item = result_.items[i];
        EXPECT_FALSE(view_->IsMasked(item.row) || out.contains(item.row)) << item.row;
        EXPECT_TRUE(seen.insert(item.row).second) << "row " << item.row << " twice";
        EXPECT_EQ(item.score, best[i]) << "rank " << i;
        EXPECT_EQ(item.score, scores[item.row]) << "to the last bit";
      }
      EXPECT_TRUE(result_.retrieval.proven_exact);
    }
  }
}

TEST_P(NeighboursTest, WithoutVectorsAndNeighboursTheAnswerIsThePopularItems) {
  if (has_vectors()) return;
  Load(5);
  const std::vector<HistoryEvent> none = {
      {.item_key = ItemKeyOf("item-7"), .type = kView}};  // 7 has no entries
  ASSERT_TRUE(
      Recommend(*snapshot_, *view_, {.k = 5, .explain = true}, {.history = none}, scratch_, &result_).ok());
  EXPECT_EQ(result_.source, ItemSource::kPopular);
  ASSERT_EQ(result_.items.size(), 5u);
  EXPECT_EQ(result_.items[0].score, view_->Popularity(result_.items[0].row));

  const std::vector<HistoryEvent> some = {{.item_key = ItemKeyOf("item-8"), .type = kView}};
  ASSERT_TRUE(Recommend(*snapshot_, *view_, {.k = 50}, {.history = some}, scratch_, &result_).ok());
  EXPECT_EQ(result_.source, ItemSource::kHistory);
  ASSERT_EQ(result_.items.size(), 50u) << "filled up with popular items";
}

// Not only the sum: each event's part of a score is what the definition gives it.
TEST_P(NeighboursTest, EachEventHasItsOwnTerm) {
  if (has_vectors()) return;
  Load(12);
  size_t num_terms = 0;
  for (int trial = 0; trial < 20; ++trial) {
    const std::vector<HistoryEvent> history = RandomHistory(30);
    ASSERT_TRUE(
        Recommend(*snapshot_, *view_, {.k = 10, .explain = true}, {.history = history}, scratch_, &result_)
            .ok());
    if (result_.source == ItemSource::kPopular) continue;
    const auto factors = Factors(history, {});
    const auto nearest = has_users() ? NearestUsers(factors) : std::vector<std::pair<uint32_t, float>>();
    for (const RecommendedItem& item : result_.items) {
      const std::vector<double> terms = TermsFor(item.row, factors, nearest);
      std::map<uint32_t, double> found;  // by row of the event's item
      for (const Contribution& term : result_.ExplanationOf(item)) found[term.row] += term.score;
      for (size_t j = 0; j < factors.size(); ++j) {
        EXPECT_NEAR(found[factors[j].first], terms[j], 1e-5) << "item " << item.row << " event " << j;
        num_terms += std::fabs(terms[j]) > 1e-3;
      }
    }
  }
  EXPECT_GT(num_terms, 200u);
}

TEST_P(NeighboursTest, SimilarItemsOfUsersAreThoseThatTheNearestShareHad) {
  if (has_vectors() || !has_users()) return;
  Load(6);
  const std::vector<std::pair<uint32_t, float>> itself = {{8, 1.0f}};
  double total = 0;
  const auto nearest = NearestUsers(itself);
  for (const auto& [user, inverse] : nearest) total += Weight(8, user) * double{inverse};
  ASSERT_GT(total, 0);
  ASSERT_TRUE(SimilarItems(*snapshot_, *view_, {.k = 4}, 8, scratch_, &result_).ok());
  ASSERT_FALSE(result_.items.empty());
  float before = 1;
  for (const RecommendedItem& item : result_.items) {
    EXPECT_NE(item.row, 8u);
    double share = 0;
    for (const auto& [user, inverse] : nearest) {
      if (Had(user, item.row)) share += Weight(8, user) * double{inverse} / total;
    }
    EXPECT_NEAR(item.score, share, 1e-6) << item.row;
    EXPECT_LE(item.score, before);
    before = item.score;
  }
}

TEST_P(NeighboursTest, SimilarItemsWithoutVectorsAreTheRow) {
  if (has_vectors() || has_users()) return;
  Load(6);
  ASSERT_TRUE(SimilarItems(*snapshot_, *view_, {.k = 4}, 8, scratch_, &result_).ok());
  const NeighbourContents& n = *contents_.neighbours;
  std::vector<std::pair<float, uint32_t>> expected;
  for (uint64_t k = n.offsets[8]; k < n.offsets[9]; ++k) {
    if (n.rows[k] != 8) expected.push_back({-n.weights[k], n.rows[k]});
  }
  std::sort(expected.begin(), expected.end());
  ASSERT_EQ(result_.items.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(result_.items[i].row, expected[i].second);
}

TEST_P(NeighboursTest, AbsurdWeightsDoNotCrash) {
  contents_ = testing::RandomSnapshot({.num_items = kItems, .dim = 8});
  contents_.neighbours = MakeNeighbours(kItems, 30);
  for (float& w : contents_.neighbours->weights) w = w > 0 ? 3e38f : -3e38f;
  contents_.neighbours->position_weights = {3e38f};
  if (!has_vectors()) UseNoVectors(&contents_);
  snapshot_ = testing::WriteAndLoad(dir_.File("model"), contents_);
  view_ = CatalogView::Build(*snapshot_, {});
  const std::vector<HistoryEvent> history = RandomHistory(60);
  ASSERT_TRUE(
      Recommend(*snapshot_, *view_, {.k = 20, .explain = true}, {.history = history}, scratch_, &result_)
          .ok());
  EXPECT_EQ(result_.items.size(), 20u);
}

TEST_P(NeighboursTest, BadUsersAreRefusedByName) {
  if (!has_users()) return;
  const auto error_of = [&](const std::function<void(NeighbourContents&)>& damage) {
    SnapshotContents contents = testing::RandomSnapshot({.num_items = 20, .dim = 8});
    contents.neighbours = RandomUsers(20, random_);
    damage(*contents.neighbours);
    const absl::Status status = WriteSnapshot(BadDirectory(), contents);
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(error_of([](auto&) {}), "");
  EXPECT_THAT(error_of([](auto& n) { n.rows[n.offsets[2] - 1] = 150; }), HasSubstr("\"neighbours.rows\""));
  EXPECT_THAT(error_of([](auto& n) { n.rows[1] = n.rows[0]; }), HasSubstr("\"neighbours.rows\""));
  EXPECT_THAT(error_of([](auto& n) { n.user_items[0] = 20; }), HasSubstr("\"neighbours.user_items\""));
  EXPECT_THAT(error_of([](auto& n) { n.user_items[1] = n.user_items[0]; }),
              HasSubstr("\"neighbours.user_items\""));
  EXPECT_THAT(error_of([](auto& n) { n.user_items.pop_back(); }), HasSubstr("\"neighbours.user_offsets\""));
  EXPECT_THAT(error_of([](auto& n) { n.user_offsets[3] = 10'000; }),
              HasSubstr("\"neighbours.user_offsets\""));
  EXPECT_THAT(error_of([](auto& n) { n.user_offsets.clear(); }), HasSubstr("\"neighbours.user_offsets\""));
  EXPECT_THAT(error_of([](auto& n) { n.neighbours.users.reset(); }), HasSubstr("neighbours.user_offsets"));
  EXPECT_THAT(error_of([](auto& n) { n.neighbours.users->nearest = 0; }),
              HasSubstr("neighbours.users.nearest"));
  EXPECT_THAT(error_of([](auto& n) { n.neighbours.users->shrinkage = -1; }),
              HasSubstr("neighbours.users.shrinkage"));
  EXPECT_THAT(error_of([](auto& n) { n.neighbours.users->shrinkage = NAN; }),
              HasSubstr("neighbours.users.shrinkage"));
}

TEST_P(NeighboursTest, BadRowsAreRefusedByName) {
  if (has_users()) return;
  const auto error_of = [&](const std::function<void(NeighbourContents&)>& damage) {
    SnapshotContents contents = testing::RandomSnapshot({.num_items = 20, .dim = 8});
    contents.neighbours = RandomNeighbours(20, 3, random_);
    damage(*contents.neighbours);
    return std::string(WriteSnapshot(BadDirectory(), contents).message());
  };
  EXPECT_THAT(error_of([](auto& n) { n.rows[4] = 20; }), HasSubstr("neighbours.rows"));
  EXPECT_THAT(error_of([](auto& n) { n.rows[1] = n.rows[0]; }), HasSubstr("neighbours.rows"));
  EXPECT_THAT(error_of([](auto& n) { n.offsets[3] = 1000; }), HasSubstr("neighbours.offsets"));
  EXPECT_THAT(error_of([](auto& n) { n.offsets[0] = 1; }), HasSubstr("neighbours.offsets"));
  EXPECT_THAT(error_of([](auto& n) { n.weights.pop_back(); }), HasSubstr("neighbours.weights"));
  EXPECT_THAT(error_of([](auto& n) { n.weights[0] = NAN; }), HasSubstr("neighbours.weights"));
  EXPECT_THAT(error_of([](auto& n) { n.position_weights.clear(); }),
              HasSubstr("neighbours.position_weights"));
}

}  // namespace
}  // namespace swiftlet
