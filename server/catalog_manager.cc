#include "server/catalog_manager.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "server/validation.h"

namespace swiftlet {
namespace {

absl::Status CheckSameId(const std::string& item_id, const std::string& stored_id) {
  if (item_id == stored_id) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("item_id: ", Quoted(item_id), " has the same 64-bit key as ",
                                                 Quoted(stored_id), "; one of them needs another id"));
}

bool HasMetadata(const CatalogView& view, uint32_t row) {
  return !view.Title(row).empty() || !view.CategoriesOf(row).empty();
}

// True when the stored item says something else than the snapshot's own row.
bool Differs(const CatalogItem& stored, const ModelSnapshot& snapshot) {
  const std::optional<uint32_t> row = snapshot.FindRow(ItemKeyOf(stored.item_id));
  if (!row.has_value() || stored.deleted) return true;
  if (!stored.vector.empty() && stored.space == snapshot.manifest().embedding_space &&
      stored.vector.size() == snapshot.dim()) {
    return true;
  }
  if (!stored.has_metadata) return false;
  const std::span<const uint32_t> ids = snapshot.CategoryIds(*row);
  if (stored.title != snapshot.Title(*row) || stored.categories.size() != ids.size()) return true;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (stored.categories[i] != snapshot.CategoryName(ids[i])) return true;
  }
  return false;
}

}  // namespace

absl::Status CatalogManager::Apply(std::vector<CatalogItem> items) {
  SWIFTLET_RETURN_IF_ERROR(database_->WriteItems(items));
  if (std::shared_ptr<const ServingState> state = slot_.Acquire(); state != nullptr) {
    auto next = std::make_shared<ServingState>(*state);
    next->view = state->view->With(items);
    // The slot gave up its reference; `state` is dropped before the reaper sees the old one, or it waits for
    // it.
    std::shared_ptr<const ServingState> old = slot_.Exchange(std::move(next));
    state.reset();
    reaper_->Retire(std::move(old));
  }
  if (journal_.has_value()) {
    for (CatalogItem& item : items) journal_->insert_or_assign(ItemKeyOf(item.item_id), std::move(item));
  }
  return absl::OkStatus();
}

absl::Status CatalogManager::Upsert(std::span<const ItemChange> changes) {
  MutexLock lock(mu_);
  std::string space;
  uint32_t dim = 0;
  {
    const std::shared_ptr<const ServingState> state = slot_.Acquire();
    if (state != nullptr) {
      space = state->snapshot->manifest().embedding_space;
      dim = state->snapshot->dim();
    }
  }
  std::vector<CatalogItem> items;
  items.reserve(changes.size());
  for (size_t i = 0; i < changes.size(); ++i) {
    const ItemChange& change = changes[i];
    if (!change.vector.empty() && dim == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("items[", i, "].vector: no snapshot is loaded, so there is no space for it to be in"));
    }
    if (!change.vector.empty() && change.vector.size() != dim) {
      return absl::InvalidArgumentError(absl::StrCat("items[", i, "].vector: dimension ",
                                                     change.vector.size(),
                                                     ", the serving snapshot has dimension ", dim));
    }
    SWIFTLET_ASSIGN_OR_RETURN(std::optional<CatalogItem> stored,
                              database_->ReadItem(ItemKeyOf(change.item_id)));
    CatalogItem item = stored.has_value() ? *std::move(stored) : CatalogItem{};
    if (item.item_id.empty()) item.item_id = change.item_id;
    SWIFTLET_RETURN_IF_ERROR(CheckSameId(change.item_id, item.item_id));
    item.deleted = false;
    if (change.has_metadata) {
      item.has_metadata = true;
      item.title = change.title;
      item.categories = change.categories;
      item.attributes = change.attributes;
    }
    if (!change.content_vectors.empty()) item.content_vectors = change.content_vectors;
    if (!change.vector.empty()) {
      item.vector = change.vector;
      item.space = space;
    }
    items.push_back(std::move(item));
  }
  return Apply(std::move(items));
}

absl::StatusOr<int> CatalogManager::Delete(std::span<const std::string> item_ids) {
  MutexLock lock(mu_);
  const std::shared_ptr<const ServingState> state = slot_.Acquire();
  absl::flat_hash_map<ItemKey, CatalogItem> items;
  int num_deleted = 0;
  for (const std::string& id : item_ids) {
    const ItemKey key = ItemKeyOf(id);
    if (items.contains(key)) continue;
    SWIFTLET_ASSIGN_OR_RETURN(std::optional<CatalogItem> stored, database_->ReadItem(key));
    if (stored.has_value()) SWIFTLET_RETURN_IF_ERROR(CheckSameId(id, stored->item_id));
    const bool known =
        stored.has_value() ? !stored->deleted : state != nullptr && state->snapshot->FindRow(key).has_value();
    if (known) ++num_deleted;
    CatalogItem item = stored.has_value() ? *std::move(stored) : CatalogItem{};
    item.item_id = id;
    item.deleted = true;
    items.emplace(key, std::move(item));
  }
  std::vector<CatalogItem> changes;
  changes.reserve(items.size());
  for (auto& [key, item] : items) changes.push_back(std::move(item));
  SWIFTLET_RETURN_IF_ERROR(Apply(std::move(changes)));
  return num_deleted;
}

absl::StatusOr<std::vector<ItemInfo>> CatalogManager::Get(const ServingState* state,
                                                          std::span<const std::string> item_ids) {
  std::vector<ItemInfo> infos;
  infos.reserve(item_ids.size());
  for (const std::string& id : item_ids) {
    const ItemKey key = ItemKeyOf(id);
    ItemInfo& info = infos.emplace_back();
    SWIFTLET_ASSIGN_OR_RETURN(std::optional<CatalogItem> stored, database_->ReadItem(key));
    if (stored.has_value() && stored->item_id != id) stored.reset();
    std::optional<uint32_t> row;
    if (state != nullptr) row = state->view->FindRow(key);
    if (row.has_value() && state->view->ItemId(*row) != id) row.reset();
    if (!row.has_value() && !stored.has_value()) continue;

    if (row.has_value()) {
      const CatalogView& view = *state->view;
      info.title = std::string(view.Title(*row));
      for (const uint32_t category : view.CategoriesOf(*row)) {
        info.categories.emplace_back(view.CategoryName(category));
      }
      info.has_metadata = HasMetadata(view, *row);
      info.vector = view.ItemVector(*row).Values();
      info.vector_from_categories = view.HasCategoryVector(*row);
      info.vector_from_content = view.HasContentVector(*row);
      info.status = ItemStatus::kRecommendable;
    } else {
      info.title = stored->title;
      info.categories = stored->categories;
      info.has_metadata = stored->has_metadata;
      info.status = ItemStatus::kNoVector;
    }
    if (stored.has_value()) {
      info.has_metadata |= !stored->attributes.empty();
      info.attributes = std::move(stored->attributes);
      if (stored->deleted) info.status = ItemStatus::kDeleted;
      info.changed_since_snapshot = state == nullptr || Differs(*stored, *state->snapshot);
    }
  }
  return infos;
}

absl::StatusOr<std::vector<CatalogItem>> CatalogManager::ReadItems() {
  std::vector<CatalogItem> items;
  SWIFTLET_RETURN_IF_ERROR(
      database_->ForEachItem([&](CatalogItem item) { items.push_back(std::move(item)); }));
  return items;
}

absl::StatusOr<std::shared_ptr<const CatalogView>> CatalogManager::ViewOf(const ModelSnapshot& snapshot) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<CatalogItem> items, ReadItems());
  return CatalogView::Build(snapshot, items);
}

absl::StatusOr<std::shared_ptr<const ServingState>> CatalogManager::Prepare(
    std::shared_ptr<const ModelSnapshot> snapshot, int64_t user_vectors_version) {
  uint64_t generation;
  {
    MutexLock lock(mu_);
    journal_.emplace();
    generation = ++generation_;
  }
  const absl::StatusOr<std::vector<CatalogItem>> items = ReadItems();
  if (!items.ok()) {
    MutexLock lock(mu_);
    journal_.reset();
    return items.status();
  }
  auto state = std::make_shared<ServingState>();
  state->view = CatalogView::Build(*snapshot, *items);
  state->user_vectors = {user_vectors_version, generation};
  state->snapshot = std::move(snapshot);
  return state;
}

void CatalogManager::Publish(std::shared_ptr<const ServingState> prepared) {
  MutexLock lock(mu_);
  if (journal_.has_value() && !journal_->empty()) {
    std::vector<CatalogItem> changes;
    changes.reserve(journal_->size());
    for (auto& [key, item] : *journal_) changes.push_back(std::move(item));
    auto next = std::make_shared<ServingState>(*prepared);
    next->view = prepared->view->With(changes);
    prepared = std::move(next);
  }
  journal_.reset();
  reaper_->Retire(slot_.Exchange(std::move(prepared)));
}

void CatalogManager::Abandon(std::shared_ptr<const ServingState> prepared) {
  MutexLock lock(mu_);
  journal_.reset();
}

void CatalogManager::Clear() {
  MutexLock lock(mu_);
  reaper_->Retire(slot_.Exchange(nullptr));
}

}  // namespace swiftlet
