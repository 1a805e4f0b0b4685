#include "engine/retrieval/row_filter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

namespace swiftlet {
namespace {

class Categories final : public CategoryIndex {
 public:
  Categories(std::vector<std::vector<uint32_t>> of_rows, uint32_t n) : of_rows_(std::move(of_rows)), n_(n) {}
  std::span<const uint32_t> CategoriesOf(uint32_t row) const override { return of_rows_[row]; }
  uint32_t num_categories() const override { return n_; }
  bool CollectRows(std::span<const uint32_t> ids, uint32_t num_rows, size_t limit,
                   std::vector<uint32_t>* rows) const override {
    for (uint32_t row = 0; row < std::min<size_t>(num_rows, of_rows_.size()); ++row) {
      for (const uint32_t id : of_rows_[row]) {
        if (std::find(ids.begin(), ids.end(), id) == ids.end() && row % 5 != 0) continue;  // and some others
        if (rows->size() == limit) return false;
        rows->push_back(row);
      }
    }
    return true;
  }

 private:
  const std::vector<std::vector<uint32_t>> of_rows_;
  const uint32_t n_;
};

TEST(RowFilter, AllowsEverythingAfterReset) {
  RowFilter filter;
  filter.Reset(130, {});
  EXPECT_TRUE(filter.IsTrivial());
  for (uint32_t row = 0; row < 130; ++row) EXPECT_TRUE(filter.Allows(row));
}

TEST(RowFilter, MaskedRowsAreOutAndAShortMaskMasksNothingBehindIt) {
  const std::vector<uint64_t> masked = {uint64_t{1} << 3 | uint64_t{1} << 63};
  RowFilter filter;
  filter.Reset(200, masked);
  for (uint32_t row = 0; row < 200; ++row) EXPECT_EQ(filter.Allows(row), row != 3 && row != 63) << row;
  EXPECT_TRUE(filter.IsTrivial()) << "masks do not count";
}

TEST(RowFilter, ResetForgetsExclusionsAndCategories) {
  const Categories categories({{0}, {1}, {}}, 2);
  const std::vector<uint32_t> zero = {0};
  RowFilter filter;
  filter.Reset(3, {});
  filter.Exclude(1);
  filter.Exclude(1);
  filter.SetCategories(&categories, zero, true, {});
  EXPECT_EQ(filter.num_excluded(), 1u);
  EXPECT_FALSE(filter.IsTrivial());
  filter.Reset(3, {});
  EXPECT_EQ(filter.num_excluded(), 0u);
  for (uint32_t row = 0; row < 3; ++row) EXPECT_TRUE(filter.Allows(row));
}

TEST(RowFilter, AnyOfWithoutKnownCategoriesAllowsNothing) {
  const Categories categories({{0}, {}}, 1);
  RowFilter filter;
  filter.Reset(2, {});
  filter.SetCategories(&categories, {}, /*has_any_of=*/true, {});
  EXPECT_FALSE(filter.Allows(0));
  EXPECT_FALSE(filter.Allows(1));
}

TEST(RowFilter, NoneOfAllowsRowsWithoutCategories) {
  const Categories categories({{0}, {}, {1}, {1, 0}}, 2);
  const std::vector<uint32_t> zero = {0};
  RowFilter filter;
  filter.Reset(4, {});
  filter.SetCategories(&categories, {}, false, zero);
  EXPECT_FALSE(filter.Allows(0));
  EXPECT_TRUE(filter.Allows(1));
  EXPECT_TRUE(filter.Allows(2));
  EXPECT_FALSE(filter.Allows(3));
}

// One filter, used again and again over catalogues of different sizes, against sets.
TEST(RowFilter, AgreesWithSetsInEveryCombination) {
  std::mt19937 random(7);
  RowFilter filter;
  size_t num_collected = 0;
  for (int round = 0; round < 2000; ++round) {
    const uint32_t num_rows = 1 + random() % 300;
    const uint32_t num_categories = random() % 70;
    std::vector<std::vector<uint32_t>> of_rows(num_rows);
    for (auto& ids : of_rows) {
      for (uint32_t i = num_categories == 0 ? 0 : random() % 3; i > 0; --i)
        ids.push_back(random() % num_categories);
    }
    const Categories categories(of_rows, num_categories);
    std::vector<uint64_t> masked((num_rows + 63) / 64);
    for (uint64_t& word : masked) {
      word = uint64_t{random()} << 32 | random();
      if (round % 2 == 0) word |= uint64_t{random()} << 32 | random() | ~(uint64_t{0xFF} << (random() % 57));
    }
    std::set<uint32_t> excluded, any_of, none_of;
    for (uint32_t i = random() % 20; i > 0; --i) excluded.insert(random() % num_rows);
    if (num_categories > 0) {
      for (uint32_t i = random() % 4; i > 0; --i) any_of.insert(random() % num_categories);
      for (uint32_t i = random() % 4; i > 0; --i) none_of.insert(random() % num_categories);
    }
    const bool has_any_of = random() % 2 == 0;

    filter.Reset(num_rows, masked);
    for (const uint32_t row : excluded) filter.Exclude(row);
    filter.SetCategories(&categories, std::vector<uint32_t>(any_of.begin(), any_of.end()), has_any_of,
                         std::vector<uint32_t>(none_of.begin(), none_of.end()));
    std::vector<uint32_t> allowed;
    for (uint32_t row = 0; row < num_rows; ++row) {
      const auto& ids = of_rows[row];
      const auto in = [&](const std::set<uint32_t>& set) {
        return std::any_of(ids.begin(), ids.end(), [&](uint32_t id) { return set.count(id) > 0; });
      };
      const bool want = (masked[row / 64] >> row % 64 & 1) == 0 && excluded.count(row) == 0 &&
                        (!has_any_of || in(any_of)) && !in(none_of);
      ASSERT_EQ(filter.Allows(row), want) << "round " << round << " row " << row;
      if (want) allowed.push_back(row);
    }
    std::vector<uint32_t> collected = {1234567};
    const size_t limit = random() % 40;
    if (filter.CollectAllowed(num_rows, limit, &collected)) {
      ASSERT_EQ(collected, allowed) << "round " << round;
      ASSERT_LE(collected.size(), limit);
      ++num_collected;
    } else if (!has_any_of && none_of.empty()) {
      ASSERT_GT(allowed.size(), limit) << "round " << round;
    }
  }
  EXPECT_GT(num_collected, 300u) << "or it shows little";
}

}  // namespace
}  // namespace swiftlet
