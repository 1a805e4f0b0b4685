#include "engine/retrieval/row_filter.h"

#include <algorithm>
#include <bit>

namespace swiftlet {
namespace {

bool TestBit(std::span<const uint64_t> bits, uint32_t i) {
  return i / 64 < bits.size() && (bits[i / 64] >> (i % 64) & 1) != 0;
}

// Sets the bits of `ids` in a bitmap that is cleared and has room for `size` bits. Ids beyond it are left
// out.
void FillBitmap(std::span<const uint32_t> ids, uint32_t size, std::vector<uint64_t>& bits) {
  bits.assign((size_t{size} + 63) / 64, 0);
  for (const uint32_t id : ids) {
    if (id < size) bits[id / 64] |= uint64_t{1} << (id % 64);
  }
}

}  // namespace

void RowFilter::Reset(uint32_t num_rows, std::span<const uint64_t> masked_rows) {
  for (const uint32_t row : excluded_rows_) excluded_[row / 64] = 0;
  excluded_rows_.clear();
  const size_t words = (size_t{num_rows} + 63) / 64;
  if (excluded_.size() < words) excluded_.resize(words);
  masked_ = masked_rows;
  categories_ = nullptr;
  has_any_of_ = false;
}

void RowFilter::Exclude(uint32_t row) {
  const uint64_t bit = uint64_t{1} << (row % 64);
  if ((excluded_[row / 64] & bit) != 0) return;
  excluded_[row / 64] |= bit;
  excluded_rows_.push_back(row);
}

void RowFilter::SetCategories(const CategoryIndex* index, std::span<const uint32_t> any_of, bool has_any_of,
                              std::span<const uint32_t> none_of) {
  categories_ = has_any_of || !none_of.empty() ? index : nullptr;
  if (categories_ == nullptr) return;
  has_any_of_ = has_any_of;
  any_of_ids_.assign(any_of.begin(), any_of.end());
  FillBitmap(any_of, index->num_categories(), any_of_);
  FillBitmap(none_of, index->num_categories(), none_of_);
}

bool RowFilter::Allows(uint32_t row) const {
  if (TestBit(masked_, row) || TestBit(excluded_, row)) return false;
  if (categories_ == nullptr) return true;
  bool has_one = !has_any_of_;
  for (const uint32_t id : categories_->CategoriesOf(row)) {
    if (TestBit(none_of_, id)) return false;
    has_one = has_one || TestBit(any_of_, id);
  }
  return has_one;
}

bool RowFilter::CollectAllowed(uint32_t num_rows, size_t limit, std::vector<uint32_t>* rows) const {
  rows->clear();
  if (has_any_of_ && categories_ != nullptr) {
    // A row may stand in the lists of several categories, and be excluded: some more than the limit are
    // looked at.
    if (!categories_->CollectRows(any_of_ids_, num_rows, 2 * limit, rows)) return false;
    const auto is_out = [&](uint32_t row) { return row >= num_rows || !Allows(row); };
    rows->erase(std::remove_if(rows->begin(), rows->end(), is_out), rows->end());
    // Those of one category are in order.
    if (!std::is_sorted(rows->begin(), rows->end())) std::sort(rows->begin(), rows->end());
    rows->erase(std::unique(rows->begin(), rows->end()), rows->end());
    return rows->size() <= limit;
  }
  const size_t num_words = (size_t{num_rows} + 63) / 64;
  const auto allowed_of_word = [&](size_t i) {
    uint64_t out = (i < excluded_.size() ? excluded_[i] : 0) | (i < masked_.size() ? masked_[i] : 0);
    if (i + 1 == num_words && num_rows % 64 != 0) out |= ~uint64_t{0} << (num_rows % 64);
    return ~out;
  };
  // Mostly many rows are allowed, which the first words show, sooner than collecting them would. Those that
  // categories leave out have to be asked for one by one: not for many.
  const size_t most = categories_ == nullptr ? limit : 2 * limit;
  size_t count = 0;
  for (size_t i = 0; i < std::min(num_words, most / 16 + 1); ++i) {
    count += static_cast<size_t>(std::popcount(allowed_of_word(i)));
    if (count > most) return false;
  }
  for (size_t i = 0; i < num_words; ++i) {
    for (uint64_t left = allowed_of_word(i); left != 0; left &= left - 1) {
      const auto row = static_cast<uint32_t>(i * 64 + static_cast<size_t>(std::countr_zero(left)));
      if (categories_ == nullptr || Allows(row)) rows->push_back(row);
    }
    if (rows->size() > limit) return false;
  }
  return true;
}

}  // namespace swiftlet
