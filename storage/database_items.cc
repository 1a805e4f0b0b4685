// Database: items.
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "storage/coding.h"
#include "storage/database_impl.h"
#include "storage/rocksdb_status.h"

namespace swiftlet {

absl::Status Database::WriteItems(std::span<const CatalogItem> items) {
  Impl& s = *impl_;
  if (items.empty()) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  absl::flat_hash_map<ItemKey, std::string_view> new_ids;
  for (size_t i = 0; i < items.size(); ++i) {
    const CatalogItem& item = items[i];
    if (!IsValidId(item.item_id)) {
      return absl::InvalidArgumentError(absl::StrCat("items[", i, "].item_id: not 1 to 256 bytes of UTF-8"));
    }
    for (const float x : item.vector) {
      if (!std::isfinite(x))
        return absl::InvalidArgumentError(absl::StrCat("items[", i, "].vector: holds ", x));
    }
    if (absl::Status status = s.RegisterItemId(item.item_id, &batch, &new_ids); !status.ok()) {
      if (!absl::IsInvalidArgument(status)) return status;
      return absl::InvalidArgumentError(
          absl::StrCat("items[", i, "].item_id: ", std::string(status.message())));
    }
    batch.Put(s.items, EncodeKey64(ItemKeyOf(item.item_id)), EncodeCatalogItem(item));
  }
  SWIFTLET_RETURN_IF_ERROR(s.Write(&batch, "cannot write items"));
  for (const auto& [key, item_id] : new_ids) s.known_items.Add(key, item_id);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<CatalogItem>> Database::ReadItem(ItemKey key) {
  Impl& s = *impl_;
  rocksdb::PinnableSlice value;
  const rocksdb::Status status = s.db->Get({}, s.items, EncodeKey64(key), &value);
  if (status.IsNotFound()) return std::optional<CatalogItem>();
  SWIFTLET_RETURN_IF_ERROR(s.Error(status, "cannot read an item"));
  std::optional<CatalogItem> item(std::in_place);
  SWIFTLET_RETURN_IF_ERROR(DecodeCatalogItem(FromSlice(value), &*item));
  return item;
}

absl::Status Database::ForEachItem(const std::function<void(CatalogItem)>& fn) {
  Impl& s = *impl_;
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> it(s.db->NewIterator(read, s.items));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    CatalogItem item;
    SWIFTLET_RETURN_IF_ERROR(DecodeCatalogItem(FromSlice(it->value()), &item));
    fn(std::move(item));
  }
  return s.Error(it->status(), "cannot read items");
}

absl::StatusOr<std::vector<std::string>> Database::ReadItemIds(std::span<const ItemKey> keys) {
  Impl& s = *impl_;
  std::vector<std::string> encoded;
  std::vector<rocksdb::Slice> slices;
  encoded.reserve(keys.size());
  slices.reserve(keys.size());
  for (const ItemKey key : keys) slices.emplace_back(encoded.emplace_back(EncodeKey64(key)));
  std::vector<rocksdb::PinnableSlice> values(keys.size());
  std::vector<rocksdb::Status> statuses(keys.size());
  s.db->MultiGet({}, s.item_ids, keys.size(), slices.data(), values.data(), statuses.data());
  std::vector<std::string> ids(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (statuses[i].IsNotFound()) continue;
    SWIFTLET_RETURN_IF_ERROR(s.Error(statuses[i], "cannot read an item id"));
    ids[i] = values[i].ToString();
  }
  return ids;
}

}  // namespace swiftlet
