#include "engine/catalog_view.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <utility>

namespace swiftlet {
namespace {

bool TestBit(std::span<const uint64_t> bits, uint32_t i) { return (bits[i / 64] >> (i % 64) & 1) != 0; }

void SetBit(std::span<uint64_t> bits, uint32_t i, bool value) {
  const uint64_t bit = uint64_t{1} << (i % 64);
  bits[i / 64] = value ? bits[i / 64] | bit : bits[i / 64] & ~bit;
}

size_t BitmapWords(size_t bits) { return (bits + 63) / 64; }

uint64_t NextSerial() {
  static std::atomic<uint64_t> last = 0;
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

CatalogView::CatalogView(const ModelSnapshot& snapshot)
    : snapshot_(&snapshot),
      num_base_rows_(snapshot.num_items()),
      added_(snapshot.num_items(), snapshot.dim(), snapshot.items().bias != nullptr),
      shared_(0, snapshot.dim(), snapshot.items().bias != nullptr),
      masked_(BitmapWords(snapshot.num_items())) {
  auto names = std::make_shared<CategoryNames>();
  for (uint32_t id = 0; id < snapshot.num_categories(); ++id) {
    names->ids.emplace(std::string(snapshot.CategoryName(id)), id);
  }
  category_names_ = std::move(names);
}

std::shared_ptr<const CatalogView> CatalogView::Build(const ModelSnapshot& snapshot,
                                                      std::span<const CatalogItem> changes) {
  return CatalogView(snapshot).With(changes);
}

std::shared_ptr<const CatalogView> CatalogView::With(std::span<const CatalogItem> changes) const {
  std::shared_ptr<CatalogView> next(new CatalogView(*this));
  next->serial_ = NextSerial();
  for (const CatalogItem& item : changes) next->Apply(item);
  next->added_.UpdateParts();
  next->shared_.UpdateParts();
  next->own_category_names_ = nullptr;
  return next;
}

bool CatalogView::IsUsable(const CatalogItem& item) const {
  return item.space == snapshot_->manifest().embedding_space && item.vector.size() == snapshot_->dim() &&
         std::all_of(item.vector.begin(), item.vector.end(), [](float x) { return std::isfinite(x); });
}

void CatalogView::Apply(const CatalogItem& item) {
  const ItemKey key = ItemKeyOf(item.item_id);
  const std::optional<uint32_t> base_row = snapshot_->FindRow(key);
  const Entry* const found = entries_.Find(key);
  const bool is_new = found == nullptr;
  const Entry old = is_new ? Entry{} : *found;
  const uint32_t old_added_row = old.row != kNoRow && old.row >= num_base_rows_ ? old.row : kNoRow;

  bool has_own_vector = IsUsable(item);
  if (has_own_vector && base_row.has_value()) {
    has_own_vector = !snapshot_->ItemVector(*base_row).Holds(item.vector);
  }
  std::shared_ptr<ItemMetadata> metadata = std::make_shared<ItemMetadata>();
  metadata->item_id = item.item_id;
  metadata->has_metadata = item.has_metadata;
  if (item.has_metadata) {
    metadata->title = item.title;
    metadata->categories = CategoryIdsOf(item);
  }

  ContentPlace place;
  std::optional<uint32_t> shared_vector;
  if (!has_own_vector && !base_row.has_value()) {
    metadata->vector_from_content = PlaceByContent(item, &place);
    if (!metadata->vector_from_content) shared_vector = SharedVectorOf(metadata->categories);
  }
  const bool had_category_vector = old_added_row != kNoRow && HasCategoryVector(old_added_row);

  Entry entry{.row = kNoRow, .deleted = item.deleted};
  if (has_own_vector || metadata->vector_from_content || shared_vector.has_value()) {
    if (has_own_vector) {
      entry.row = PutVector(item, base_row, old_added_row);
    } else if (metadata->vector_from_content) {
      entry.row = PutPlace(place, old_added_row);
    } else {
      entry.row = TakeRow(/*shared=*/true, old_added_row);
      const uint32_t i = entry.row - num_base_rows_;
      if (added_.shared_vector(i) != *shared_vector) added_.SetSharedVector(i, *shared_vector);
    }
    added_.SetMetadata(entry.row - num_base_rows_, std::move(metadata));
    SetMasked(entry.row, item.deleted);
    if (base_row.has_value()) {
      SetMasked(*base_row, true);
      SetBaseMetadata(*base_row, nullptr);
    }
  } else {
    if (old_added_row != kNoRow) GiveBackRow(old_added_row);
    if (base_row.has_value()) {
      entry.row = *base_row;
      SetMasked(*base_row, item.deleted);
      SetBaseMetadata(*base_row, item.has_metadata ? std::move(metadata) : nullptr);
    }
  }

  const auto count = [](uint64_t& counter, bool before, bool after) { counter += uint64_t{after} - before; };
  count(num_without_row_, !is_new && old.row == kNoRow, entry.row == kNoRow);
  count(num_without_vector_, !is_new && old.row == kNoRow && !old.deleted,
        entry.row == kNoRow && !entry.deleted);
  count(num_with_category_vector_, had_category_vector && !old.deleted,
        shared_vector.has_value() && !entry.deleted);
  entries_.Set(key, entry);
}

uint32_t CatalogView::TakeRow(bool shared, uint32_t old_added_row) {
  if (old_added_row != kNoRow) {
    if (added_.IsShared(old_added_row - num_base_rows_) == shared) return old_added_row;
    GiveBackRow(old_added_row);
  }
  const uint32_t num_rows_before = num_rows();
  const uint32_t i = shared ? added_.AllocateShared() : added_.Allocate();
  masked_.resize(BitmapWords(num_rows()));
  for (uint32_t row = num_rows_before; row < num_rows(); ++row) SetMasked(row, true);
  return num_base_rows_ + i;
}

void CatalogView::GiveBackRow(uint32_t added_row) {
  added_.SetMetadata(added_row - num_base_rows_, std::make_shared<ItemMetadata>());
  added_.Release(added_row - num_base_rows_);
  SetMasked(added_row, true);
}

bool CatalogView::PlaceByContent(const CatalogItem& item, ContentPlace* place) const {
  const ContentTower* const tower = snapshot_->content_tower();
  if (tower == nullptr) return false;
  ItemContent content;
  if (item.has_metadata) {
    content = {.title = item.title, .categories = item.categories, .attributes = item.attributes};
  }
  std::vector<ExternalVector> vectors;
  for (const auto& [name, values] : item.content_vectors) vectors.push_back({name, values});
  ContentScratch scratch;
  return tower->Place(content, vectors, scratch, place);
}

uint32_t CatalogView::PutPlace(const ContentPlace& place, uint32_t old_added_row) {
  const uint32_t row = TakeRow(/*shared=*/false, old_added_row);
  const uint32_t i = row - num_base_rows_;
  if (place.input_vector.empty()) {
    std::vector<float> input_vector(place.vector.size());
    snapshot_->MapToInput(place.vector, input_vector);
    added_.SetVector(i, place.vector, input_vector);
  } else {
    added_.SetVector(i, place.vector, place.input_vector);
  }
  const bool has_bias = snapshot_->items().bias != nullptr;
  added_.SetFacts(i, kNoRow, has_bias ? place.bias : 0, place.attention_logit, 0);
  return row;
}

uint32_t CatalogView::PutVector(const CatalogItem& item, std::optional<uint32_t> base_row,
                                uint32_t old_added_row) {
  const uint32_t row = TakeRow(/*shared=*/false, old_added_row);
  const uint32_t i = row - num_base_rows_;
  if (row == old_added_row && !HasContentVector(row)) {
    const std::span<const float> old = added_.vector(i);
    if (std::equal(item.vector.begin(), item.vector.end(), old.begin())) return row;
  }
  std::vector<float> input_vector(item.vector.size());
  snapshot_->MapToInput(item.vector, input_vector);
  added_.SetVector(i, item.vector, input_vector);
  if (base_row.has_value()) {
    added_.SetFacts(i, *base_row, snapshot_->Bias(*base_row), snapshot_->AttentionLogit(*base_row),
                    snapshot_->Popularity(*base_row));
  } else {
    added_.SetFacts(i, kNoRow, 0, 0, 0);
  }
  return row;
}

std::optional<uint32_t> CatalogView::SharedVectorOf(std::span<const uint32_t> categories) {
  std::vector<uint32_t> known;
  for (const uint32_t id : categories) {
    if (id < snapshot_->num_categories() && !snapshot_->RowsOfCategory(id).empty()) known.push_back(id);
  }
  if (known.empty()) return std::nullopt;
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  uint64_t key = ItemKeyOf({reinterpret_cast<const char*>(known.data()), known.size() * sizeof(known[0])});
  for (;; ++key) {
    const uint32_t* const number = shared_numbers_.Find(key);
    if (number == nullptr) break;
    if (shared_.metadata(*number).categories == known) return *number;
  }

  std::vector<double> sum(snapshot_->dim());
  double bias = 0;
  for (const uint32_t id : known) {
    const CategoryMean& mean = MeanOf(id);
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += mean.vector[j];
    bias += mean.bias;
  }
  const auto count = static_cast<double>(known.size());
  std::vector<float> vector, input_vector(sum.size());
  for (const double x : sum) vector.push_back(static_cast<float>(x / count));
  snapshot_->MapToInput(vector, input_vector);
  const uint32_t number = shared_.Allocate();
  shared_.SetVector(number, vector, input_vector);
  shared_.SetFacts(number, kNoRow, static_cast<float>(bias / count), 0, 0);
  auto metadata = std::make_shared<ItemMetadata>();
  metadata->categories = std::move(known);
  shared_.SetMetadata(number, std::move(metadata));
  shared_numbers_.Set(key, number);
  return number;
}

const CatalogView::CategoryMean& CatalogView::MeanOf(uint32_t category) {
  if (const auto* const found = category_means_.Find(category); found != nullptr) return **found;
  auto mean = std::make_shared<CategoryMean>();
  mean->vector.resize(snapshot_->dim());
  const std::span<const uint32_t> rows = snapshot_->RowsOfCategory(category);
  for (const uint32_t row : rows) {
    const VectorView vector = snapshot_->ItemVector(row);
    for (size_t j = 0; j < vector.size(); ++j) mean->vector[j] += double{vector[j]};
    mean->bias += double{snapshot_->Bias(row)};
  }
  const auto count = static_cast<double>(rows.size());
  for (double& x : mean->vector) x /= count;
  mean->bias /= count;
  const CategoryMean& result = *mean;
  category_means_.Set(category, std::move(mean));
  return result;
}

std::vector<uint32_t> CatalogView::CategoryIdsOf(const CatalogItem& item) {
  std::vector<uint32_t> ids;
  for (const std::string& name : item.categories) {
    std::optional<uint32_t> id = FindCategory(name);
    if (!id.has_value()) {
      if (own_category_names_ == nullptr) {
        auto names = std::make_shared<CategoryNames>(*category_names_);
        own_category_names_ = names.get();
        category_names_ = std::move(names);
      }
      id = num_categories();
      own_category_names_->ids.emplace(name, *id);
      own_category_names_->added.push_back(name);
    }
    ids.push_back(*id);
  }
  return ids;
}

void CatalogView::SetMasked(uint32_t row, bool masked) { SetBit(masked_, row, masked); }

const ItemMetadata* CatalogView::BaseMetadata(uint32_t row) const {
  if (has_base_metadata_.empty() || !TestBit(has_base_metadata_, row)) return nullptr;
  return base_metadata_.Find(row)->get();
}

void CatalogView::SetBaseMetadata(uint32_t row, std::shared_ptr<const ItemMetadata> metadata) {
  if (metadata == nullptr) {
    if (BaseMetadata(row) == nullptr) return;
    SetBit(has_base_metadata_, row, false);
    --num_base_metadata_;
    base_metadata_.Erase(row);
    return;
  }
  if (has_base_metadata_.empty()) has_base_metadata_.resize(BitmapWords(num_base_rows_));
  if (!TestBit(has_base_metadata_, row)) ++num_base_metadata_;
  SetBit(has_base_metadata_, row, true);
  base_metadata_.Set(row, std::move(metadata));
}

bool CatalogView::CollectRows(std::span<const uint32_t> ids, uint32_t num_rows, size_t limit,
                              std::vector<uint32_t>* rows) const {
  if (num_rows > num_base_rows_) return false;
  // Rows whose categories the store has changed are taken whatever they are.
  size_t count = num_base_metadata_;
  for (const uint32_t id : ids) {
    if (id < snapshot_->num_categories()) count += snapshot_->RowsOfCategory(id).size();
  }
  if (count > limit) return false;
  for (size_t i = 0; num_base_metadata_ > 0 && i < has_base_metadata_.size(); ++i) {
    for (uint64_t left = has_base_metadata_[i]; left != 0; left &= left - 1) {
      rows->push_back(static_cast<uint32_t>(i * 64 + static_cast<size_t>(std::countr_zero(left))));
    }
  }
  for (const uint32_t id : ids) {
    if (id >= snapshot_->num_categories()) continue;
    const std::span<const uint32_t> of_category = snapshot_->RowsOfCategory(id);
    rows->insert(rows->end(), of_category.begin(), of_category.end());
  }
  return true;
}

std::optional<uint32_t> CatalogView::FindRow(ItemKey key) const {
  if (entries_.size() > 0) {
    if (const Entry* entry = entries_.Find(key); entry != nullptr) {
      if (entry->row == kNoRow) return std::nullopt;
      return entry->row;
    }
  }
  return snapshot_->FindRow(key);
}

std::string_view CatalogView::ItemId(uint32_t row) const {
  return row < num_base_rows_ ? snapshot_->ItemId(row) : added_.metadata(row - num_base_rows_).item_id;
}

std::string_view CatalogView::Title(uint32_t row) const {
  if (row < num_base_rows_) {
    const ItemMetadata* metadata = BaseMetadata(row);
    return metadata == nullptr ? snapshot_->Title(row) : std::string_view(metadata->title);
  }
  const uint32_t i = row - num_base_rows_;
  const uint32_t base_row = added_.base_row(i);
  if (added_.metadata(i).has_metadata || base_row == kNoRow) return added_.metadata(i).title;
  return snapshot_->Title(base_row);
}

std::span<const uint32_t> CatalogView::CategoriesOf(uint32_t row) const {
  if (row < num_base_rows_) {
    const ItemMetadata* metadata = BaseMetadata(row);
    if (metadata == nullptr) return snapshot_->CategoryIds(row);
    return metadata->categories;
  }
  const uint32_t i = row - num_base_rows_;
  const uint32_t base_row = added_.base_row(i);
  if (added_.metadata(i).has_metadata || base_row == kNoRow) return added_.metadata(i).categories;
  return snapshot_->CategoryIds(base_row);
}

std::string_view CatalogView::CategoryName(uint32_t id) const {
  if (id < snapshot_->num_categories()) return snapshot_->CategoryName(id);
  return category_names_->added[id - snapshot_->num_categories()];
}

uint32_t CatalogView::num_categories() const {
  return snapshot_->num_categories() + static_cast<uint32_t>(category_names_->added.size());
}

std::optional<uint32_t> CatalogView::FindCategory(std::string_view name) const {
  const auto it = category_names_->ids.find(absl::string_view(name.data(), name.size()));
  if (it == category_names_->ids.end()) return std::nullopt;
  return it->second;
}

VectorView CatalogView::ItemVector(uint32_t row) const {
  if (row < num_base_rows_) return snapshot_->ItemVector(row);
  const auto [rows, i] = VectorPlace(row - num_base_rows_);
  return rows->vector(i);
}

VectorView CatalogView::InputVector(uint32_t row) const {
  if (row < num_base_rows_) return snapshot_->InputVector(row);
  const auto [rows, i] = VectorPlace(row - num_base_rows_);
  return {rows->input_vector(i), snapshot_->dim()};
}

float CatalogView::Bias(uint32_t row) const {
  if (row < num_base_rows_) return snapshot_->Bias(row);
  const auto [rows, i] = VectorPlace(row - num_base_rows_);
  return rows->bias(i);
}

float CatalogView::AttentionLogit(uint32_t row) const {
  return row < num_base_rows_ ? snapshot_->AttentionLogit(row) : added_.attention_logit(row - num_base_rows_);
}

float CatalogView::Popularity(uint32_t row) const {
  return row < num_base_rows_ ? snapshot_->Popularity(row) : added_.popularity(row - num_base_rows_);
}

float CatalogView::InverseNorm(uint32_t row) const {
  if (row < num_base_rows_) return snapshot_->inverse_norms()[row];
  const auto [rows, i] = VectorPlace(row - num_base_rows_);
  return rows->inverse_norm(i);
}

std::optional<uint32_t> CatalogView::BaseRowOf(uint32_t row) const {
  const uint32_t base_row = added_.base_row(row - num_base_rows_);
  if (base_row == kNoRow) return std::nullopt;
  return base_row;
}

}  // namespace swiftlet
