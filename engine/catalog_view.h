// The live catalogue over one snapshot: deleted, changed and added items. Replaced as a whole when the
// catalogue changes, rebuilt for each snapshot.
//
// Rows: [0, base) are the snapshot's, base = snapshot.num_items(); [base, num_rows()) are added here. An item
// whose vector was replaced has its snapshot row masked and lives in an added row. So does a new item without
// a vector: it stands where the snapshot's content tower places it; where there is no tower, or the tower
// knows nothing about it, and the item has a category of the snapshot, it takes the mean of its categories,
// and shares that vector with all items of the same categories.
#ifndef SWIFTLET_ENGINE_CATALOG_VIEW_H_
#define SWIFTLET_ENGINE_CATALOG_VIEW_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/item_key.h"
#include "engine/catalog_item.h"
#include "engine/internal/added_rows.h"
#include "engine/internal/cow_map.h"
#include "engine/kernels/vector_view.h"
#include "engine/retrieval/retriever.h"
#include "engine/retrieval/row_filter.h"
#include "engine/snapshot/model_snapshot.h"

namespace swiftlet {

// Immutable and thread-safe. Holds the snapshot it was built for only by reference: the snapshot must outlive
// it.
//
// The view is a function of the items' states alone: Build(all) and any chain of With() that ends in the same
// states agree on everything but the numbers of added rows.
class CatalogView final : public CategoryIndex {
 public:
  // `changes`: everything the item store holds, in any order, no id twice; each is the full state of its
  // item. A vector counts only where its space is the snapshot's, its size is dim and all of it is finite. An
  // item of the snapshot without such a vector, or with the very vector of the snapshot (rounded, where the
  // snapshot's rows are bf16), keeps its snapshot row; one with another vector keeps the bias, attention
  // logit and popularity of that row. Without metadata here the snapshot's count. An item that the snapshot
  // does not have, without such a vector, has the vectors, bias and attention logit that the snapshot's
  // content tower gives it; without a tower that knows something about it the mean, over those of its
  // categories that items of the snapshot have, of the mean vector of those items, and a bias that is made in
  // the same way; without such a category it has no row. The mean of a category is that of all items of the
  // snapshot, whatever the store says about them.
  static std::shared_ptr<const CatalogView> Build(const ModelSnapshot& snapshot,
                                                  std::span<const CatalogItem> changes);
  // The view after `changes` on top of this one; shares what it can: the cost is that of a few chunks of rows
  // and hash shards for each change, plus two bits for each item.
  std::shared_ptr<const CatalogView> With(std::span<const CatalogItem> changes) const;

  // A number that no other view of this process has or had.
  uint64_t serial() const { return serial_; }
  uint32_t num_rows() const { return num_base_rows_ + added_.size(); }
  // Added rows with vectors of their own, as matrices in ascending order of rows; none when nothing was
  // added.
  std::span<const ItemMatrix> added_items() const { return added_.parts(); }
  // The same with scale = 1 / |v| and no bias: for cosines.
  std::span<const ItemMatrix> added_items_by_cosine() const { return added_.cosine_parts(); }
  // The other added rows, in ascending order, and the vectors that they share, number first_row + i of each
  // matrix.
  std::span<const SharedVectorRows> rows_of_shared_vectors() const { return added_.shared_parts(); }
  std::span<const ItemMatrix> shared_vectors() const { return shared_.parts(); }
  std::span<const ItemMatrix> shared_vectors_by_cosine() const { return shared_.cosine_parts(); }
  // Bitmap over [0, num_rows()): deleted, replaced, or of no item any more.
  std::span<const uint64_t> masked_rows() const { return masked_; }
  bool IsMasked(uint32_t row) const { return (masked_[row / 64] >> (row % 64) & 1) != 0; }

  // The row that stands for an item now, also when it is deleted (see IsMasked). Nothing: no vector is known.
  std::optional<uint32_t> FindRow(ItemKey key) const;

  // For any row < num_rows(); a masked row that stands for no item any more may have no id.
  std::string_view ItemId(uint32_t row) const;
  std::string_view Title(uint32_t row) const;
  std::span<const uint32_t> CategoriesOf(uint32_t row) const override;
  std::string_view CategoryName(uint32_t id) const;
  uint32_t num_categories() const override;
  // For rows of the snapshot only: false for more.
  bool CollectRows(std::span<const uint32_t> ids, uint32_t num_rows, size_t limit,
                   std::vector<uint32_t>* rows) const override;
  std::optional<uint32_t> FindCategory(std::string_view name) const;
  // As they are stored: a snapshot's rows in its row type, added rows as float32.
  VectorView ItemVector(uint32_t row) const;
  VectorView InputVector(uint32_t row) const;
  float Bias(uint32_t row) const;
  float AttentionLogit(uint32_t row) const;
  float Popularity(uint32_t row) const;
  // 1 / |v|, 0 for the zero vector.
  float InverseNorm(uint32_t row) const;
  // The snapshot row that an added row stands in for. Requires row >= base.
  std::optional<uint32_t> BaseRowOf(uint32_t row) const;
  // Whether the row's vector is the mean of its categories.
  bool HasCategoryVector(uint32_t row) const {
    return row >= num_base_rows_ && added_.IsShared(row - num_base_rows_);
  }

  // Whether the row's vector is what the content tower made.
  bool HasContentVector(uint32_t row) const {
    return row >= num_base_rows_ && added_.metadata(row - num_base_rows_).vector_from_content;
  }

  // Items of the store, not deleted, without a vector in this snapshot's space.
  uint64_t num_items_without_vector() const { return num_without_vector_; }
  // Items of the store, not deleted, with the mean of their categories for a vector.
  uint64_t num_items_with_category_vector() const { return num_with_category_vector_; }
  // Items of the store that have a row here.
  uint64_t num_overlay_items() const { return entries_.size() - num_without_row_; }

 private:
  struct Entry {
    uint32_t row = kNoRow;
    bool deleted = false;
  };
  struct CategoryNames {
    std::vector<std::string> added;                  // names of ids from the snapshot's num_categories() on
    absl::flat_hash_map<std::string, uint32_t> ids;  // of all categories
  };

  // Of the items of the snapshot that have a category.
  struct CategoryMean {
    std::vector<double> vector;
    double bias = 0;
  };

  explicit CatalogView(const ModelSnapshot& snapshot);
  CatalogView(const CatalogView&) = default;

  void Apply(const CatalogItem& item);
  // An added row for an item: old_added_row where that is of the same kind, which is given back otherwise.
  uint32_t TakeRow(bool shared, uint32_t old_added_row);
  void GiveBackRow(uint32_t added_row);
  // Whether the snapshot's content tower knows something about the item.
  bool PlaceByContent(const CatalogItem& item, ContentPlace* place) const;
  // The row of an item that content has placed: sets vector and facts.
  uint32_t PutPlace(const ContentPlace& place, uint32_t old_added_row);
  // The row of an item whose vector is its own: sets vector and facts.
  uint32_t PutVector(const CatalogItem& item, std::optional<uint32_t> base_row, uint32_t old_added_row);
  // The number of the shared vector of items with these categories, made when there is none yet; nothing
  // where no item of the snapshot has any of them.
  std::optional<uint32_t> SharedVectorOf(std::span<const uint32_t> categories);
  const CategoryMean& MeanOf(uint32_t category);
  // Where the vector of added row base + i is kept.
  std::pair<const AddedRows*, uint32_t> VectorPlace(uint32_t i) const {
    return added_.IsShared(i) ? std::pair(&shared_, added_.shared_vector(i)) : std::pair(&added_, i);
  }
  std::vector<uint32_t> CategoryIdsOf(const CatalogItem& item);
  void SetMasked(uint32_t row, bool masked);
  // Null unless the store has metadata of this snapshot row.
  const ItemMetadata* BaseMetadata(uint32_t row) const;
  void SetBaseMetadata(uint32_t row, std::shared_ptr<const ItemMetadata> metadata);
  bool IsUsable(const CatalogItem& item) const;

  const ModelSnapshot* snapshot_;
  uint64_t serial_ = 0;
  uint32_t num_base_rows_;
  AddedRows added_;
  // Vectors that rows of added_ share; their metadata are the categories, in ascending order.
  AddedRows shared_;
  CowMap<uint64_t, uint32_t> shared_numbers_;  // hash of the categories, or the next free number after it
  CowMap<uint32_t, std::shared_ptr<const CategoryMean>> category_means_;  // those that were needed so far
  std::vector<uint64_t> masked_;
  CowMap<ItemKey, Entry> entries_;  // every item of the store
  uint64_t num_without_vector_ = 0, num_without_row_ = 0, num_with_category_vector_ = 0;
  std::vector<uint64_t> has_base_metadata_;  // bitmap over [0, base): base_metadata_ has it; empty: none has
  size_t num_base_metadata_ = 0;             // bits set in it
  CowMap<uint32_t, std::shared_ptr<const ItemMetadata>> base_metadata_;
  std::shared_ptr<const CategoryNames> category_names_;
  CategoryNames* own_category_names_ = nullptr;  // while the view is being made: names that no other view has
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_CATALOG_VIEW_H_
