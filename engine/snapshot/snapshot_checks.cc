#include "engine/snapshot/snapshot_checks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/aligned_vector.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/content_binding.h"

namespace swiftlet {
namespace {

// Look-ups of all keys may take this many steps for each item: random keys in a table at most half full need
// 1.5, and a table made to be slow must not hold a server up.
constexpr uint64_t kMaxProbesPerItem = 64;
constexpr uint64_t kMinProbeBudget = 1 << 20;

absl::Status Bad(std::string_view tensor, uint64_t index, std::string_view expected, std::string_view found) {
  return absl::DataLossError(absl::StrCat("tensor \"", std::string(tensor), "\"[", index, "]: expected ",
                                          std::string(expected), ", found ", std::string(found)));
}

// offsets[0] = 0, ascending, ending at `size`.
absl::Status CheckOffsets(std::string_view name, std::span<const uint64_t> offsets, uint64_t size) {
  if (offsets.front() != 0) return Bad(name, 0, "0", absl::StrCat(offsets.front()));
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1]) {
      return Bad(name, i, absl::StrCat("at least ", offsets[i - 1], ", the one before"),
                 absl::StrCat(offsets[i]));
    }
  }
  if (offsets.back() != size) {
    return Bad(name, offsets.size() - 1, absl::StrCat(size, ", the length of what it points into"),
               absl::StrCat(offsets.back()));
  }
  return absl::OkStatus();
}

// Every key leads to its row, and looking up any other ends.
absl::Status CheckKeySlots(const SnapshotTensors& t) {
  constexpr std::string_view kName = "item.key_slots";
  const uint64_t n = t.keys.size();
  const uint64_t size = t.key_slots.size();
  if (!std::has_single_bit(size) || size < 2 * n) {
    return absl::DataLossError(absl::StrCat("tensor \"", std::string(kName),
                                            "\": expected a power of two of at least ", 2 * n,
                                            " slots, found ", size));
  }
  uint64_t used = 0;
  for (uint64_t i = 0; i < size; ++i) {
    if (t.key_slots[i] > n) return Bad(kName, i, absl::StrCat("at most ", n), absl::StrCat(t.key_slots[i]));
    used += t.key_slots[i] != 0;
  }
  if (used != n) {
    return absl::DataLossError(
        absl::StrCat("tensor \"", std::string(kName), "\": expected ", n, " slots in use, found ", used));
  }
  const uint64_t mask = size - 1;
  uint64_t budget = std::max(n * kMaxProbesPerItem, kMinProbeBudget);
  for (uint64_t row = 0; row < n; ++row) {
    for (uint64_t slot = t.keys[row] & mask;; slot = (slot + 1) & mask) {
      const uint32_t found = t.key_slots[slot];
      if (found == row + 1) break;
      if (found == 0) {
        return absl::DataLossError(
            absl::StrCat("tensor \"", std::string(kName), "\": the key of row ", row, " is not found"));
      }
      if (t.keys[found - 1] == t.keys[row]) {
        return Bad("item.keys", row, "a key that no other row has", absl::StrCat("that of row ", found - 1));
      }
      if (--budget == 0) {
        return absl::DataLossError(
            absl::StrCat("tensor \"", std::string(kName), "\": looking keys up takes too many steps"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPermutation(std::string_view name, std::span<const uint32_t> order) {
  std::vector<bool> seen(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] >= order.size() || seen[order[i]]) {
      return Bad(name, i, absl::StrCat("a row below ", order.size(), " that did not occur before"),
                 absl::StrCat(order[i]));
    }
    seen[order[i]] = true;
  }
  return absl::OkStatus();
}

// Of values[offsets[r] .. offsets[r + 1]) for every r: each is below `end` and above the one before.
absl::Status CheckAscending(std::string_view name, std::span<const uint64_t> offsets,
                            std::span<const uint32_t> values, uint32_t end) {
  for (size_t r = 0; r + 1 < offsets.size(); ++r) {
    for (uint64_t k = offsets[r]; k < offsets[r + 1]; ++k) {
      if (values[k] >= end) return Bad(name, k, absl::StrCat("below ", end), absl::StrCat(values[k]));
      if (k > offsets[r] && values[k] <= values[k - 1]) {
        return Bad(name, k, absl::StrCat("above ", values[k - 1], ", the one before"),
                   absl::StrCat(values[k]));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckFinite(std::string_view name, std::span<const float> values, bool not_negative = false) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) return Bad(name, i, "a finite number", absl::StrCat(values[i]));
    if (not_negative && values[i] < 0) return Bad(name, i, "at least 0", absl::StrCat(values[i]));
  }
  return absl::OkStatus();
}

// Sum of squares in double: finite if and only if all are.
double SumOfSquares(std::span<const float> v) {
  double sum[4] = {0, 0, 0, 0};
  size_t i = 0;
  for (; i + 4 <= v.size(); i += 4) {
    for (size_t j = 0; j < 4; ++j) sum[j] += double{v[i + j]} * double{v[i + j]};
  }
  for (; i < v.size(); ++i) sum[0] += double{v[i]} * double{v[i]};
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// Rows [first, last), each of `dim` finite numbers and zeros up to the stride.
absl::Status CheckRows(std::string_view name, std::span<const float> rows, size_t dim, size_t stride,
                       size_t first, size_t last) {
  for (size_t begin = first * stride; begin < last * stride; begin += stride) {
    const std::span<const float> row = rows.subspan(begin, stride);
    if (!std::isfinite(SumOfSquares(row.first(dim)))) {
      for (size_t j = 0; j < dim; ++j) {
        if (!std::isfinite(row[j])) return Bad(name, begin + j, "a finite number", absl::StrCat(row[j]));
      }
    }
    for (size_t j = dim; j < stride; ++j) {
      if (row[j] != 0) return Bad(name, begin + j, "0 as padding", absl::StrCat(row[j]));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRows(std::string_view name, std::span<const Bf16> rows, size_t dim, size_t stride,
                       size_t first, size_t last) {
  for (size_t begin = first * stride; begin < last * stride; begin += stride) {
    for (size_t i = begin; i < begin + dim; ++i) {
      if (!IsFinite(rows[i])) return Bad(name, i, "a finite number", absl::StrCat(ToFloat(rows[i])));
    }
    for (size_t i = begin + dim; i < begin + stride; ++i) {
      if (ToFloat(rows[i]) != 0) return Bad(name, i, "0 as padding", absl::StrCat(ToFloat(rows[i])));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckInverseNorms(const SnapshotTensors& t, size_t begin, size_t end) {
  const ItemMatrix items = t.items();
  AlignedVector<float> buffer(items.dim);
  for (size_t row = begin; row < end; ++row) {
    const float expected = InverseNorm({items.Row(row).Floats(buffer.data()), items.dim});
    const float found = t.inverse_norms[row];
    // Relative: writers may sum in float. Absolute: denormal results have few digits.
    if (!(std::fabs(found - expected) <= 1e-3f * expected + 1e-40f)) {
      return Bad("item.inverse_norms", row, absl::StrCat(expected, ", 1 / |v|"), absl::StrCat(found));
    }
  }
  return absl::OkStatus();
}

std::string_view TextAt(std::span<const uint64_t> offsets, std::span<const char> bytes, size_t i) {
  return {bytes.data() + offsets[i], offsets[i + 1] - offsets[i]};
}

absl::Status CheckTexts(const SnapshotTensors& t, size_t begin, size_t end) {
  for (size_t row = begin; row < end; ++row) {
    const std::string_view id = TextAt(t.id_offsets, t.id_bytes, row);
    if (!IsValidId(id)) {
      return absl::DataLossError(absl::StrCat("tensor \"item.id_bytes\": the id of row ", row, " has ",
                                              id.size(), " bytes; expected 1 to ", kMaxIdBytes,
                                              " of UTF-8 without NUL"));
    }
    if (const ItemKey key = ItemKeyOf(id); key != t.keys[row]) {
      return Bad("item.keys", row, absl::StrCat(key, ", the hash of its id \"", std::string(id), "\""),
                 absl::StrCat(t.keys[row]));
    }
    if (!IsValidUtf8(TextAt(t.title_offsets, t.title_bytes, row))) {
      return absl::DataLossError(
          absl::StrCat("tensor \"item.title_bytes\": the title of row ", row, " is no UTF-8"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCategoryNames(const SnapshotTensors& t) {
  for (size_t i = 0; i < t.manifest.num_categories; ++i) {
    if (!IsValidId(TextAt(t.category_name_offsets, t.category_name_bytes, i))) {
      return absl::DataLossError(absl::StrCat("tensor \"category.name_bytes\": the name of category ", i,
                                              " is not 1 to ", kMaxIdBytes, " bytes of UTF-8 without NUL"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckNotNegative(std::string_view name, std::span<const float> values, size_t begin,
                              size_t end) {
  for (size_t i = begin; i < end; ++i) {
    if (values[i] < 0) return Bad(name, i, "at least 0", absl::StrCat(values[i]));
  }
  return absl::OkStatus();
}

absl::Status CheckRidge(const RatingTables& t) {
  for (size_t j = 0; j < t.ridge.size(); ++j) {
    const bool used = j <= t.dim;
    if (used ? t.ridge[j] > 0 && std::isfinite(t.ridge[j]) : t.ridge[j] == 0) continue;
    return Bad("rating.ridge", j, used ? "a positive number" : "0 as padding", absl::StrCat(t.ridge[j]));
  }
  return absl::OkStatus();
}

// The small tensors.
absl::Status CheckNumbers(const SnapshotTensors& t) {
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("item.bias", t.bias));
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("item.attention_logits", t.attention_logits));
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("item.popularity", t.popularity, /*not_negative=*/true));
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("attention.class_logits", t.class_logits));
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("attention.position_logits", t.position_logits));
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("attention.recency_logits", t.recency_logits));
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("attention.slot_logits", t.slot_logits));
  for (const auto& [name, values] : t.encoder_tensors) SWIFTLET_RETURN_IF_ERROR(CheckFinite(name, values));
  if (t.neighbours.has_value()) {
    SWIFTLET_RETURN_IF_ERROR(CheckFinite("neighbours.weights", t.neighbours->weights));
    SWIFTLET_RETURN_IF_ERROR(CheckFinite("neighbours.position_weights", t.neighbours->position_weights));
  }
  for (size_t i = 1; i < t.popularity_order.size(); ++i) {
    if (t.popularity[t.popularity_order[i]] > t.popularity[t.popularity_order[i - 1]]) {
      return Bad("item.popularity_order", i, "rows in order of popularity, highest first",
                 absl::StrCat("row ", t.popularity_order[i], ", more popular than the one before"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

ItemMatrix SnapshotTensors::items() const {
  const bool is_bf16 = manifest.row_type == RowType::kBf16;
  return {.vectors = is_bf16 ? nullptr : vectors.data(),
          .bf16_vectors = is_bf16 ? bf16_vectors.data() : nullptr,
          .bias = bias.empty() ? nullptr : bias.data(),
          .num_items = manifest.num_items,
          .dim = manifest.dim,
          .stride = manifest.row_stride};
}

ItemMatrix SnapshotTensors::inputs() const {
  ItemMatrix matrix = items();
  matrix.bias = nullptr;
  if (!input_vectors.empty()) matrix.vectors = input_vectors.data();
  if (!bf16_input_vectors.empty()) matrix.bf16_vectors = bf16_input_vectors.data();
  return matrix;
}

absl::Status CheckNeighbourStructure(const NeighbourRows& t, const NeighbourUsers* users) {
  SWIFTLET_RETURN_IF_ERROR(CheckOffsets("neighbours.offsets", t.offsets, t.rows.size()));
  if (users == nullptr) {
    SWIFTLET_RETURN_IF_ERROR(CheckAscending("neighbours.rows", t.offsets, t.rows, t.num_items()));
  } else {
    constexpr size_t kMaxUsers = size_t{1} << 31;
    if (users->offsets.empty() || users->offsets.size() > kMaxUsers + 1) {
      return absl::DataLossError(absl::StrCat("tensor \"neighbours.user_offsets\": expected 1 to ",
                                              kMaxUsers + 1, " elements, found ", users->offsets.size()));
    }
    SWIFTLET_RETURN_IF_ERROR(CheckOffsets("neighbours.user_offsets", users->offsets, users->items.size()));
    SWIFTLET_RETURN_IF_ERROR(
        CheckAscending("neighbours.user_items", users->offsets, users->items, t.num_items()));
    SWIFTLET_RETURN_IF_ERROR(CheckAscending("neighbours.rows", t.offsets, t.rows, users->num_users()));
  }
  if (t.position_weights.empty()) {
    return absl::DataLossError(
        "tensor \"neighbours.position_weights\": expected at least 1 element, found 0");
  }
  return absl::OkStatus();
}

absl::Status CheckStructure(const SnapshotTensors& t) {
  SWIFTLET_RETURN_IF_ERROR(CheckOffsets("item.id_offsets", t.id_offsets, t.id_bytes.size()));
  SWIFTLET_RETURN_IF_ERROR(CheckOffsets("item.title_offsets", t.title_offsets, t.title_bytes.size()));
  SWIFTLET_RETURN_IF_ERROR(CheckOffsets("item.category_offsets", t.category_offsets, t.category_ids.size()));
  SWIFTLET_RETURN_IF_ERROR(
      CheckOffsets("category.name_offsets", t.category_name_offsets, t.category_name_bytes.size()));
  for (size_t i = 0; i < t.category_ids.size(); ++i) {
    if (t.category_ids[i] >= t.manifest.num_categories) {
      return Bad("item.category_ids", i, absl::StrCat("below ", t.manifest.num_categories),
                 absl::StrCat(t.category_ids[i]));
    }
  }
  SWIFTLET_RETURN_IF_ERROR(CheckKeySlots(t));
  SWIFTLET_RETURN_IF_ERROR(CheckPermutation("item.popularity_order", t.popularity_order));
  if (t.manifest.encoders.empty() && t.position_logits.empty()) {
    return absl::DataLossError("tensor \"attention.position_logits\": expected at least 1 element, found 0");
  }
  if (t.neighbours.has_value()) {
    SWIFTLET_RETURN_IF_ERROR(CheckNeighbourStructure(
        *t.neighbours, t.neighbour_users.has_value() ? &*t.neighbour_users : nullptr));
  }
  if (t.index.has_value()) SWIFTLET_RETURN_IF_ERROR(CheckBoundIndexStructure(*t.index, t.keys.size()));
  return absl::OkStatus();
}

absl::Status CheckValues(const SnapshotTensors& t) {
  for (const ValueCheck& part : ValueChecks(t)) SWIFTLET_RETURN_IF_ERROR(part.check(0, part.size));
  return absl::OkStatus();
}

std::vector<ValueCheck> ValueChecks(const SnapshotTensors& t) {
  constexpr uint64_t kRows = 25 * kGroupRows;
  const size_t dim = t.manifest.dim, stride = t.manifest.row_stride;
  std::vector<ValueCheck> checks;
  const auto add_rows = [&](const char* name, auto rows) {
    checks.push_back({rows.size() / stride, kRows, [=](uint64_t begin, uint64_t end) {
                        return CheckRows(name, rows, dim, stride, begin, end);
                      }});
  };
  add_rows("item.vectors", t.vectors);
  add_rows("item.vectors", t.bf16_vectors);
  add_rows("item.input_vectors", t.input_vectors);
  add_rows("item.input_vectors", t.bf16_input_vectors);
  add_rows("encoder.input_map", t.input_map);
  checks.push_back({t.inverse_norms.size(), kRows,
                    [&t](uint64_t begin, uint64_t end) { return CheckInverseNorms(t, begin, end); }});
  checks.push_back({1, 1, [&t](uint64_t, uint64_t) { return CheckNumbers(t); }});
  if (t.content.has_value()) {
    checks.push_back({1, 1, [&t](uint64_t, uint64_t) { return CheckContentTower(*t.content); }});
  }
  if (t.index.has_value()) {
    checks.push_back({1, 1, [&t](uint64_t, uint64_t) { return CheckBoundIndexAxes(*t.index); }});
    checks.push_back({t.index->num_groups(), kRows / kGroupRows, [&t](uint64_t begin, uint64_t end) {
                        return CheckBoundIndexGroups(*t.index, t.items(), t.inverse_norms, begin, end);
                      }});
  }
  if (t.rating.has_value()) {
    const RatingTables& r = *t.rating;
    const size_t rating_stride = RowStride(r.dim + 1);
    const auto add_rating_rows = [&](const char* name, std::span<const float> rows, bool not_negative) {
      checks.push_back(
          {rows.size() / rating_stride, kRows, [=, size = size_t{r.dim} + 1](uint64_t begin, uint64_t end) {
             SWIFTLET_RETURN_IF_ERROR(CheckRows(name, rows, size, rating_stride, begin, end));
             if (!not_negative) return absl::OkStatus();
             return CheckNotNegative(name, rows, begin * rating_stride, end * rating_stride);
           }});
    };
    add_rating_rows("rating.items", r.items, false);
    add_rating_rows("rating.item_variances", r.item_variances, true);
    add_rating_rows("rating.implicit", r.implicit, false);
    checks.push_back({1, 1, [&r](uint64_t, uint64_t) { return CheckRidge(r); }});
  }
  checks.push_back(
      {t.keys.size(), kRows, [&t](uint64_t begin, uint64_t end) { return CheckTexts(t, begin, end); }});
  checks.push_back({1, 1, [&t](uint64_t, uint64_t) { return CheckCategoryNames(t); }});
  return checks;
}

float InverseNorm(std::span<const float> v) {
  const double norm = std::sqrt(SumOfSquares(v));
  if (norm == 0) return 0;
  const auto inverse = static_cast<float>(1.0 / norm);
  return std::isfinite(inverse) ? inverse : 0.0f;
}

uint64_t NumKeySlots(uint64_t num_items) { return std::bit_ceil(2 * num_items); }

}  // namespace swiftlet
