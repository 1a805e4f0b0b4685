#include "engine/recommender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "engine/encoders/attention.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kHour = 3'600'000;
constexpr EventTypeId kView = 1, kDislike = 7, kUnknownType = 99;

class RecommenderTest : public ::testing::Test {
 protected:
  void Load(const testing::RandomSnapshotOptions& options, IndexMode index = IndexMode::kAuto) {
    contents_ = testing::RandomSnapshot(options);
    contents_.index = index;
    snapshot_ = testing::WriteAndLoad(dir_.File(absl::StrCat("model-", ++num_loaded_)), contents_);
    view_ = CatalogView::Build(*snapshot_, {});
  }
  void Change(const std::vector<CatalogItem>& changes) { view_ = view_->With(changes); }
  CatalogItem WithVector(const std::string& id, std::span<const float> vector) const {
    return {.item_id = id, .vector = {vector.begin(), vector.end()}, .space = "test-space"};
  }
  static HistoryEvent Event(std::string_view id, int64_t timestamp_ms, EventTypeId type = kView,
                            float value = 0) {
    return {.item_key = ItemKeyOf(id), .timestamp_ms = timestamp_ms, .value = value, .type = type};
  }
  void Run(const RecommendQuery& query, const UserState& user) {
    const absl::Status status = Recommend(*snapshot_, *view_, query, user, scratch_, &result_);
    ASSERT_TRUE(status.ok()) << status;
  }
  std::vector<std::string> Ids() const {
    std::vector<std::string> ids;
    for (const RecommendedItem& item : result_.items) ids.emplace_back(view_->ItemId(item.row));
    return ids;
  }
  uint32_t Row(std::string_view id) const { return view_->FindRow(ItemKeyOf(id)).value(); }
  double Cosine(uint32_t a, uint32_t b) const {
    double ab = 0, aa = 0, bb = 0;
    for (uint32_t j = 0; j < snapshot_->dim(); ++j) {
      const double x = view_->ItemVector(a)[j], y = view_->ItemVector(b)[j];
      ab += x * y;
      aa += x * x;
      bb += y * y;
    }
    return aa == 0 || bb == 0 ? 0 : ab / std::sqrt(aa * bb);
  }
  void ExpectExplanationsAddUp() const {
    for (const RecommendedItem& item : result_.items) {
      const std::span<const Contribution> terms = result_.ExplanationOf(item);
      ASSERT_FALSE(terms.empty());
      double sum = 0, largest = 0, weights = 0;
      for (size_t i = 0; i < terms.size(); ++i) {
        sum += double{terms[i].score};
        largest = std::max(largest, std::fabs(double{terms[i].score}));
        weights += double{terms[i].weight};
        if (i > 0) {
          EXPECT_GE(terms[i - 1].score, terms[i].score) << "largest first";
        }
      }
      EXPECT_NEAR(sum, item.score, 1e-4 * largest) << "row " << item.row;
      EXPECT_NEAR(weights, result_.source == ItemSource::kPopular ? 0.0 : 1.0, 1e-5);
    }
  }

  testing::TempDir dir_;
  int num_loaded_ = 0;
  SnapshotContents contents_;
  std::shared_ptr<const ModelSnapshot> snapshot_;
  std::shared_ptr<const CatalogView> view_;
  Scratch scratch_;
  Recommendation result_;
};

TEST_F(RecommenderTest, WhatIsKnownDecidesTheSource) {
  Load({});
  const std::vector<float> long_term(snapshot_->dim(), 0.1f);
  const std::vector<ItemKey> context = {ItemKeyOf("item-4")}, unknown = {ItemKeyOf("nothing")};
  const std::vector<HistoryEvent> history = {Event("item-1", 0)};
  const std::vector<HistoryEvent> useless = {Event("nothing", 0), Event("item-1", 0, kUnknownType)};

  Run({.k = 3}, {});
  EXPECT_EQ(result_.source, ItemSource::kPopular);
  Run({.k = 3, .context_items = unknown}, {.history = useless});
  EXPECT_EQ(result_.source, ItemSource::kPopular);
  Run({.k = 3, .context_items = context}, {.history = useless});
  EXPECT_EQ(result_.source, ItemSource::kContext);
  Run({.k = 3, .context_items = context}, {.history = useless, .long_term = long_term});
  EXPECT_EQ(result_.source, ItemSource::kLongTerm);
  EXPECT_EQ(result_.num_history_events_used, 0u);
  Run({.k = 3, .context_items = context}, {.history = history, .long_term = long_term});
  EXPECT_EQ(result_.source, ItemSource::kHistory);
  EXPECT_EQ(result_.num_history_events_used, 1u);
  EXPECT_EQ(result_.items.size(), 3u);
}

TEST_F(RecommenderTest, WhatTheUserIsLookingAtIsNotRecommendedBack) {
  Load({});
  const std::vector<ItemKey> context = {ItemKeyOf("item-4")};
  const uint32_t row = *view_->FindRow(context[0]);
  const auto has_row = [&] {
    return std::any_of(result_.items.begin(), result_.items.end(),
                       [&](const RecommendedItem& item) { return item.row == row; });
  };
  Run({.k = view_->num_rows(), .context_items = context}, {});
  EXPECT_FALSE(has_row());
  EXPECT_EQ(result_.items.size(), view_->num_rows() - 1);
  Run({.k = view_->num_rows(), .context_items = context, .exclude_seen = false}, {});
  EXPECT_TRUE(has_row());
}

TEST_F(RecommenderTest, BadQueriesAreRefusedAndLeaveNoResult) {
  Load({.dim = 16});
  const std::vector<float> too_short(15);
  result_.items.resize(5);
  absl::Status status = Recommend(*snapshot_, *view_, {.k = 0}, {}, scratch_, &result_);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(result_.items.empty());
  status = Recommend(*snapshot_, *view_, {.k = 1}, {.long_term = too_short}, scratch_, &result_);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("15"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("16"));
  const std::vector<uint32_t> rows = {0, 100};
  status = ScoreItems(*snapshot_, *view_, {}, {}, rows, scratch_, &result_);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(result_.items.empty());
  EXPECT_FALSE(ScoreItems(*snapshot_, *view_, {}, {.long_term = too_short}, {}, scratch_, &result_).ok());
  EXPECT_FALSE(SimilarItems(*snapshot_, *view_, {.k = 0}, 0, scratch_, &result_).ok());
  EXPECT_FALSE(SimilarItems(*snapshot_, *view_, {.k = 1}, 100, scratch_, &result_).ok());
}

TEST_F(RecommenderTest, SeenItemsAreLeftOutOnRequestWhateverTheirClass) {
  Load({.num_items = 20});
  const std::vector<HistoryEvent> history = {Event("item-1", 0, kUnknownType), Event("item-2", 1)};
  Run({.k = 100}, {.history = history});
  EXPECT_EQ(result_.items.size(), 18u);
  EXPECT_THAT(Ids(), Not(Contains("item-1")));
  EXPECT_THAT(Ids(), Not(Contains("item-2")));
  Run({.k = 100, .exclude_seen = false}, {.history = history});
  EXPECT_EQ(result_.items.size(), 20u);
}

TEST_F(RecommenderTest, EverySeenItemIsLeftOutAlsoBeyondTheEncodersEvents) {
  Load({.num_items = 50, .max_events = 3});
  std::vector<HistoryEvent> history;
  for (int i = 0; i < 20; ++i) history.push_back(Event(absl::StrCat("item-", i), i));
  Run({.k = 100}, {.history = history});
  EXPECT_EQ(result_.num_history_events_used, 3u);
  EXPECT_EQ(result_.items.size(), 30u);
}

TEST_F(RecommenderTest, TheNewestUsableEventsAreTheSlots) {
  Load({.max_events = 2});
  const std::vector<HistoryEvent> history = {Event("item-1", 0), Event("item-2", kHour),
                                             Event("nothing", 2 * kHour), Event("item-3", 3 * kHour),
                                             Event("item-4", 9 * kHour, kUnknownType)};
  Run({.k = 1, .explain = true}, {.history = history});
  std::set<uint32_t> used;
  for (const Contribution& c : result_.ExplanationOf(result_.items[0])) {
    if (c.kind == ContributionKind::kEvent) {
      used.insert(c.history_index);
      EXPECT_EQ(view_->ItemId(c.row), c.history_index == 1 ? "item-2" : "item-3");
    }
  }
  EXPECT_EQ(used, (std::set<uint32_t>{1, 3}));
}

TEST_F(RecommenderTest, EventsThatNoModelKnowsChangeNothingButWhatIsSeen) {
  Load({});
  const std::vector<HistoryEvent> plain = {Event("item-1", 0), Event("item-2", kHour)};
  const std::vector<HistoryEvent> noisy = {Event("nothing", -5), Event("item-1", 0), Event("nothing", 7),
                                           Event("item-2", kHour), Event("nothing", 100 * kHour)};
  Run({.k = 10}, {.history = plain});
  const Recommendation first = result_;
  Run({.k = 10}, {.history = noisy});
  ASSERT_EQ(result_.items.size(), first.items.size());
  for (size_t i = 0; i < first.items.size(); ++i) {
    EXPECT_EQ(result_.items[i].row, first.items[i].row);
    EXPECT_EQ(result_.items[i].score, first.items[i].score);
  }
}

TEST_F(RecommenderTest, ADislikeTurnsTheScoresAround) {
  Load({.with_bias = false});
  const std::vector<HistoryEvent> view = {Event("item-1", 0)}, dislike = {Event("item-1", 0, kDislike)};
  Run({.k = 99}, {.history = view});
  std::vector<std::string> reversed = Ids();
  std::reverse(reversed.begin(), reversed.end());
  Run({.k = 99}, {.history = dislike});
  EXPECT_EQ(Ids(), reversed);
}

TEST_F(RecommenderTest, DeletedItemsAreNotRecommendedButStillCountAsHistory) {
  Load({.num_items = 20});
  const std::vector<HistoryEvent> history = {Event("item-1", 0)};
  Run({.k = 100}, {.history = history});
  const Recommendation before = result_;
  Change({{.item_id = "item-1", .deleted = true}, {.item_id = "item-2", .deleted = true}});
  Run({.k = 100, .exclude_seen = false}, {.history = history});
  EXPECT_EQ(result_.source, ItemSource::kHistory);
  EXPECT_EQ(result_.items.size(), 18u);
  EXPECT_THAT(Ids(), Not(Contains("item-1")));
  EXPECT_THAT(Ids(), Not(Contains("item-2")));
  for (const RecommendedItem& item : result_.items) {
    const auto it = std::find_if(before.items.begin(), before.items.end(),
                                 [&](const RecommendedItem& b) { return b.row == item.row; });
    ASSERT_NE(it, before.items.end());
    EXPECT_EQ(it->score, item.score) << "the user vector is the same";
  }
}

TEST_F(RecommenderTest, AnUpsertedItemIsRecommendedAtOnceAndSeenInItsNewRow) {
  Load({.num_items = 200, .with_bias = false, .with_input_vectors = false});
  std::vector<float> vector = snapshot_->ItemVector(5).Values();
  for (float& x : vector) x *= 10;
  Change({WithVector("fresh", vector), WithVector("item-9", vector)});
  const std::vector<HistoryEvent> history = {Event("item-5", 0)};
  Run({.k = 2}, {.history = history});
  EXPECT_THAT(Ids(), ElementsAre("fresh", "item-9"));
  EXPECT_EQ(result_.items[0].score, result_.items[1].score);
  const std::vector<HistoryEvent> seen = {Event("item-5", 0), Event("fresh", 1), Event("item-9", 2)};
  Run({.k = 300}, {.history = seen});
  EXPECT_THAT(Ids(), Not(Contains("fresh")));
  EXPECT_THAT(Ids(), Not(Contains("item-9")));
  EXPECT_EQ(result_.items.size(), 198u);
}

TEST_F(RecommenderTest, AnItemWithoutAVectorStandsWhereAnAverageItemOfItsCategoriesDoes) {
  for (const IndexMode index : {IndexMode::kNever, IndexMode::kAlways}) {
    Load({.num_items = 300}, index);
    std::vector<CatalogItem> changes;
    for (int i = 0; i < 40; ++i) {
      changes.push_back({.item_id = absl::StrCat("new-", i),
                         .has_metadata = true,
                         .categories = {absl::StrCat("cat-", i % 2)}});
    }
    Change(changes);
    const std::vector<HistoryEvent> history = {Event("item-1", 0), Event("item-3", kHour)};
    Run({.k = 1000, .exclude_seen = false, .explain = true}, {.history = history});
    ASSERT_EQ(result_.items.size(), 340u);
    EXPECT_TRUE(result_.retrieval.proven_exact);
    ExpectExplanationsAddUp();
    std::map<uint32_t, double> scores;
    for (size_t i = 0; i < result_.items.size(); ++i) {
      scores[result_.items[i].row] = double{result_.items[i].score};
      if (i == 0) continue;
      EXPECT_TRUE(IsBetter({result_.items[i - 1].row, result_.items[i - 1].score},
                           {result_.items[i].row, result_.items[i].score}));
    }
    double sum = 0;
    int count = 0;
    const uint32_t category = view_->FindCategory("cat-1").value();
    for (uint32_t row = 0; row < 300; ++row) {
      const std::span<const uint32_t> ids = view_->CategoriesOf(row);
      if (std::find(ids.begin(), ids.end(), category) == ids.end()) continue;
      sum += scores.at(row);
      ++count;
    }
    EXPECT_NEAR(scores.at(Row("new-1")), sum / count, 1e-4);
    EXPECT_EQ(scores.at(Row("new-1")), scores.at(Row("new-3")));

    // Filters and small k: the answer is the head of the whole list.
    const std::vector<RecommendedItem> all = result_.items;
    const std::vector<ItemKey> exclude = {ItemKeyOf("new-1"), ItemKeyOf("new-5")};
    const std::vector<std::string_view> any_of = {"cat-1"};
    for (uint32_t k = 1; k < 200; k += 13) {
      Run({.k = k, .exclude_items = exclude, .any_of_categories = any_of, .exclude_seen = false},
          {.history = history});
      size_t i = 0;
      for (const RecommendedItem& item : all) {
        const std::span<const uint32_t> ids = view_->CategoriesOf(item.row);
        if (item.row == Row("new-1") || item.row == Row("new-5") || i == k ||
            std::find(ids.begin(), ids.end(), category) == ids.end()) {
          continue;
        }
        ASSERT_LT(i, result_.items.size());
        EXPECT_EQ(result_.items[i].row, item.row);
        EXPECT_EQ(result_.items[i].score, item.score);
        ++i;
      }
      EXPECT_EQ(i, result_.items.size());
    }

    // It is near the others of its category, and events with it count.
    ASSERT_TRUE(SimilarItems(*snapshot_, *view_, {.k = 1000}, Row("new-0"), scratch_, &result_).ok());
    ASSERT_EQ(result_.items.size(), 339u);
    EXPECT_NEAR(result_.items[0].score, 1, 1e-6);
    for (const RecommendedItem& item : result_.items) {
      EXPECT_NEAR(item.score, Cosine(Row("new-0"), item.row), 1e-5);
    }
    const std::vector<HistoryEvent> with_new = {Event("new-1", 0)};
    Run({.k = 5}, {.history = with_new});
    EXPECT_EQ(result_.source, ItemSource::kHistory);
    EXPECT_EQ(result_.num_history_events_used, 1u);
    EXPECT_THAT(Ids(), Not(Contains("new-1")));
    // Of popular items they are the last, as all new ones.
    Run({.k = 310}, {});
    for (size_t i = 0; i < 300; ++i) EXPECT_LT(result_.items[i].row, 300u);
    EXPECT_EQ(result_.items[300].row, Row("new-0"));
  }
}

TEST_F(RecommenderTest, EqualScoresOfSharedAndOwnVectorsGoToTheLowerRow) {
  Load({.num_items = 20, .with_bias = false});
  Change({{.item_id = "shared", .has_metadata = true, .categories = {"cat-1"}}});
  const std::vector<float> mean = view_->ItemVector(Row("shared")).Values();
  Change({WithVector("own", mean)});
  ASSERT_GT(Row("own"), Row("shared"));
  const std::vector<HistoryEvent> history = {Event("item-1", 0)};
  Run({.k = 100}, {.history = history});
  const std::vector<std::string> all = Ids();
  const auto shared = std::find(all.begin(), all.end(), "shared");
  ASSERT_NE(shared, all.end());
  ASSERT_NE(shared + 1, all.end());
  EXPECT_EQ(*(shared + 1), "own");
  for (uint32_t k = 1; k < all.size(); ++k) {
    Run({.k = k}, {.history = history});
    EXPECT_EQ(Ids(), std::vector<std::string>(all.begin(), all.begin() + k));
  }
}

TEST_F(RecommenderTest, OfManyItemsWithSharedVectorsTheBestComeFirst) {
  Load({.num_items = 100});
  std::vector<CatalogItem> changes;
  for (int i = 0; i < 1200; ++i) {
    changes.push_back({.item_id = absl::StrCat("new-", i),
                       .has_metadata = true,
                       .categories = {absl::StrCat("cat-", i * 7 % 5), "only new ones"}});
  }
  Change(changes);
  const std::vector<HistoryEvent> history = {Event("item-1", 0)};
  const std::vector<std::string_view> any_of = {"only new ones"};
  Run({.k = 2000, .any_of_categories = any_of}, {.history = history});
  ASSERT_EQ(result_.items.size(), 1200u);
  const std::vector<std::string> all = Ids();
  for (size_t i = 1; i < result_.items.size(); ++i) {
    EXPECT_TRUE(IsBetter({result_.items[i - 1].row, result_.items[i - 1].score},
                         {result_.items[i].row, result_.items[i].score}));
  }
  for (uint32_t k = 1; k < all.size(); k += 97) {
    Run({.k = k, .any_of_categories = any_of}, {.history = history});
    EXPECT_EQ(Ids(), std::vector<std::string>(all.begin(), all.begin() + k));
  }
}

TEST_F(RecommenderTest, CategoryFilters) {
  Load({.num_items = 60, .num_categories = 6});
  Change({{.item_id = "item-0", .has_metadata = true, .categories = {"renamed"}}});
  const std::vector<HistoryEvent> history = {Event("item-59", 0)};
  const auto with = [&](std::vector<std::string_view> any, std::vector<std::string_view> none) {
    Run({.k = 100, .any_of_categories = any, .none_of_categories = none}, {.history = history});
    return result_.items.size();
  };
  const auto expected = [&](const std::set<std::string_view>& any, const std::set<std::string_view>& none) {
    size_t n = 0;
    for (uint32_t row = 0; row < 59; ++row) {
      bool has_any = any.empty(), has_none = true;
      for (const uint32_t id : view_->CategoriesOf(row)) {
        has_any = has_any || any.count(view_->CategoryName(id)) > 0;
        has_none = has_none && none.count(view_->CategoryName(id)) == 0;
      }
      n += has_any && has_none;
    }
    return n;
  };
  EXPECT_EQ(with({"cat-1"}, {}), expected({"cat-1"}, {}));
  EXPECT_EQ(with({"cat-1", "cat-2"}, {"cat-3"}), expected({"cat-1", "cat-2"}, {"cat-3"}));
  EXPECT_EQ(with({}, {"cat-0"}), expected({}, {"cat-0"}));
  EXPECT_EQ(with({"renamed"}, {}), 1u);
  EXPECT_EQ(with({"no such category"}, {}), 0u) << "a name that no item has matches nothing";
  EXPECT_EQ(with({"no such category", "renamed"}, {}), 1u);
  EXPECT_EQ(with({}, {"no such category"}), 59u);
}

TEST_F(RecommenderTest, PopularItemsComeInOrderWithReplacedRowsInPlaceAndNewOnesLast) {
  Load({.num_items = 30});
  const std::span<const uint32_t> order = snapshot_->popularity_order();
  const std::string replaced(snapshot_->ItemId(order[2])), deleted(snapshot_->ItemId(order[1])),
      excluded(snapshot_->ItemId(order[3]));
  const std::vector<float> vector(snapshot_->dim(), 1.0f);
  Change({WithVector("new-1", vector),
          WithVector(replaced, vector),
          {.item_id = deleted, .deleted = true},
          WithVector("new-2", vector)});
  const std::vector<ItemKey> exclude = {ItemKeyOf(excluded)};
  Run({.k = 1000, .exclude_items = exclude, .explain = true}, {});
  std::vector<std::string> want;
  for (const uint32_t row : order) {
    const std::string id(snapshot_->ItemId(row));
    if (id != deleted && id != excluded) want.push_back(id);
  }
  want.insert(want.end(), {"new-1", "new-2"});
  EXPECT_EQ(Ids(), want);
  for (const RecommendedItem& item : result_.items) {
    EXPECT_EQ(item.score, view_->Popularity(item.row));
    ASSERT_EQ(result_.ExplanationOf(item).size(), 1u);
    EXPECT_EQ(result_.ExplanationOf(item)[0].kind, ContributionKind::kPopularity);
    EXPECT_EQ(result_.ExplanationOf(item)[0].score, item.score);
  }
  Run({.k = 2}, {});
  EXPECT_EQ(Ids(), std::vector<std::string>(want.begin(), want.begin() + 2)) << "excluded one is back";
  EXPECT_LT(result_.retrieval.rows_scored, 6u) << "stops when it has k";
}

TEST_F(RecommenderTest, SimilarItemsAreTheNearestByCosine) {
  Load({.num_items = 300});
  std::vector<float> scaled = snapshot_->ItemVector(8).Values();
  for (float& x : scaled) x *= -25;
  Change({WithVector("opposite", scaled),
          WithVector("zero", std::vector<float>(snapshot_->dim())),
          {.item_id = "item-11", .deleted = true}});
  for (const uint32_t row : {8u, 11u, Row("opposite")}) {
    const absl::Status status = SimilarItems(*snapshot_, *view_, {.k = 400}, row, scratch_, &result_);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(result_.items.size(), row == 11 ? 301u : 300u) << "all but the item itself and the deleted one";
    for (size_t i = 0; i < result_.items.size(); ++i) {
      const RecommendedItem& item = result_.items[i];
      EXPECT_NE(item.row, row);
      EXPECT_NEAR(item.score, Cosine(row, item.row), 1e-5);
      EXPECT_LE(std::fabs(item.score), 1.0f);
      if (i > 0) {
        EXPECT_LE(item.score, result_.items[i - 1].score);
      }
    }
    if (row == 8) {
      EXPECT_EQ(Ids().back(), "opposite");
    }
  }
}

TEST_F(RecommenderTest, SimilarItemsObeyFiltersAndZeroVectorsHaveCosineZero) {
  Load({.num_items = 40, .num_categories = 4});
  Change({WithVector("zero", std::vector<float>(snapshot_->dim()))});
  const std::vector<std::string_view> any_of = {"cat-2"};
  const std::vector<ItemKey> exclude = {ItemKeyOf("item-2")};
  ASSERT_TRUE(SimilarItems(*snapshot_, *view_,
                           {.k = 100, .exclude_items = exclude, .any_of_categories = any_of}, Row("zero"),
                           scratch_, &result_)
                  .ok());
  EXPECT_GT(result_.items.size(), 5u);
  for (const RecommendedItem& item : result_.items) {
    EXPECT_EQ(item.score, 0.0f);
    EXPECT_NE(item.row, 2u);
    EXPECT_THAT(
        std::vector<uint32_t>(view_->CategoriesOf(item.row).begin(), view_->CategoriesOf(item.row).end()),
        Contains(view_->FindCategory("cat-2").value()));
  }
}

TEST_F(RecommenderTest, AbsurdButFiniteVectorsDoNotCrash) {
  Load({});
  const float huge = std::numeric_limits<float>::max();
  std::vector<float> vector(snapshot_->dim(), huge);
  for (size_t j = 0; j < vector.size(); j += 2) vector[j] = -huge;
  std::vector<CatalogItem> changes;
  for (int i = 0; i < 40; ++i) changes.push_back(WithVector(absl::StrCat("huge-", i), vector));
  Change(changes);
  std::vector<HistoryEvent> history;
  std::vector<uint32_t> rows;
  for (int i = 0; i < 40; ++i) {
    history.push_back(Event(absl::StrCat("huge-", i), std::numeric_limits<int64_t>::min() + i));
    rows.push_back(Row(absl::StrCat("huge-", i)));
  }
  history.push_back(Event("item-1", std::numeric_limits<int64_t>::max()));
  Run({.k = 1000, .explain = true}, {.history = history});
  for (const RecommendedItem& item : result_.items) EXPECT_FALSE(std::isnan(item.score));
  EXPECT_TRUE(
      ScoreItems(*snapshot_, *view_, {.explain = true}, {.history = history}, rows, scratch_, &result_).ok());
  EXPECT_EQ(result_.items.size(), rows.size());
  EXPECT_TRUE(SimilarItems(*snapshot_, *view_, {.k = 100}, rows[0], scratch_, &result_).ok());
}

// The definition of a recommendation in doubles: slots, attention, scores of all rows.
class Oracle {
 public:
  Oracle(const SnapshotContents& contents, const ModelSnapshot& snapshot, const CatalogView& view,
         const RecommendQuery& query, const UserState& user)
      : view_(view), vector_(snapshot.dim()) {
    std::vector<double> logits, signs;
    std::vector<VectorView> inputs;
    int64_t newest = 0;
    for (size_t i = user.history.size(); i-- > 0 && inputs.size() < contents.manifest.max_events;) {
      const HistoryEvent& e = user.history[i];
      const auto row = view.FindRow(e.item_key);
      const int c = ClassOf(contents, e);
      if (!row.has_value() || c < 0) continue;
      if (inputs.empty()) newest = e.timestamp_ms;
      const size_t position = std::min(inputs.size(), contents.position_logits.size() - 1);
      logits.push_back(
          double{contents.class_logits[static_cast<size_t>(c)]} + contents.position_logits[position] +
          contents.recency_logits[RecencyBucket(newest - e.timestamp_ms)] + view.AttentionLogit(*row));
      signs.push_back(contents.manifest.event_classes[static_cast<size_t>(c)].sign);
      inputs.push_back(view.InputVector(*row));
    }
    num_events_ = inputs.size();
    if (!user.long_term.empty()) {
      logits.push_back(contents.long_term_logit);
      signs.push_back(1);
      inputs.push_back(user.long_term);
    }
    for (const ItemKey key : query.context_items) {
      if (const auto row = view.FindRow(key); row.has_value()) {
        logits.push_back(contents.context_logit);
        signs.push_back(1);
        inputs.push_back(view.InputVector(*row));
      }
    }
    is_popular_ = inputs.empty();
    double total = 0;
    for (const double l : logits) total += std::exp(l);
    for (size_t j = 0; j < inputs.size(); ++j) {
      for (size_t i = 0; i < vector_.size(); ++i) {
        vector_[i] += std::exp(logits[j]) / total * signs[j] * double{inputs[j][i]};
      }
    }
    // What an answer may contain.
    std::set<uint32_t> out;
    for (const ItemKey key : query.exclude_items) {
      if (const auto row = view.FindRow(key); row.has_value()) out.insert(*row);
    }
    if (query.exclude_seen) {
      for (const HistoryEvent& e : user.history) {
        if (const auto row = view.FindRow(e.item_key); row.has_value()) out.insert(*row);
      }
      for (const ItemKey key : query.context_items) {
        if (const auto row = view.FindRow(key); row.has_value()) out.insert(*row);
      }
    }
    for (uint32_t row = 0; row < view.num_rows(); ++row) {
      bool any = query.any_of_categories.empty(), none = true;
      for (const uint32_t id : view.CategoriesOf(row)) {
        const auto has = [&](std::span<const std::string_view> names) {
          return std::find(names.begin(), names.end(), view.CategoryName(id)) != names.end();
        };
        any = any || has(query.any_of_categories);
        none = none && !has(query.none_of_categories);
      }
      if (!view.IsMasked(row) && out.count(row) == 0 && any && none) allowed_.insert(row);
    }
  }

  double Score(uint32_t row) const {
    if (is_popular_) return view_.Popularity(row);
    double score = view_.Bias(row);
    for (size_t i = 0; i < vector_.size(); ++i) score += vector_[i] * double{view_.ItemVector(row)[i]};
    return score;
  }
  const std::set<uint32_t>& allowed() const { return allowed_; }
  size_t num_events() const { return num_events_; }
  bool is_popular() const { return is_popular_; }

 private:
  static int ClassOf(const SnapshotContents& contents, const HistoryEvent& e) {
    int best = -1;
    for (size_t c = 0; c < contents.manifest.event_classes.size(); ++c) {
      const EventClass& ec = contents.manifest.event_classes[c];
      if (ec.type == e.type && e.value >= ec.min_value) best = static_cast<int>(c);
    }
    return best;
  }

  const CatalogView& view_;
  std::vector<double> vector_;
  std::set<uint32_t> allowed_;
  size_t num_events_ = 0;
  bool is_popular_ = false;
};

TEST_F(RecommenderTest, AgreesWithTheDefinitionForRandomSnapshotsCataloguesAndUsers) {
  std::mt19937 random(17);
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const IndexMode index = seed % 2 == 0 ? IndexMode::kAlways : IndexMode::kNever;
    const uint32_t dim = 1 + random() % 70;
    const RowType row_type = seed % 3 == 0 ? RowType::kBf16 : RowType::kFloat32;
    Load({.num_items = 1 + static_cast<uint32_t>(random() % 2500),
          .dim = dim,
          .num_categories = static_cast<uint32_t>(random() % 8),
          .seed = seed,
          .with_bias = random() % 3 != 0,
          .with_input_vectors = random() % 2 == 0,
          .with_attention_logits = random() % 2 == 0,
          .max_events = 1 + static_cast<uint32_t>(random() % 60),
          .row_type = row_type},
         index);
    ASSERT_EQ(snapshot_->manifest().index.has_value(), index == IndexMode::kAlways);
    const uint32_t num_known = snapshot_->num_items() + 100;  // some ids beyond: new or unknown
    const auto random_id = [&] { return absl::StrCat("item-", random() % num_known); };
    for (int round = 0; round < 25; ++round) {
      std::vector<CatalogItem> changes;
      for (uint32_t n = random() % 60; n > 0; --n) {
        CatalogItem item{
            .item_id = random_id(), .deleted = random() % 4 == 0, .has_metadata = random() % 3 == 0};
        if (item.has_metadata) item.categories = {absl::StrCat("cat-", random() % 10)};
        if (random() % 2 == 0) {
          item.space = "test-space";
          std::normal_distribution<float> normal(0.0f, 1.5f / std::sqrt(static_cast<float>(dim)));
          for (uint32_t j = 0; j < dim; ++j) item.vector.push_back(normal(random));
        }
        changes.push_back(std::move(item));
      }
      Change(changes);
      std::vector<HistoryEvent> history;
      int64_t time = 1'700'000'000'000;
      for (uint32_t n = random() % 3 == 0 ? 0 : random() % 100; n > 0; --n) {
        time += static_cast<int64_t>(random() % (100 * kHour));
        history.push_back(Event(random_id(), time, static_cast<EventTypeId>(random() % 15),
                                static_cast<float>(random() % 11) / 2));
      }
      std::vector<float> long_term;
      if (random() % 2 == 0) {
        for (uint32_t j = 0; j < dim; ++j)
          long_term.push_back(static_cast<float>(random() % 100) / 100 - 0.5f);
      }
      std::vector<ItemKey> context, exclude;
      for (uint32_t n = random() % 3; n > 0; --n) context.push_back(ItemKeyOf(random_id()));
      for (uint32_t n = random() % 20; n > 0; --n) exclude.push_back(ItemKeyOf(random_id()));
      std::vector<std::string_view> any_of, none_of;
      if (random() % 3 == 0) any_of = {"cat-1", "cat-9"};
      if (random() % 3 == 0) none_of = {"cat-2", "unknown"};
      const RecommendQuery query{.k = 1 + static_cast<uint32_t>(random() % (round % 5 == 0 ? 3000 : 30)),
                                 .exclude_items = exclude,
                                 .context_items = context,
                                 .any_of_categories = any_of,
                                 .none_of_categories = none_of,
                                 .exclude_seen = random() % 2 == 0,
                                 .explain = true};
      const UserState user{.history = history, .long_term = long_term};
      Run(query, user);

      SCOPED_TRACE(absl::StrCat("seed ", seed, " round ", round));
      const Oracle oracle(contents_, *snapshot_, *view_, query, user);
      EXPECT_EQ(result_.num_history_events_used, oracle.num_events());
      EXPECT_EQ(result_.source == ItemSource::kPopular, oracle.is_popular());
      EXPECT_TRUE(result_.retrieval.proven_exact);
      ASSERT_EQ(result_.items.size(), std::min<size_t>(query.k, oracle.allowed().size()));
      // Vectors have norms about 1 to 4: sums of 70 products are off by less than this in float.
      constexpr double kTolerance = 2e-5;
      std::set<uint32_t> answer;
      for (size_t i = 0; i < result_.items.size(); ++i) {
        const RecommendedItem& item = result_.items[i];
        ASSERT_EQ(oracle.allowed().count(item.row), 1u) << view_->ItemId(item.row);
        ASSERT_TRUE(answer.insert(item.row).second) << "twice";
        ASSERT_NEAR(item.score, oracle.Score(item.row), kTolerance);
        if (i > 0) {
          ASSERT_LE(item.score, result_.items[i - 1].score);
        }
      }
      for (const uint32_t row : oracle.allowed()) {
        if (answer.count(row) == 0) {
          ASSERT_LE(oracle.Score(row), double{result_.items.back().score} + kTolerance);
        }
      }
      ExpectExplanationsAddUp();

      // Scores of the same items, and of some others, by name.
      const Recommendation recommended = result_;
      std::vector<uint32_t> rows;
      for (const RecommendedItem& item : recommended.items) rows.push_back(item.row);
      rows.push_back(static_cast<uint32_t>(random() % view_->num_rows()));
      ASSERT_TRUE(ScoreItems(*snapshot_, *view_, query, user, rows, scratch_, &result_).ok());
      ASSERT_EQ(result_.items.size(), rows.size());
      EXPECT_EQ(result_.source, recommended.source);
      for (size_t i = 0; i < recommended.items.size(); ++i) {
        ASSERT_EQ(result_.items[i].row, recommended.items[i].row);
        ASSERT_EQ(result_.items[i].score, recommended.items[i].score) << "to the last bit";
      }
      ASSERT_NEAR(result_.items.back().score, oracle.Score(rows.back()), kTolerance);
      ExpectExplanationsAddUp();
    }
  }
}

// Users who ask again, in between events, changes of the catalogue and other snapshots: what is remembered is
// what would be made.
TEST_F(RecommenderTest, RememberedUserVectorsAnswerAsNewOnesDo) {
  std::mt19937 random(23);
  Scratch remembers;
  remembers.user_vectors.Configure(40'000, 5);  // some of the users' at dim 24
  struct User {
    std::vector<HistoryEvent> history;
    std::vector<float> long_term;
  };
  std::vector<User> users(40);
  const auto random_id = [&] { return absl::StrCat("item-", random() % 600); };
  uint32_t num_reused = 0, num_others = 0;
  int64_t time = 1'700'000'000'000;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    Load({.num_items = 500, .dim = 24, .seed = seed, .with_input_vectors = true, .max_events = 20});
    for (User& user : users) user.long_term.clear();
    for (int step = 0; step < 600; ++step) {
      User& user = users[std::min(random() % users.size(), random() % users.size())];
      switch (random() % 6) {
        case 0:
          user.history.push_back(Event(random_id(), ++time, static_cast<EventTypeId>(1 + random() % 7)));
          break;
        case 1:
          if (random() % 10 == 0) user.long_term.assign(24, static_cast<float>(random() % 9));
          break;
        case 2:
          if (random() % 20 != 0) break;
          Change({WithVector(random_id(), std::vector<float>(24, static_cast<float>(random() % 9)))});
          Change({{.item_id = random_id(), .deleted = true}});
          break;
        default:
          break;
      }
      const ItemKey context = ItemKeyOf(random_id());
      RecommendQuery query{.k = 10, .exclude_seen = random() % 4 != 0, .explain = random() % 5 == 0};
      if (random() % 5 == 0) query.context_items = {&context, 1};
      if (random() % 5 == 0) query.exclude_items = {&context, 1};
      query.reuse_user_vector = random() % 10 != 0;
      const UserState state{.history = user.history, .long_term = user.long_term};
      Run(query, state);
      Recommendation result;
      ASSERT_TRUE(Recommend(*snapshot_, *view_, query, state, remembers, &result).ok());
      ASSERT_EQ(result.source, result_.source);
      ASSERT_EQ(result.num_history_events_used, result_.num_history_events_used);
      ASSERT_EQ(result.items.size(), result_.items.size());
      for (size_t i = 0; i < result.items.size(); ++i) {
        ASSERT_EQ(result.items[i].row, result_.items[i].row);
        ASSERT_EQ(result.items[i].score, result_.items[i].score) << "to the last bit";
      }
      EXPECT_FALSE(result_.user_vector_reused);
      if (query.explain || !query.context_items.empty() || !query.reuse_user_vector) {
        EXPECT_FALSE(result.user_vector_reused);
      }
      ++(result.user_vector_reused ? num_reused : num_others);
    }
  }
  EXPECT_GT(num_reused, 200u);
  EXPECT_GT(num_others, 200u);
}

TEST_F(RecommenderTest, AUserVectorIsRememberedUntilSomethingChanges) {
  Load({.num_items = 100, .dim = 8});
  scratch_.user_vectors.Configure(1 << 20, 5);
  std::vector<HistoryEvent> history = {Event("item-1", 1), Event("item-2", 2)};
  const auto reused = [&](const RecommendQuery& query) {
    Run(query, {.history = history});
    return result_.user_vector_reused;
  };
  EXPECT_FALSE(reused({.k = 3}));
  EXPECT_TRUE(reused({.k = 3}));
  EXPECT_TRUE(reused({.k = 50})) << "a user vector serves any k";
  EXPECT_EQ(result_.num_history_events_used, 2u);
  EXPECT_THAT(Ids(), Not(Contains("item-1")));
  EXPECT_FALSE(reused({.k = 50, .exclude_seen = false}));
  EXPECT_TRUE(reused({.k = 100, .exclude_seen = false}));
  EXPECT_THAT(Ids(), Contains("item-1"));
  history.push_back(Event("item-3", 3));
  EXPECT_FALSE(reused({.k = 3}));
  EXPECT_TRUE(reused({.k = 3}));
  Change({{.item_id = "item-9", .deleted = true}});
  EXPECT_FALSE(reused({.k = 3}));
  EXPECT_TRUE(reused({.k = 3}));
}

// One snapshot stores bf16, the other the same numbers as float32: nobody can tell them apart by their
// answers.
TEST_F(RecommenderTest, RowsOfBf16AnswerAsTheirFloat32ValuesDo) {
  std::mt19937 random(23);
  for (const IndexMode index : {IndexMode::kNever, IndexMode::kAlways}) {
    for (const bool with_input_vectors : {false, true}) {
      const testing::RandomSnapshotOptions options{.num_items = 2000,
                                                   .dim = 37,
                                                   .seed = 3,
                                                   .with_input_vectors = with_input_vectors,
                                                   .row_type = RowType::kBf16};
      Load(options, index);
      const auto bf16 = snapshot_;
      contents_.manifest.row_type = RowType::kFloat32;
      for (std::vector<float>* table : {&contents_.item_vectors, &contents_.item_input_vectors}) {
        for (float& x : *table) x = ToFloat(ToBf16(x));
      }
      snapshot_ = testing::WriteAndLoad(dir_.File(absl::StrCat("widened-", num_loaded_)), contents_);
      ASSERT_NE(bf16->items().bf16_vectors, nullptr);
      ASSERT_NE(snapshot_->items().vectors, nullptr);
      const std::vector<CatalogItem> changes = {WithVector("new", std::vector<float>(37, 0.2f)),
                                                WithVector("item-3", std::vector<float>(37, -0.1f)),
                                                {.item_id = "item-4", .deleted = true}};
      view_ = CatalogView::Build(*snapshot_, changes);
      const auto bf16_view = CatalogView::Build(*bf16, changes);
      for (int round = 0; round < 20; ++round) {
        std::vector<HistoryEvent> history;
        for (uint32_t n = random() % 80; n > 0; --n) {
          history.push_back(Event(absl::StrCat("item-", random() % 2000), static_cast<int64_t>(n) * kHour,
                                  static_cast<EventTypeId>(1 + random() % 12), 4));
        }
        std::vector<ItemKey> context;
        for (uint32_t n = random() % 4; n > 0; --n) {
          context.push_back(ItemKeyOf(absl::StrCat("item-", random() % 2000)));
        }
        const std::vector<float> long_term(37, 0.1f);
        UserState user{.history = history};
        if (random() % 2 == 0) user.long_term = long_term;
        const RecommendQuery query{.k = 30, .context_items = context, .explain = true};
        const auto row = static_cast<uint32_t>(random() % view_->num_rows());
        const std::vector<uint32_t> rows = {row, 0, 3, 4, view_->num_rows() - 1};
        Recommendation got;
        const auto expect_same = [&](absl::Status want_status, absl::Status got_status) {
          ASSERT_TRUE(want_status.ok() && got_status.ok()) << want_status << got_status;
          ASSERT_EQ(got.items.size(), result_.items.size());
          ASSERT_EQ(got.contributions.size(), result_.contributions.size());
          EXPECT_EQ(got.source, result_.source);
          EXPECT_TRUE(got.retrieval.proven_exact);
          for (size_t i = 0; i < got.items.size(); ++i) {
            EXPECT_EQ(got.items[i].row, result_.items[i].row);
            EXPECT_EQ(got.items[i].score, result_.items[i].score) << "to the last bit";
          }
          for (size_t i = 0; i < got.contributions.size(); ++i) {
            EXPECT_EQ(got.contributions[i].history_index, result_.contributions[i].history_index);
            EXPECT_EQ(got.contributions[i].weight, result_.contributions[i].weight);
            EXPECT_EQ(got.contributions[i].score, result_.contributions[i].score);
          }
        };
        expect_same(Recommend(*snapshot_, *view_, query, user, scratch_, &result_),
                    Recommend(*bf16, *bf16_view, query, user, scratch_, &got));
        ExpectExplanationsAddUp();
        expect_same(ScoreItems(*snapshot_, *view_, query, user, rows, scratch_, &result_),
                    ScoreItems(*bf16, *bf16_view, query, user, rows, scratch_, &got));
        expect_same(SimilarItems(*snapshot_, *view_, query, row, scratch_, &result_),
                    SimilarItems(*bf16, *bf16_view, query, row, scratch_, &got));
      }
    }
  }
}

}  // namespace
}  // namespace swiftlet
