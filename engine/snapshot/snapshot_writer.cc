#include "engine/snapshot/snapshot_writer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/bf16.h"
#include "engine/base/item_key.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "engine/encoders/attention.h"
#include "engine/retrieval/bound_index_builder.h"
#include "engine/retrieval/bound_index_trial.h"
#include "engine/snapshot/content_binding.h"
#include "engine/snapshot/file_io.h"
#include "engine/snapshot/safetensors.h"
#include "engine/snapshot/snapshot_checks.h"

namespace swiftlet {
namespace {

// Texts one after another, as in the tensors.
struct PackedTexts {
  std::vector<uint64_t> offsets = {0};
  std::string bytes;
  void Add(std::string_view text) {
    bytes += text;
    offsets.push_back(bytes.size());
  }
};

// Tensors that are computed from the contents.
struct DerivedTensors {
  AlignedVector<float> vectors, input_vectors, input_map;  // padded rows
  AlignedVector<Bf16> bf16_vectors, bf16_input_vectors;    // instead of the first two
  std::vector<float> inverse_norms, slot_logits;
  std::vector<uint64_t> keys, category_offsets = {0};
  std::vector<uint32_t> key_slots, category_ids, popularity_order;
  PackedTexts ids, titles, category_names;
  std::optional<BoundIndexData> index;
  AlignedVector<float> rating_items, rating_variances, rating_implicit, rating_ridge;  // padded rows
  std::optional<ContentTensors> content;
};

std::string ItemName(const SnapshotContents& c, size_t row) {
  return absl::StrCat("item ", Quoted(c.item_ids[row]), " (row ", row, ")");
}

absl::Status CheckSize(std::string_view field, size_t expected, size_t found, bool optional) {
  if (found == expected || (optional && found == 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": expected ", expected,
                                                 optional ? " elements or none" : " elements", ", found ",
                                                 found));
}

// values: [N, per_item]
absl::Status CheckItemNumbers(const SnapshotContents& c, std::string_view field,
                              const std::vector<float>& values, size_t per_item, bool not_negative = false) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && !(not_negative && values[i] < 0)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(field), ": ", ItemName(c, i / per_item), ": expected a finite number",
                     not_negative ? " of at least 0" : "", ", found ", values[i]));
  }
  return absl::OkStatus();
}

// That rounding `values` [N, dim] to bf16 leaves them finite.
absl::Status CheckBf16Range(const SnapshotContents& c, std::string_view field,
                            const std::vector<float>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (IsFinite(ToBf16(values[i]))) continue;
    return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", ItemName(c, i / c.dim),
                                                   ": expected a number in the range of bf16, found ",
                                                   values[i]));
  }
  return absl::OkStatus();
}

absl::Status CheckNumbers(std::string_view field, std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(field), "[", i, "]: expected a finite number, found ", values[i]));
  }
  return absl::OkStatus();
}

absl::Status CheckEncoders(const SnapshotContents& c) {
  const bool additive = c.encoders.empty();
  const auto check = [&](std::string_view field, size_t size, size_t found) {
    return CheckSize(field, additive ? size : 0, found, false);
  };
  SWIFTLET_RETURN_IF_ERROR(check("class_logits", c.manifest.event_classes.size(), c.class_logits.size()));
  SWIFTLET_RETURN_IF_ERROR(check("recency_logits", kNumRecencyBuckets, c.recency_logits.size()));
  SWIFTLET_RETURN_IF_ERROR(
      check("position_logits", std::max<size_t>(c.position_logits.size(), 1), c.position_logits.size()));
  for (size_t k = 0; k < c.encoders.size(); ++k) {
    for (const auto& [name, tensor] : c.encoders[k].tensors) {
      const std::string field = absl::StrCat("encoder.", k, ".", name);
      size_t size = 1;
      for (const uint64_t length : tensor.shape) size *= length;
      SWIFTLET_RETURN_IF_ERROR(CheckSize(field, size, tensor.values.size(), false));
      SWIFTLET_RETURN_IF_ERROR(CheckNumbers(field, tensor.values));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRating(const SnapshotContents& c, const RatingContents& r) {
  const size_t n = c.item_ids.size(), row = size_t{r.parameters.dim} + 1;
  SWIFTLET_RETURN_IF_ERROR(CheckSize("rating.items", n * row, r.items.size(), false));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("rating.item_variances", n * row, r.item_variances.size(), true));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("rating.implicit", n * row, r.implicit.size(), true));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("rating.ridge", row, r.ridge.size(), false));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("rating.counts", n, r.counts.size(), false));
  SWIFTLET_RETURN_IF_ERROR(CheckItemNumbers(c, "rating.items", r.items, row));
  SWIFTLET_RETURN_IF_ERROR(CheckItemNumbers(c, "rating.item_variances", r.item_variances, row, true));
  SWIFTLET_RETURN_IF_ERROR(CheckItemNumbers(c, "rating.implicit", r.implicit, row));
  for (size_t j = 0; j < row; ++j) {
    if (r.ridge[j] > 0 && std::isfinite(r.ridge[j])) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("rating.ridge[", j, "]: expected a positive number, found ", r.ridge[j]));
  }
  return absl::OkStatus();
}

absl::Status CheckNeighbours(const SnapshotContents& c) {
  const NeighbourContents& t = *c.neighbours;
  SWIFTLET_RETURN_IF_ERROR(CheckSize("neighbours.offsets", c.item_ids.size() + 1, t.offsets.size(), false));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("neighbours.weights", t.rows.size(), t.weights.size(), false));
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers("neighbours.weights", t.weights));
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers("neighbours.position_weights", t.position_weights));
  // The reader is the judge of the rest.
  const NeighbourRows rows{t.offsets, t.rows, t.weights, t.position_weights};
  const NeighbourUsers users{.offsets = t.user_offsets, .items = t.user_items};
  const bool has_users = t.neighbours.users.has_value();
  if (!has_users) {
    SWIFTLET_RETURN_IF_ERROR(CheckSize("neighbours.user_offsets", 0, t.user_offsets.size(), false));
    SWIFTLET_RETURN_IF_ERROR(CheckSize("neighbours.user_items", 0, t.user_items.size(), false));
  }
  if (const absl::Status status = CheckNeighbourStructure(rows, has_users ? &users : nullptr); !status.ok()) {
    return absl::InvalidArgumentError(status.message());
  }
  return absl::OkStatus();
}

absl::Status CheckContents(const SnapshotContents& c) {
  const size_t n = c.item_ids.size(), d = c.dim;
  if (d < 1 || d > 4096)
    return absl::InvalidArgumentError(absl::StrCat("dim: expected 1 to 4096, found ", d));
  if (n < 1 || n > size_t{1} << 31) {
    return absl::InvalidArgumentError(absl::StrCat("item_ids: expected 1 to 2^31 items, found ", n));
  }
  SWIFTLET_RETURN_IF_ERROR(CheckSize("item_vectors", n * d, c.item_vectors.size(), false));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("item_input_vectors", n * d, c.item_input_vectors.size(), true));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("item_bias", n, c.item_bias.size(), true));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("item_attention_logits", n, c.item_attention_logits.size(), true));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("item_popularity", n, c.item_popularity.size(), false));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("item_titles", n, c.item_titles.size(), true));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("item_categories", n, c.item_categories.size(), true));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("input_map", d * d, c.input_map.size(), true));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("sample_user_vectors", c.sample_user_vectors.size() / d * d,
                                     c.sample_user_vectors.size(), true));
  SWIFTLET_RETURN_IF_ERROR(CheckEncoders(c));
  if (c.neighbours.has_value()) SWIFTLET_RETURN_IF_ERROR(CheckNeighbours(c));
  if (c.content.has_value()) SWIFTLET_RETURN_IF_ERROR(CheckContentTower(*c.content, c.dim));

  SWIFTLET_RETURN_IF_ERROR(CheckItemNumbers(c, "item_vectors", c.item_vectors, d));
  SWIFTLET_RETURN_IF_ERROR(CheckItemNumbers(c, "item_input_vectors", c.item_input_vectors, d));
  if (c.manifest.row_type == RowType::kBf16) {
    SWIFTLET_RETURN_IF_ERROR(CheckBf16Range(c, "item_vectors", c.item_vectors));
    SWIFTLET_RETURN_IF_ERROR(CheckBf16Range(c, "item_input_vectors", c.item_input_vectors));
  }
  SWIFTLET_RETURN_IF_ERROR(CheckItemNumbers(c, "item_bias", c.item_bias, 1));
  SWIFTLET_RETURN_IF_ERROR(CheckItemNumbers(c, "item_attention_logits", c.item_attention_logits, 1));
  SWIFTLET_RETURN_IF_ERROR(CheckItemNumbers(c, "item_popularity", c.item_popularity, 1, true));
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers("input_map", c.input_map));
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers("class_logits", c.class_logits));
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers("position_logits", c.position_logits));
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers("recency_logits", c.recency_logits));
  const float slot_logits[] = {c.long_term_logit, c.context_logit};
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers("long_term_logit, context_logit", slot_logits));
  if (c.rating.has_value()) SWIFTLET_RETURN_IF_ERROR(CheckRating(c, *c.rating));
  for (const auto& [name, value] : c.manifest.metrics) {
    if (!std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("metrics.", name, ": expected a finite number, found ", value));
    }
  }
  return absl::OkStatus();
}

// Ids, keys and the hash table over them.
absl::Status BuildIds(const SnapshotContents& c, DerivedTensors& t) {
  const size_t n = c.item_ids.size();
  t.key_slots.assign(NumKeySlots(n), 0);
  const uint64_t mask = t.key_slots.size() - 1;
  t.keys.reserve(n);
  for (size_t row = 0; row < n; ++row) {
    const std::string& id = c.item_ids[row];
    if (!IsValidId(id)) {
      return absl::InvalidArgumentError(absl::StrCat("item_ids: ", ItemName(c, row), ": expected 1 to ",
                                                     kMaxIdBytes, " bytes of UTF-8 without NUL, found ",
                                                     id.size(), " bytes"));
    }
    const ItemKey key = ItemKeyOf(id);
    uint64_t slot = key & mask;
    for (; t.key_slots[slot] != 0; slot = (slot + 1) & mask) {
      const size_t other = t.key_slots[slot] - 1;
      if (t.keys[other] != key) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("item_ids: ", ItemName(c, other), " and ", ItemName(c, row),
                       c.item_ids[other] == id ? " are the same id" : " have the same key", " ", key));
    }
    t.key_slots[slot] = static_cast<uint32_t>(row + 1);
    t.keys.push_back(key);
    t.ids.Add(id);
  }
  return absl::OkStatus();
}

// Titles and categories.
absl::Status BuildMetadata(const SnapshotContents& c, DerivedTensors& t) {
  absl::flat_hash_map<std::string, uint32_t> category_ids;
  for (size_t row = 0; row < c.item_ids.size(); ++row) {
    const std::string_view title = c.item_titles.empty() ? std::string_view() : c.item_titles[row];
    if (!IsValidUtf8(title)) {
      return absl::InvalidArgumentError(absl::StrCat("item_titles: ", ItemName(c, row), ": no valid UTF-8"));
    }
    t.titles.Add(title);
    const size_t begin = t.category_ids.size();
    for (const std::string& name :
         c.item_categories.empty() ? std::vector<std::string>() : c.item_categories[row]) {
      if (!IsValidId(name)) {
        return absl::InvalidArgumentError(absl::StrCat("item_categories: ", ItemName(c, row),
                                                       ": expected names of 1 to ", kMaxIdBytes,
                                                       " bytes of UTF-8 without NUL, found ", Quoted(name)));
      }
      const auto [it, added] = category_ids.try_emplace(name, static_cast<uint32_t>(category_ids.size()));
      if (added) t.category_names.Add(name);
      t.category_ids.push_back(it->second);
    }
    const auto first = t.category_ids.begin() + static_cast<ptrdiff_t>(begin);
    std::sort(first, t.category_ids.end());
    t.category_ids.erase(std::unique(first, t.category_ids.end()), t.category_ids.end());
    t.category_offsets.push_back(t.category_ids.size());
  }
  return absl::OkStatus();
}

AlignedVector<float> PadRows(const std::vector<float>& rows, size_t dim) {
  const size_t stride = RowStride(dim), num_rows = rows.size() / dim;
  AlignedVector<float> padded(num_rows * stride);
  for (size_t r = 0; r < num_rows; ++r) std::copy_n(&rows[r * dim], dim, &padded[r * stride]);
  return padded;
}

AlignedVector<Bf16> RoundAndPadRows(const std::vector<float>& rows, size_t dim) {
  const size_t stride = RowStride(dim), num_rows = rows.size() / dim;
  AlignedVector<Bf16> padded(num_rows * stride);
  for (size_t r = 0; r < num_rows; ++r) {
    std::transform(&rows[r * dim], &rows[r * dim] + dim, &padded[r * stride], ToBf16);
  }
  return padded;
}

// The rows as they will be read, which everything else is computed from.
ItemMatrix StoredItems(const SnapshotContents& c, const DerivedTensors& t) {
  const bool is_bf16 = c.manifest.row_type == RowType::kBf16;
  return {.vectors = is_bf16 ? nullptr : t.vectors.data(),
          .bf16_vectors = is_bf16 ? t.bf16_vectors.data() : nullptr,
          .bias = c.item_bias.empty() ? nullptr : c.item_bias.data(),
          .num_items = c.item_ids.size(),
          .dim = c.dim,
          .stride = RowStride(c.dim)};
}

void BuildNumbers(const SnapshotContents& c, DerivedTensors& t) {
  if (c.manifest.row_type == RowType::kBf16) {
    t.bf16_vectors = RoundAndPadRows(c.item_vectors, c.dim);
    t.bf16_input_vectors = RoundAndPadRows(c.item_input_vectors, c.dim);
  } else {
    t.vectors = PadRows(c.item_vectors, c.dim);
    t.input_vectors = PadRows(c.item_input_vectors, c.dim);
  }
  t.input_map = PadRows(c.input_map, c.dim);
  const ItemMatrix items = StoredItems(c, t);
  AlignedVector<float> buffer(c.dim);
  for (size_t row = 0; row < items.num_items; ++row) {
    t.inverse_norms.push_back(InverseNorm({items.Row(row).Floats(buffer.data()), c.dim}));
  }
  t.popularity_order.resize(c.item_ids.size());
  std::iota(t.popularity_order.begin(), t.popularity_order.end(), 0u);
  std::stable_sort(t.popularity_order.begin(), t.popularity_order.end(),
                   [&](uint32_t a, uint32_t b) { return c.item_popularity[a] > c.item_popularity[b]; });
  t.slot_logits = {c.long_term_logit, c.context_logit};
  if (c.rating.has_value()) {
    const size_t row = size_t{c.rating->parameters.dim} + 1;
    t.rating_items = PadRows(c.rating->items, row);
    t.rating_variances = PadRows(c.rating->item_variances, row);
    t.rating_implicit = PadRows(c.rating->implicit, row);
    t.rating_ridge = PadRows(c.rating->ridge, row);
  }
}

ManifestCalibration ManifestOf(const Calibration& c) {
  return {.box_scale = double{c.scale.box},
          .code_scale = double{c.scale.code},
          .recall = c.recall,
          .rows_scanned = c.rows_scanned};
}

// t.index, where there is to be one, and what the manifest says about it. After BuildNumbers.
absl::StatusOr<std::optional<ManifestIndex>> BuildIndex(const SnapshotContents& c, DerivedTensors& t) {
  if (c.index == IndexMode::kNever || (c.index == IndexMode::kAuto && c.item_ids.size() < kMinIndexedItems)) {
    return std::nullopt;
  }
  const ItemMatrix items = StoredItems(c, t);
  t.index = BuildBoundIndex(items, t.inverse_norms, {});
  if (!t.index.has_value()) return std::nullopt;
  const BoundIndexView view = t.index->View();
  const BoundIndexTrial trial =
      TryBoundIndex(items, t.inverse_norms, view,
                    {.user_vectors = c.sample_user_vectors,
                     .num_queries = std::clamp<size_t>(c.item_ids.size() / 64, 32, 512)});
  if (trial.recall < 1) {
    return absl::InternalError(
        absl::StrCat("index: expected the answers of a full scan, found recall ", trial.recall));
  }
  if (c.index == IndexMode::kAuto && !trial.IsWorthIt()) {
    t.index.reset();
    return std::nullopt;
  }
  return ManifestIndex{.kind = kBoundIndexKind,
                       .num_clusters = static_cast<uint32_t>(view.num_clusters()),
                       .sample_queries = static_cast<uint32_t>(trial.num_queries),
                       .sample_recall = trial.recall,
                       .sample_rows_scanned = trial.rows_scanned,
                       .sample_bytes_read = trial.bytes_read,
                       .dot = ManifestOf(trial.dot),
                       .cosine = ManifestOf(trial.cosine)};
}

std::vector<NamedTensor> NameTensors(const SnapshotContents& c, const DerivedTensors& t) {
  const uint64_t n = c.item_ids.size(), stride = RowStride(c.dim);
  std::vector<NamedTensor> tensors;
  const auto add = [&](std::string name, DType dtype, std::vector<uint64_t> shape, const auto& values) {
    tensors.push_back({std::move(name), {dtype, std::move(shape), std::as_bytes(std::span(values))}});
  };
  const auto add_list = [&](std::string name, DType dtype, const auto& values) {
    add(std::move(name), dtype, {values.size()}, values);
  };
  const auto add_rows = [&](std::string name, const auto& floats, const auto& bf16) {
    if (!floats.empty()) add(name, DType::kF32, {n, stride}, floats);
    if (!bf16.empty()) add(name, DType::kBF16, {n, stride}, bf16);
  };
  add_rows("item.vectors", t.vectors, t.bf16_vectors);
  add_rows("item.input_vectors", t.input_vectors, t.bf16_input_vectors);
  if (!c.item_bias.empty()) add_list("item.bias", DType::kF32, c.item_bias);
  add_list("item.inverse_norms", DType::kF32, t.inverse_norms);
  if (!c.item_attention_logits.empty())
    add_list("item.attention_logits", DType::kF32, c.item_attention_logits);
  add_list("item.keys", DType::kU64, t.keys);
  add_list("item.key_slots", DType::kU32, t.key_slots);
  add_list("item.id_offsets", DType::kU64, t.ids.offsets);
  add_list("item.id_bytes", DType::kU8, t.ids.bytes);
  add_list("item.title_offsets", DType::kU64, t.titles.offsets);
  add_list("item.title_bytes", DType::kU8, t.titles.bytes);
  add_list("item.category_offsets", DType::kU64, t.category_offsets);
  add_list("item.category_ids", DType::kU32, t.category_ids);
  add_list("category.name_offsets", DType::kU64, t.category_names.offsets);
  add_list("category.name_bytes", DType::kU8, t.category_names.bytes);
  add_list("item.popularity", DType::kF32, c.item_popularity);
  add_list("item.popularity_order", DType::kU32, t.popularity_order);
  if (!t.input_map.empty()) add("encoder.input_map", DType::kF32, {c.dim, stride}, t.input_map);
  for (size_t k = 0; k < c.encoders.size(); ++k) {
    for (const auto& [name, tensor] : c.encoders[k].tensors) {
      add(absl::StrCat("encoder.", k, ".", name), DType::kF32, tensor.shape, tensor.values);
    }
  }
  if (c.encoders.empty()) {
    add_list("attention.class_logits", DType::kF32, c.class_logits);
    add_list("attention.position_logits", DType::kF32, c.position_logits);
    add_list("attention.recency_logits", DType::kF32, c.recency_logits);
    add_list("attention.slot_logits", DType::kF32, t.slot_logits);
  }
  if (c.rating.has_value()) {
    const uint64_t row = RowStride(c.rating->parameters.dim + 1);
    add("rating.items", DType::kF32, {n, row}, t.rating_items);
    if (!t.rating_variances.empty()) add("rating.item_variances", DType::kF32, {n, row}, t.rating_variances);
    if (!t.rating_implicit.empty()) add("rating.implicit", DType::kF32, {n, row}, t.rating_implicit);
    add_list("rating.ridge", DType::kF32, t.rating_ridge);
    add_list("rating.counts", DType::kU32, c.rating->counts);
  }
  if (c.neighbours.has_value()) {
    add_list("neighbours.offsets", DType::kU64, c.neighbours->offsets);
    add_list("neighbours.rows", DType::kU32, c.neighbours->rows);
    add_list("neighbours.weights", DType::kF32, c.neighbours->weights);
    add_list("neighbours.position_weights", DType::kF32, c.neighbours->position_weights);
    if (c.neighbours->neighbours.users.has_value()) {
      add_list("neighbours.user_offsets", DType::kU64, c.neighbours->user_offsets);
      add_list("neighbours.user_items", DType::kU32, c.neighbours->user_items);
    }
  }
  if (c.content.has_value()) {
    for (NamedTensor& tensor : NameContentTensors(*c.content, *t.content, c.dim)) {
      tensors.push_back(std::move(tensor));
    }
  }
  if (t.index.has_value()) {
    const BoundIndexView v = t.index->View();
    const uint64_t groups = v.num_groups();
    add("index.rotation", DType::kF32, {c.dim, stride}, v.rotation);
    add("index.centres", DType::kF32, {v.num_clusters(), stride}, v.centres);
    add_list("index.cluster_groups", DType::kU32, v.cluster_groups);
    add("index.rows", DType::kU32, {groups, kGroupRows}, v.rows);
    add("index.coarse", DType::kU8, {groups, kCoarseQuads, kGroupRows, 4}, v.coarse);
    add("index.fine", DType::kU8, {groups, kGroupRows, FineBytes(c.dim)}, v.fine);
    add("index.boxes", DType::kF32, {kNumBoxRows, groups}, v.boxes);
    add("index.groups", DType::kF32, {groups, sizeof(GroupFacts) / sizeof(float)}, v.groups);
  }
  return tensors;
}

absl::StatusOr<ManifestFile> DescribeFile(const std::string& path) {
  ManifestFile file;
  SWIFTLET_ASSIGN_OR_RETURN(file.bytes, FileSize(path));
  SWIFTLET_ASSIGN_OR_RETURN(file.xxh3_128, ChecksumFile(path));
  return file;
}

std::string TemporaryManifestName() { return absl::StrCat(".manifest-", RandomSuffix()); }

}  // namespace

absl::Status WriteSnapshot(const std::string& directory, const SnapshotContents& c) {
  SWIFTLET_RETURN_IF_ERROR(CheckContents(c));
  DerivedTensors t;
  SWIFTLET_RETURN_IF_ERROR(BuildIds(c, t));
  SWIFTLET_RETURN_IF_ERROR(BuildMetadata(c, t));
  BuildNumbers(c, t);
  if (c.content.has_value()) t.content.emplace(*c.content);

  Manifest manifest = c.manifest;
  SWIFTLET_ASSIGN_OR_RETURN(manifest.index, BuildIndex(c, t));
  manifest.format_version = kSnapshotFormatVersion;
  manifest.encoders.clear();
  for (const EncoderContents& encoder : c.encoders) manifest.encoders.push_back(encoder.encoder);
  manifest.neighbours.reset();
  if (c.neighbours.has_value()) manifest.neighbours = c.neighbours->neighbours;
  const std::string kind = ModelKindOf(manifest.encoders);
  if (manifest.model_kind.empty()) manifest.model_kind = kind;
  if (manifest.model_kind != kind) {
    return absl::InvalidArgumentError(
        absl::StrCat("manifest: model_kind: expected \"", kind, "\", found \"", manifest.model_kind, "\""));
  }
  manifest.dim = c.dim;
  manifest.row_stride = static_cast<uint32_t>(RowStride(c.dim));
  manifest.num_items = c.item_ids.size();
  manifest.num_categories = static_cast<uint32_t>(t.category_names.offsets.size() - 1);
  manifest.rating.reset();
  if (c.rating.has_value()) manifest.rating = c.rating->parameters;
  manifest.files.clear();
  const std::string users_path = absl::StrCat(directory, "/", kUserVectorsFile);
  absl::StatusOr<ManifestFile> users = DescribeFile(users_path);
  if (users.ok()) {
    SWIFTLET_RETURN_IF_ERROR(SyncPath(users_path));
    manifest.files[kUserVectorsFile] = *std::move(users);
  } else if (!absl::IsNotFound(users.status())) {
    return users.status();
  }
  // The reader is the judge of a manifest; asked before the big file is written.
  manifest.files[kModelFile] = {.bytes = 0, .xxh3_128 = std::string(32, '0')};
  if (const auto read_back = ParseManifest(FormatManifest(manifest)); !read_back.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("manifest: ", read_back.status().message()));
  }

  const std::string model_path = absl::StrCat(directory, "/", kModelFile);
  SWIFTLET_RETURN_IF_ERROR(
      WriteSafetensors(model_path, NameTensors(c, t), {{"format", "swiftlet-snapshot-1"}}));
  SWIFTLET_ASSIGN_OR_RETURN(manifest.files[kModelFile], DescribeFile(model_path));
  return ReplaceFile(directory, kManifestFile, TemporaryManifestName(), FormatManifest(manifest));
}

absl::Status UpdateManifestMetrics(const std::string& directory,
                                   const std::map<std::string, double>& metrics) {
  const std::string path = absl::StrCat(directory, "/", kManifestFile);
  for (const auto& [name, value] : metrics) {
    if (!std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": metrics.", name, ": expected a finite number, found ", value));
    }
  }
  SWIFTLET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(directory));
  manifest.metrics = metrics;
  return ReplaceFile(directory, kManifestFile, TemporaryManifestName(), FormatManifest(manifest));
}

}  // namespace swiftlet
