#include "engine/catalog_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

class CatalogViewTest : public ::testing::Test {
 protected:
  void Load(const testing::RandomSnapshotOptions& options) {
    snapshot_ = testing::WriteAndLoad(dir_.File(absl::StrCat("model-", options.seed)),
                                      testing::RandomSnapshot(options));
  }
  std::shared_ptr<const CatalogView> Build(const std::vector<CatalogItem>& items) {
    return CatalogView::Build(*snapshot_, items);
  }
  CatalogItem WithVector(const std::string& id, float value) const {
    return {.item_id = id, .vector = std::vector<float>(snapshot_->dim(), value), .space = "test-space"};
  }
  static uint32_t Row(const CatalogView& view, std::string_view id) {
    return view.FindRow(ItemKeyOf(id)).value();
  }
  static std::vector<std::string_view> CategoryNames(const CatalogView& view, uint32_t row) {
    std::vector<std::string_view> names;
    for (const uint32_t id : view.CategoriesOf(row)) names.push_back(view.CategoryName(id));
    return names;
  }

  testing::TempDir dir_;
  std::shared_ptr<const ModelSnapshot> snapshot_;
};

TEST_F(CatalogViewTest, WithoutChangesItIsTheSnapshot) {
  Load({.num_items = 70});
  const auto view = Build({});
  EXPECT_EQ(view->num_rows(), 70u);
  EXPECT_TRUE(view->added_items().empty());
  EXPECT_EQ(view->num_overlay_items(), 0u);
  EXPECT_EQ(view->num_categories(), snapshot_->num_categories());
  for (uint32_t row = 0; row < 70; ++row) {
    EXPECT_EQ(view->FindRow(snapshot_->Key(row)), row);
    EXPECT_FALSE(view->IsMasked(row));
    EXPECT_EQ(view->ItemId(row), snapshot_->ItemId(row));
    EXPECT_EQ(view->Title(row), snapshot_->Title(row));
    EXPECT_THAT(view->CategoriesOf(row), ElementsAreArray(snapshot_->CategoryIds(row)));
  }
  EXPECT_EQ(view->FindRow(ItemKeyOf("unknown")), std::nullopt);
}

TEST_F(CatalogViewTest, AnUpsertedItemHasARowItsMetadataAndTheMappedInputVector) {
  Load({});
  CatalogItem item = WithVector("new", 0.5f);
  item.has_metadata = true;
  item.title = "A new one";
  item.categories = {"cat-1", "unheard-of"};
  const auto view = Build({item});
  const uint32_t row = Row(*view, "new");
  EXPECT_EQ(row, snapshot_->num_items());
  EXPECT_EQ(view->ItemId(row), "new");
  EXPECT_EQ(view->Title(row), "A new one");
  EXPECT_THAT(CategoryNames(*view, row), ElementsAre("cat-1", "unheard-of"));
  EXPECT_EQ(view->num_categories(), snapshot_->num_categories() + 1);
  EXPECT_EQ(view->FindCategory("unheard-of"), snapshot_->num_categories());
  EXPECT_THAT(view->ItemVector(row).Values(), ElementsAreArray(item.vector));
  std::vector<float> input(snapshot_->dim());
  snapshot_->MapToInput(item.vector, input);
  EXPECT_THAT(view->InputVector(row).Values(), ElementsAreArray(input));
  EXPECT_EQ(view->Popularity(row), 0.0f);
  EXPECT_EQ(view->Bias(row), 0.0f);
  EXPECT_EQ(view->AttentionLogit(row), 0.0f);
  EXPECT_EQ(view->BaseRowOf(row), std::nullopt);
  EXPECT_FLOAT_EQ(view->InverseNorm(row), 1.0f / (0.5f * std::sqrt(static_cast<float>(snapshot_->dim()))));
}

TEST_F(CatalogViewTest, AReplacedVectorMasksTheSnapshotRowAndKeepsItsFacts) {
  Load({});
  const auto view = Build({WithVector("item-7", 2.0f)});
  const uint32_t row = Row(*view, "item-7");
  EXPECT_GE(row, snapshot_->num_items());
  EXPECT_TRUE(view->IsMasked(7));
  EXPECT_FALSE(view->IsMasked(row));
  EXPECT_EQ(view->Title(row), "Title 7") << "no metadata here: the snapshot's";
  EXPECT_THAT(view->CategoriesOf(row), ElementsAreArray(snapshot_->CategoryIds(7)));
  EXPECT_EQ(view->Popularity(row), snapshot_->Popularity(7));
  EXPECT_EQ(view->Bias(row), snapshot_->Bias(7));
  EXPECT_EQ(view->AttentionLogit(row), snapshot_->AttentionLogit(7));
  EXPECT_EQ(view->BaseRowOf(row), 7u);
}

TEST_F(CatalogViewTest, MetadataAloneAddsNoRow) {
  Load({});
  const auto view =
      Build({{.item_id = "item-3", .has_metadata = true, .title = "Renamed", .categories = {"x"}},
             {.item_id = "item-4", .has_metadata = true}});
  EXPECT_EQ(view->num_rows(), snapshot_->num_items());
  EXPECT_EQ(view->Title(3), "Renamed");
  EXPECT_THAT(CategoryNames(*view, 3), ElementsAre("x"));
  EXPECT_EQ(view->Title(4), "") << "metadata that says nothing counts";
  EXPECT_TRUE(view->CategoriesOf(4).empty());
  EXPECT_EQ(view->num_overlay_items(), 2u);
}

TEST_F(CatalogViewTest, TheVectorOfTheSnapshotAddsNoRow) {
  Load({});
  const std::vector<float> same = snapshot_->ItemVector(5).Values();
  const auto view = Build({{.item_id = "item-5", .vector = same, .space = "test-space"}});
  EXPECT_EQ(view->num_rows(), snapshot_->num_items());
  EXPECT_EQ(Row(*view, "item-5"), 5u);
  EXPECT_FALSE(view->IsMasked(5));
}

TEST_F(CatalogViewTest, AVectorThatTheSnapshotStoresRoundedAddsNoRow) {
  const testing::RandomSnapshotOptions options{.row_type = RowType::kBf16};
  const SnapshotContents contents = testing::RandomSnapshot(options);
  Load(options);
  const auto begin = contents.item_vectors.begin() + 5 * contents.dim;
  std::vector<float> vector(begin, begin + contents.dim);
  ASSERT_NE(vector, snapshot_->ItemVector(5).Values()) << "or it shows nothing";
  EXPECT_EQ(Build({{.item_id = "item-5", .vector = vector, .space = "test-space"}})->num_rows(),
            snapshot_->num_items());
  vector[3] *= 1.01f;
  const auto view = Build({{.item_id = "item-5", .vector = vector, .space = "test-space"}});
  EXPECT_EQ(view->num_rows(), snapshot_->num_items() + 1);
  EXPECT_EQ(view->ItemVector(Row(*view, "item-5")).Values(), vector) << "added rows are not rounded";
}

TEST_F(CatalogViewTest, VectorsThatCannotCountAreNoVectors) {
  Load({});
  CatalogItem other_space = WithVector("a", 1.0f), other_size = WithVector("b", 1.0f),
              not_finite = WithVector("c", 1.0f), replaced = WithVector("item-1", 1.0f);
  other_space.space = "other";
  other_size.vector.push_back(1.0f);
  not_finite.vector[0] = std::numeric_limits<float>::quiet_NaN();
  replaced.space = "";
  const auto view = Build({other_space, other_size, not_finite, replaced, {.item_id = "d"}});
  EXPECT_EQ(view->num_rows(), snapshot_->num_items());
  for (const char* id : {"a", "b", "c", "d"}) EXPECT_EQ(view->FindRow(ItemKeyOf(id)), std::nullopt) << id;
  EXPECT_EQ(Row(*view, "item-1"), 1u);
  EXPECT_EQ(view->num_items_without_vector(), 4u);
  EXPECT_EQ(view->num_overlay_items(), 1u);
}

TEST_F(CatalogViewTest, ZeroVectorsAreFine) {
  Load({});
  const auto view = Build({WithVector("zero", 0.0f)});
  EXPECT_EQ(view->InverseNorm(Row(*view, "zero")), 0.0f);
}

TEST_F(CatalogViewTest, DeletionMasksAndUpsertingBringsBack) {
  Load({});
  CatalogItem added = WithVector("new", 1.0f);
  const auto first = Build({added});
  CatalogItem deleted = added;
  deleted.deleted = true;
  const auto second = first->With(std::vector<CatalogItem>{deleted, {.item_id = "item-2", .deleted = true}});
  EXPECT_TRUE(second->IsMasked(Row(*second, "new"))) << "deleted, but its vector is still known";
  EXPECT_TRUE(second->IsMasked(2));
  EXPECT_EQ(Row(*second, "item-2"), 2u);
  EXPECT_FALSE(first->IsMasked(Row(*first, "new"))) << "the older view does not change";
  EXPECT_FALSE(first->IsMasked(2));
  const auto third = second->With(std::vector<CatalogItem>{added, {.item_id = "item-2"}});
  EXPECT_FALSE(third->IsMasked(Row(*third, "new")));
  EXPECT_FALSE(third->IsMasked(2));
  EXPECT_EQ(third->num_rows(), first->num_rows());
}

TEST_F(CatalogViewTest, RowsOfVectorsThatWentAwayAreUsedAgain) {
  Load({});
  std::shared_ptr<const CatalogView> view = Build({WithVector("a", 1.0f)});
  for (int i = 0; i < 100; ++i) {
    view = view->With(std::vector<CatalogItem>{{.item_id = i % 2 == 0 ? "a" : "b"},
                                               WithVector(i % 2 == 0 ? "b" : "a", static_cast<float>(i))});
  }
  EXPECT_LE(view->num_rows(), snapshot_->num_items() + 2);
  EXPECT_EQ(view->ItemVector(Row(*view, "a"))[0], 99.0f);
  EXPECT_EQ(view->FindRow(ItemKeyOf("b")), std::nullopt);
}

// What a view must say, from the items' states alone.
using States = std::map<std::string, CatalogItem>;

// The mean over the categories of the mean vector of the snapshot's items of each, and of the biases after
// it. Empty when the snapshot has no item of any of them.
std::vector<double> CategoryMean(const ModelSnapshot& snapshot, const std::vector<std::string>& categories) {
  std::vector<double> sum(snapshot.dim() + 1);
  int num_known = 0;
  for (const std::string& name : std::set<std::string>(categories.begin(), categories.end())) {
    std::vector<double> of_category(snapshot.dim() + 1);
    int count = 0;
    for (uint32_t row = 0; row < snapshot.num_items(); ++row) {
      const std::span<const uint32_t> ids = snapshot.CategoryIds(row);
      if (std::none_of(ids.begin(), ids.end(),
                       [&](uint32_t id) { return snapshot.CategoryName(id) == name; })) {
        continue;
      }
      ++count;
      for (uint32_t j = 0; j < snapshot.dim(); ++j) of_category[j] += double{snapshot.ItemVector(row)[j]};
      of_category.back() += double{snapshot.Bias(row)};
    }
    if (count == 0) continue;
    ++num_known;
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += of_category[j] / count;
  }
  if (num_known == 0) return {};
  for (double& x : sum) x /= num_known;
  return sum;
}

void ExpectAgrees(const ModelSnapshot& snapshot, const CatalogView& view, const States& states,
                  const std::set<std::string>& universe) {
  uint64_t num_live = 0, num_overlay = 0, num_without_vector = 0, num_with_category_vector = 0;
  for (const std::string& id : universe) {
    SCOPED_TRACE(id);
    const std::optional<uint32_t> base = snapshot.FindRow(ItemKeyOf(id));
    const auto it = states.find(id);
    const CatalogItem* state = it == states.end() ? nullptr : &it->second;
    const bool usable = state != nullptr && state->space == snapshot.manifest().embedding_space &&
                        state->vector.size() == snapshot.dim();
    const std::optional<uint32_t> row = view.FindRow(ItemKeyOf(id));
    std::vector<double> mean;
    if (!usable && !base.has_value() && state != nullptr && state->has_metadata) {
      mean = CategoryMean(snapshot, state->categories);
    }
    ASSERT_EQ(row.has_value(), usable || base.has_value() || !mean.empty());
    if (state != nullptr) {
      num_overlay += row.has_value();
      num_without_vector += !row.has_value() && !state->deleted;
    }
    if (!row.has_value()) continue;
    ASSERT_LT(*row, view.num_rows());
    const bool deleted = state != nullptr && state->deleted;
    num_live += !deleted;
    num_with_category_vector += !mean.empty() && !deleted;
    EXPECT_EQ(view.HasCategoryVector(*row), !mean.empty());
    EXPECT_EQ(view.IsMasked(*row), deleted);
    EXPECT_EQ(view.ItemId(*row), id);
    if (base.has_value() && *row != *base) {
      EXPECT_TRUE(view.IsMasked(*base));
    }
    if (usable) {
      ASSERT_THAT(view.ItemVector(*row).Values(), ElementsAreArray(state->vector));
    } else if (!mean.empty()) {
      for (uint32_t j = 0; j < snapshot.dim(); ++j) ASSERT_NEAR(view.ItemVector(*row)[j], mean[j], 1e-6);
    } else {
      ASSERT_EQ(*row, *base);
    }
    if (*row >= snapshot.num_items()) {
      std::vector<float> input(snapshot.dim());
      snapshot.MapToInput(view.ItemVector(*row).Values(), input);
      EXPECT_THAT(view.InputVector(*row).Values(), ElementsAreArray(input));
    } else {
      EXPECT_EQ(view.InputVector(*row).Values(), snapshot.InputVector(*row).Values());
    }
    EXPECT_EQ(view.Popularity(*row), base.has_value() ? snapshot.Popularity(*base) : 0.0f);
    if (mean.empty()) {
      EXPECT_EQ(view.Bias(*row), base.has_value() ? snapshot.Bias(*base) : 0.0f);
    } else {
      EXPECT_NEAR(view.Bias(*row), mean.back(), 1e-6);
    }
    EXPECT_EQ(view.AttentionLogit(*row), base.has_value() ? snapshot.AttentionLogit(*base) : 0.0f);
    std::string title;
    std::vector<std::string> categories;
    if (state != nullptr && state->has_metadata) {
      title = state->title;
      categories = state->categories;
    } else if (base.has_value()) {
      title = snapshot.Title(*base);
      for (const uint32_t c : snapshot.CategoryIds(*base)) categories.emplace_back(snapshot.CategoryName(c));
    }
    EXPECT_EQ(view.Title(*row), title);
    std::vector<std::string> got;
    for (const uint32_t c : view.CategoriesOf(*row)) {
      got.emplace_back(view.CategoryName(c));
      EXPECT_EQ(view.FindCategory(view.CategoryName(c)), c);
    }
    EXPECT_EQ(got, categories);
  }
  for (uint32_t id = 0; id < view.num_categories(); ++id) {
    std::vector<uint32_t> rows;
    const std::vector<uint32_t> ids = {id};
    ASSERT_TRUE(view.CollectRows(ids, snapshot.num_items(), 1000, &rows));
    for (uint32_t row = 0; row < snapshot.num_items(); ++row) {
      const std::span<const uint32_t> of_row = view.CategoriesOf(row);
      if (std::find(of_row.begin(), of_row.end(), id) == of_row.end()) continue;
      EXPECT_TRUE(std::find(rows.begin(), rows.end(), row) != rows.end()) << id << " " << row;
    }
    const size_t size = rows.size();
    rows.clear();
    EXPECT_EQ(view.CollectRows(ids, snapshot.num_items(), size, &rows), true);
    if (size > 0) {
      EXPECT_FALSE(view.CollectRows(ids, snapshot.num_items(), size - 1, &rows));
    }
  }
  EXPECT_EQ(view.num_overlay_items(), num_overlay);
  EXPECT_EQ(view.num_items_without_vector(), num_without_vector);
  EXPECT_EQ(view.num_items_with_category_vector(), num_with_category_vector);
  uint64_t num_unmasked = 0;
  for (uint32_t row = 0; row < view.num_rows(); ++row) num_unmasked += !view.IsMasked(row);
  EXPECT_EQ(num_unmasked, num_live) << "one row for every item that can be recommended, and no more";
  // Every added row is in one of the two kinds of parts, in ascending order.
  std::vector<int> times(view.num_rows());
  uint64_t next_row = snapshot.num_items();
  for (size_t i = 0; i < view.added_items().size(); ++i) {
    const ItemMatrix& part = view.added_items()[i];
    const ItemMatrix& cosine = view.added_items_by_cosine()[i];
    EXPECT_GE(part.first_row, next_row);
    EXPECT_EQ(cosine.first_row, part.first_row);
    EXPECT_EQ(cosine.bias, nullptr);
    next_row = part.first_row + part.num_items;
    for (size_t j = 0; j < part.num_items; ++j) {
      const auto row = static_cast<uint32_t>(part.first_row + j);
      ++times[row];
      EXPECT_EQ(part.vectors + j * part.stride, view.ItemVector(row).Floats(nullptr));
      EXPECT_EQ(cosine.scale[j], view.InverseNorm(row));
      EXPECT_EQ(part.bias == nullptr ? 0.0f : part.bias[j], view.Bias(row));
    }
  }
  next_row = snapshot.num_items();
  for (const SharedVectorRows& part : view.rows_of_shared_vectors()) {
    EXPECT_GE(part.first_row, next_row);
    next_row = part.first_row + part.numbers.size();
    for (size_t j = 0; j < part.numbers.size(); ++j) {
      const auto row = static_cast<uint32_t>(part.first_row + j);
      ++times[row];
      if (view.IsMasked(row)) continue;
      for (size_t m = 0; m < view.shared_vectors().size(); ++m) {
        const ItemMatrix& vectors = view.shared_vectors()[m];
        if (part.numbers[j] < vectors.first_row || part.numbers[j] >= vectors.first_row + vectors.num_items) {
          continue;
        }
        const size_t at = part.numbers[j] - vectors.first_row;
        EXPECT_EQ(vectors.vectors + at * vectors.stride, view.ItemVector(row).Floats(nullptr));
        EXPECT_EQ(vectors.bias == nullptr ? 0.0f : vectors.bias[at], view.Bias(row));
        EXPECT_EQ(view.shared_vectors_by_cosine()[m].scale[at], view.InverseNorm(row));
        ++times[row];
      }
      EXPECT_EQ(times[row]--, 2) << "one vector";
    }
  }
  for (uint32_t row = 0; row < view.num_rows(); ++row) EXPECT_EQ(times[row], row >= snapshot.num_items());
}

TEST_F(CatalogViewTest, ANewItemWithoutAVectorTakesTheMeanOfItsCategories) {
  Load({});
  const auto item = [](const std::string& id, const std::vector<std::string>& categories) {
    return CatalogItem{.item_id = id, .has_metadata = true, .title = id, .categories = categories};
  };
  CatalogItem stale = item("stale", {"cat-3"});
  stale.vector.assign(snapshot_->dim(), 7.0f);
  stale.space = "the one before";
  const auto view = Build({item("a", {"cat-1", "unheard-of", "cat-4"}), item("b", {"cat-4", "cat-1"}),
                           item("none", {}), item("unknown", {"unheard-of"}), stale});
  const std::vector<double> mean = CategoryMean(*snapshot_, {"cat-1", "cat-4"});
  for (const char* id : {"a", "b"}) {
    const uint32_t row = Row(*view, id);
    EXPECT_TRUE(view->HasCategoryVector(row));
    EXPECT_FALSE(view->IsMasked(row));
    for (uint32_t j = 0; j < snapshot_->dim(); ++j) EXPECT_NEAR(view->ItemVector(row)[j], mean[j], 1e-6);
    EXPECT_NEAR(view->Bias(row), mean.back(), 1e-6);
    EXPECT_EQ(view->Popularity(row), 0.0f);
    EXPECT_EQ(view->BaseRowOf(row), std::nullopt);
  }
  EXPECT_EQ(view->ItemVector(Row(*view, "a")).Floats(nullptr),
            view->ItemVector(Row(*view, "b")).Floats(nullptr))
      << "shared";
  EXPECT_THAT(CategoryNames(*view, Row(*view, "a")), ElementsAre("cat-1", "unheard-of", "cat-4"));
  const std::vector<double> mean_of_3 = CategoryMean(*snapshot_, {"cat-3"});
  EXPECT_NEAR(view->ItemVector(Row(*view, "stale"))[0], mean_of_3[0], 1e-6) << "a vector of another space";
  EXPECT_EQ(view->FindRow(ItemKeyOf("none")), std::nullopt);
  EXPECT_EQ(view->FindRow(ItemKeyOf("unknown")), std::nullopt);
  EXPECT_EQ(view->num_items_without_vector(), 2u);
  EXPECT_EQ(view->num_items_with_category_vector(), 3u);
  EXPECT_EQ(view->num_overlay_items(), 3u);

  // Other categories, another mean; a vector wins; without categories there is none; deletion masks.
  CatalogItem own = WithVector("b", 2.0f);
  own.has_metadata = true;
  own.categories = {"cat-1"};
  CatalogItem deleted = stale;
  deleted.deleted = true;
  const auto next = view->With(std::vector<CatalogItem>{item("a", {"cat-2"}), own, deleted});
  const std::vector<double> mean_of_2 = CategoryMean(*snapshot_, {"cat-2"});
  EXPECT_NEAR(next->ItemVector(Row(*next, "a"))[0], mean_of_2[0], 1e-6);
  EXPECT_EQ(next->ItemVector(Row(*next, "b"))[0], 2.0f);
  EXPECT_FALSE(next->HasCategoryVector(Row(*next, "b")));
  EXPECT_EQ(next->Bias(Row(*next, "b")), 0.0f);
  EXPECT_TRUE(next->IsMasked(Row(*next, "stale"))) << "deleted, but it still counts in histories";
  EXPECT_EQ(next->num_items_with_category_vector(), 1u);
  EXPECT_NEAR(view->ItemVector(Row(*view, "a"))[0], mean[0], 1e-6) << "the older view does not change";
  const auto last = next->With(std::vector<CatalogItem>{item("a", {}), item("b", {"cat-1"})});
  EXPECT_EQ(last->FindRow(ItemKeyOf("a")), std::nullopt);
  EXPECT_TRUE(last->HasCategoryVector(Row(*last, "b"))) << "its vector was taken back";
}

TEST_F(CatalogViewTest, ItemsOfTheSameCategoriesCostOneVector) {
  Load({.num_items = 10, .dim = 64});
  std::vector<CatalogItem> items = {WithVector("first", 1.0f)};
  for (int i = 0; i < 5000; ++i) {
    items.push_back({.item_id = absl::StrCat("new-", i),
                     .has_metadata = true,
                     .categories = {absl::StrCat("cat-", i % 3), absl::StrCat("cat-", i % 2)}});
  }
  items.push_back(WithVector("last", 2.0f));
  const auto view = Build(items);
  EXPECT_EQ(view->added_items().size(), 1u) << "first and last are in one chunk";
  ASSERT_EQ(view->shared_vectors().size(), 1u);
  EXPECT_LE(view->shared_vectors()[0].num_items, 6u);
  EXPECT_EQ(view->num_items_with_category_vector(), 5000u);
}

TEST_F(CatalogViewTest, AnyChainOfChangesAgreesWithTheStatesAndOldViewsStayAsTheyWere) {
  std::mt19937 random(3);
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    Load({.num_items = 90,
          .dim = seed % 2 == 0 ? 5u : 600u,  // 600: chunks of few rows
          .seed = seed,
          .with_bias = seed % 3 != 0,
          .with_input_vectors = seed % 2 == 0});
    std::set<std::string> universe;
    for (int i = 0; i < 90; ++i) universe.insert(absl::StrCat("item-", i));
    for (int i = 0; i < 120; ++i) universe.insert(absl::StrCat("new-", i));
    const std::vector<std::string> ids(universe.begin(), universe.end());
    States states;
    struct Step {
      std::shared_ptr<const CatalogView> view;
      States states;
    };
    std::vector<Step> steps = {{Build({}), {}}};
    for (int step = 0; step < 60; ++step) {
      std::set<std::string> chosen;
      for (uint32_t n = random() % 20; n > 0; --n) chosen.insert(ids[random() % ids.size()]);
      std::vector<CatalogItem> changes;
      for (const std::string& id : chosen) {
        // From its last state or from nothing, so that single fields change too.
        CatalogItem item =
            random() % 2 == 0 && states.count(id) > 0 ? states[id] : CatalogItem{.item_id = id};
        if (random() % 3 == 0) item.deleted = !item.deleted;
        if (random() % 3 == 0) {
          item.has_metadata = random() % 4 != 0;
          item.title = item.has_metadata ? absl::StrCat("title ", random() % 100) : "";
          item.categories.clear();
          for (uint32_t n = item.has_metadata ? random() % 5 : 0; n > 0; --n) {
            item.categories.push_back(absl::StrCat("cat-", random() % 9));
          }
        }
        if (random() % 2 == 0) {
          item.space = random() % 5 == 0 ? "elsewhere" : "test-space";
          item.vector.assign(snapshot_->dim(), static_cast<float>(random() % 100) / 7);
          const std::optional<uint32_t> base = snapshot_->FindRow(ItemKeyOf(id));
          if (base.has_value() && random() % 3 == 0) {
            item.vector = snapshot_->ItemVector(*base).Values();
          }
        } else if (random() % 4 == 0) {
          item.vector.clear();
          item.space.clear();
        }
        states[id] = item;
        changes.push_back(item);
      }
      steps.push_back({steps.back().view->With(changes), states});
    }
    for (size_t i = 0; i < steps.size(); i += 7) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, " step ", i));
      ExpectAgrees(*snapshot_, *steps[i].view, steps[i].states, universe);
    }
    ExpectAgrees(*snapshot_, *steps.back().view, states, universe);
    std::vector<CatalogItem> all;
    for (const auto& [id, item] : states) all.push_back(item);
    std::shuffle(all.begin(), all.end(), random);
    ExpectAgrees(*snapshot_, *Build(all), states, universe);
  }
}

TEST_F(CatalogViewTest, SuccessiveViewsShareTheVectorsThatDidNotChange) {
  Load({.num_items = 10, .dim = 64});
  std::vector<CatalogItem> items;
  for (int i = 0; i < 5000; ++i) items.push_back(WithVector(absl::StrCat("new-", i), static_cast<float>(i)));
  const auto view = Build(items);
  const auto next = view->With(std::vector<CatalogItem>{WithVector("new-0", -1.0f)});
  size_t shared = 0;
  for (size_t i = 0; i < view->added_items().size(); ++i) {
    shared += view->added_items()[i].vectors == next->added_items()[i].vectors;
  }
  EXPECT_EQ(shared, view->added_items().size() - 1);

  CatalogItem renamed = items[0];
  renamed.has_metadata = true;
  renamed.title = "Renamed";
  const auto last = view->With(std::vector<CatalogItem>{renamed});
  EXPECT_EQ(last->Title(Row(*last, "new-0")), "Renamed");
  for (size_t i = 0; i < view->added_items().size(); ++i) {
    EXPECT_EQ(view->added_items()[i].vectors, last->added_items()[i].vectors) << "a title copies no vector";
  }
}

}  // namespace
}  // namespace swiftlet
