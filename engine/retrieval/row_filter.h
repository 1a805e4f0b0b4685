// Which rows an answer may contain, as a predicate that the scan asks only for rows that would enter the top
// k.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_ROW_FILTER_H_
#define SWIFTLET_ENGINE_RETRIEVAL_ROW_FILTER_H_

#include <cstdint>
#include <span>
#include <vector>

namespace swiftlet {

// Rows to categories. Thread-safe.
class CategoryIndex {
 public:
  virtual ~CategoryIndex() = default;
  // Category ids of a row; ids are dense, in [0, num_categories()).
  virtual std::span<const uint32_t> CategoriesOf(uint32_t row) const = 0;
  virtual uint32_t num_categories() const = 0;
  // Appends every row below num_rows that has one of `ids`, perhaps more than once, and perhaps others; as
  // soon as more than `limit` would be appended in all, or where there is no way but to look at all rows:
  // false.
  virtual bool CollectRows(std::span<const uint32_t> ids, uint32_t num_rows, size_t limit,
                           std::vector<uint32_t>* rows) const {
    static_cast<void>(ids), static_cast<void>(num_rows), static_cast<void>(limit), static_cast<void>(rows);
    return false;
  }
};

// One per thread: built anew for each request, without allocation once it has grown to the catalogue's size.
//
//   filter.Reset(num_rows, view.deleted_rows());
//   filter.Exclude(row);  ...
//   filter.SetCategories(&view, any_of_ids, has_any_of, none_of_ids);
//   if (filter.Allows(row)) ...
class RowFilter {
 public:
  // Forgets everything. num_rows: rows are in [0, num_rows). masked_rows: a borrowed bitmap of rows that no
  // answer may contain (bit r % 64 of word r / 64), possibly shorter than num_rows (missing bits are 0),
  // possibly empty.
  void Reset(uint32_t num_rows, std::span<const uint64_t> masked_rows);
  // Requires row < num_rows.
  void Exclude(uint32_t row);
  // any_of: allowed rows have at least one of these, unless has_any_of is false. none_of: allowed rows have
  // none of these. `index` is borrowed until the next Reset.
  void SetCategories(const CategoryIndex* index, std::span<const uint32_t> any_of, bool has_any_of,
                     std::span<const uint32_t> none_of);

  bool Allows(uint32_t row) const;
  // When at most `limit` rows of [0, num_rows) are allowed and they can be found without asking for each row
  // (bitmaps, rows of categories): true, with those rows in ascending order. Else false, after looking at
  // little more than it takes to see that; `rows` is of no use then. Perhaps false, too, where only
  // categories to leave out are given and bitmaps leave more than twice the limit. Allocates nothing once
  // `rows` has room for 2 * limit + 64.
  bool CollectAllowed(uint32_t num_rows, size_t limit, std::vector<uint32_t>* rows) const;
  // True when Allows is true for every row that is not masked: nothing was excluded, no category is asked
  // for.
  bool IsTrivial() const { return excluded_rows_.empty() && categories_ == nullptr; }
  // Whether allowed rows are those of some categories, of which there may be lists.
  bool IsListed() const { return has_any_of_ && categories_ != nullptr; }
  uint32_t num_excluded() const { return static_cast<uint32_t>(excluded_rows_.size()); }

 private:
  std::span<const uint64_t> masked_;
  std::vector<uint64_t> excluded_;       // bitmap; all zero but for excluded_rows_
  std::vector<uint32_t> excluded_rows_;  // to clear the bitmap in O(excluded)
  const CategoryIndex* categories_ = nullptr;
  bool has_any_of_ = false;
  std::vector<uint64_t> any_of_, none_of_;  // bitmaps over category ids
  std::vector<uint32_t> any_of_ids_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_ROW_FILTER_H_
