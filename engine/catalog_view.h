// The live catalogue over one snapshot: deleted, changed and added items. Replaced as a whole when the
// catalogue changes, rebuilt for each snapshot.
//
// Rows: [0, base) are the snapshot's, base = snapshot.num_items(); [base, num_rows()) are added here. An item
// whose vector was replaced has its snapshot row masked and lives in an added row.
#ifndef SWIFTLET_ENGINE_CATALOG_VIEW_H_
#define SWIFTLET_ENGINE_CATALOG_VIEW_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/aligned_vector.h"
#include "engine/base/item_key.h"
#include "engine/catalog_item.h"
#include "engine/retrieval/retriever.h"
#include "engine/retrieval/row_filter.h"
#include "engine/snapshot/model_snapshot.h"

namespace swiftlet {

// Immutable and thread-safe. Holds the snapshot it was built for only by reference: the snapshot must outlive
// it.
class CatalogView final : public CategoryIndex {
 public:
  // `changes`: everything the item store holds, in any order, no id twice. A vector counts only where its
  // space is the snapshot's and its size is dim.
  static std::shared_ptr<const CatalogView> Build(const ModelSnapshot& snapshot,
                                                  std::span<const CatalogItem> changes);
  // The view after `changes` on top of this one; shares what it can.
  std::shared_ptr<const CatalogView> With(std::span<const CatalogItem> changes) const;

  uint32_t num_rows() const;
  // Added rows as a matrix (first_row = base); num_items may be 0.
  const ItemMatrix& added_items() const { return added_; }
  std::span<const float> added_inverse_norms() const { return added_inverse_norms_; }
  // Bitmap over [0, num_rows()): deleted or replaced.
  std::span<const uint64_t> masked_rows() const { return masked_; }
  bool IsMasked(uint32_t row) const { return (masked_[row / 64] >> (row % 64) & 1) != 0; }

  // The row that stands for an item now, also when it is deleted (see IsMasked). Nothing: no vector is known.
  std::optional<uint32_t> FindRow(ItemKey key) const;

  // For any row < num_rows().
  std::string_view ItemId(uint32_t row) const;
  std::string_view Title(uint32_t row) const;
  std::span<const uint32_t> CategoriesOf(uint32_t row) const override;
  std::string_view CategoryName(uint32_t id) const;
  uint32_t num_categories() const override;
  std::optional<uint32_t> FindCategory(std::string_view name) const;
  std::span<const float> ItemVector(uint32_t row) const;
  const float* InputVector(uint32_t row) const;
  float Bias(uint32_t row) const;
  float AttentionLogit(uint32_t row) const;
  float Popularity(uint32_t row) const;

  // Items of the store without a vector in this snapshot's space.
  uint64_t num_items_without_vector() const { return without_vector_.size(); }
  uint64_t num_overlay_items() const;

 private:
  CatalogView() = default;
  // Members are the implementer's choice; these are what the accessors above need.
  const ModelSnapshot* snapshot_ = nullptr;
  ItemMatrix added_;
  AlignedVector<float> added_inverse_norms_;
  std::vector<uint64_t> masked_;
  absl::flat_hash_map<ItemKey, CatalogItem> without_vector_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_CATALOG_VIEW_H_
