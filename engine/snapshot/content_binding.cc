#include "engine/snapshot/content_binding.h"

#include <cmath>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

absl::Status Bad(std::string_view tensor, size_t index, std::string_view expected, std::string_view found) {
  return absl::DataLossError(absl::StrCat("tensor \"", std::string(tensor), "\"[", index, "]: expected ",
                                          std::string(expected), ", found ", std::string(found)));
}

absl::Status CheckNumbers(std::string_view name, std::span<const float> values, bool positive) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) return Bad(name, i, "a finite number", absl::StrCat(values[i]));
    if (positive && !(values[i] > 0)) return Bad(name, i, "more than 0", absl::StrCat(values[i]));
  }
  return absl::OkStatus();
}

// Rows of `dim` finite numbers and zeros.
absl::Status CheckRows(std::string_view name, std::span<const float> rows, size_t dim, size_t stride) {
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers(name, rows, false));
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i % stride >= dim && rows[i] != 0) return Bad(name, i, "0 as padding", absl::StrCat(rows[i]));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BindContentTower(const Manifest& manifest, TensorBinder* binder,
                              std::optional<ContentTower>* tower) {
  constexpr uint64_t kAny = TensorBinder::kAnyLength;
  ContentTower t;
  t.dim = manifest.dim;
  t.stride = manifest.row_stride;
  std::span<const float> numbers;
  std::span<const uint64_t> name_offsets;
  std::span<const char> name_bytes;
  std::span<const uint32_t> dims;
  binder->Optional("content.numbers", {2}, &numbers);
  if (!binder->status().ok() || numbers.empty()) return absl::OkStatus();
  binder->Required("content.buckets", {kAny}, &t.table.buckets);
  const uint64_t features = t.table.buckets.size();
  binder->Required("content.idf", {features}, &t.table.idf);
  binder->Required("content.external_dims", {kAny}, &dims);
  binder->Required("content.external_name_offsets", {dims.size() + 1}, &name_offsets);
  binder->Required("content.external_name_bytes", {kAny}, &name_bytes);
  if (!binder->status().ok()) return absl::OkStatus();
  if (dims.size() > kMaxContentExternals) {
    return absl::DataLossError(absl::StrCat("tensor \"content.external_dims\": expected at most ",
                                            kMaxContentExternals, " elements, found ", dims.size()));
  }
  uint64_t rows = features + 1;
  for (size_t x = 0; x < dims.size(); ++x) {
    if (dims[x] < 1 || dims[x] > kMaxContentExternalDim) {
      return Bad("content.external_dims", x, absl::StrCat("1 to ", kMaxContentExternalDim),
                 absl::StrCat(dims[x]));
    }
    if (name_offsets[x] > name_offsets[x + 1] || name_offsets[x + 1] > name_bytes.size()) {
      return Bad("content.external_name_offsets", x + 1,
                 absl::StrCat("up to ", name_bytes.size(), ", in order"), absl::StrCat(name_offsets[x + 1]));
    }
    t.externals.push_back(
        {std::string_view(name_bytes.data() + name_offsets[x], name_offsets[x + 1] - name_offsets[x]),
         dims[x], static_cast<uint32_t>(rows)});
    rows += 1 + uint64_t{dims[x]};
  }
  if (rows > uint64_t{1} << 31) {
    return absl::DataLossError(absl::StrCat("content tower: expected at most 2^31 rows, found ", rows));
  }
  binder->Required("content.output_weights", {rows, t.stride}, &t.output_weights);
  binder->Optional("content.input_weights", {rows, t.stride}, &t.input_weights);
  binder->Required("content.fact_weights", {rows, 2}, &t.fact_weights);
  if (!(numbers[0] >= kMinContentHashBits && numbers[0] <= kMaxContentHashBits) ||
      numbers[0] != std::floor(numbers[0])) {
    return Bad("content.numbers", 0,
               absl::StrCat("an integer from ", kMinContentHashBits, " to ", kMaxContentHashBits),
               absl::StrCat(numbers[0]));
  }
  t.table.hash_bits = static_cast<uint32_t>(numbers[0]);
  t.table.unknown_idf = numbers[1];
  if (binder->status().ok()) *tower = std::move(t);
  return absl::OkStatus();
}

absl::Status CheckContentTower(const ContentTower& tower) {
  const ContentTable& table = tower.table;
  if (!std::isfinite(table.unknown_idf) || !(table.unknown_idf > 0)) {
    return Bad("content.numbers", 1, "a finite number above 0", absl::StrCat(table.unknown_idf));
  }
  const uint64_t end = uint64_t{kNumContentBlocks} << table.hash_bits;
  for (size_t i = 0; i < table.buckets.size(); ++i) {
    if (table.buckets[i] >= end || (i > 0 && table.buckets[i] <= table.buckets[i - 1])) {
      return Bad("content.buckets", i, absl::StrCat("numbers below ", end, ", ascending"),
                 absl::StrCat(table.buckets[i]));
    }
  }
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers("content.idf", table.idf, true));
  SWIFTLET_RETURN_IF_ERROR(
      CheckRows("content.output_weights", tower.output_weights, tower.dim, tower.stride));
  SWIFTLET_RETURN_IF_ERROR(CheckRows("content.input_weights", tower.input_weights, tower.dim, tower.stride));
  SWIFTLET_RETURN_IF_ERROR(CheckNumbers("content.fact_weights", tower.fact_weights, false));
  for (size_t x = 0; x < tower.externals.size(); ++x) {
    if (!IsValidId(tower.externals[x].name)) {
      return absl::DataLossError(absl::StrCat("tensor \"content.external_name_bytes\": name ", x,
                                              " is not 1 to ", kMaxIdBytes, " bytes of UTF-8 without NUL"));
    }
    for (size_t y = 0; y < x; ++y) {
      if (tower.externals[y].name != tower.externals[x].name) continue;
      return absl::DataLossError(
          absl::StrCat("tensor \"content.external_name_bytes\": names ", y, " and ", x, " are the same"));
    }
  }
  return absl::OkStatus();
}

ContentTensors::ContentTensors(const ContentTowerData& tower)
    : numbers({static_cast<float>(tower.hash_bits), tower.unknown_idf}) {
  for (const ContentTowerData::External& external : tower.externals) {
    name_bytes += external.name;
    name_offsets.push_back(name_bytes.size());
    dims.push_back(external.dim);
  }
}

std::vector<NamedTensor> NameContentTensors(const ContentTowerData& tower, const ContentTensors& tensors,
                                            uint32_t dim) {
  const uint64_t stride = RowStride(dim), rows = tower.fact_weights.size() / 2;
  std::vector<NamedTensor> named;
  const auto add = [&](const char* name, DType dtype, std::vector<uint64_t> shape, const auto& values) {
    named.push_back({name, {dtype, std::move(shape), std::as_bytes(std::span(values))}});
  };
  add("content.numbers", DType::kF32, {tensors.numbers.size()}, tensors.numbers);
  add("content.buckets", DType::kU32, {tower.buckets.size()}, tower.buckets);
  add("content.idf", DType::kF32, {tower.idf.size()}, tower.idf);
  add("content.external_dims", DType::kU32, {tensors.dims.size()}, tensors.dims);
  add("content.external_name_offsets", DType::kU64, {tensors.name_offsets.size()}, tensors.name_offsets);
  add("content.external_name_bytes", DType::kU8, {tensors.name_bytes.size()}, tensors.name_bytes);
  add("content.output_weights", DType::kF32, {rows, stride}, tower.output_weights);
  if (!tower.input_weights.empty()) {
    add("content.input_weights", DType::kF32, {rows, stride}, tower.input_weights);
  }
  add("content.fact_weights", DType::kF32, {rows, 2}, tower.fact_weights);
  return named;
}

absl::Status CheckContentTower(const ContentTowerData& tower, uint32_t dim) {
  size_t rows = tower.buckets.size() + 1;
  for (const ContentTowerData::External& external : tower.externals) {
    if (external.dim < 1 || external.dim > kMaxContentExternalDim) {
      return absl::InvalidArgumentError(absl::StrCat("content: the vectors \"", external.name, "\" have ",
                                                     external.dim, " numbers, expected 1 to ",
                                                     kMaxContentExternalDim));
    }
    rows += 1 + size_t{external.dim};
  }
  if (tower.externals.size() > kMaxContentExternals) {
    return absl::InvalidArgumentError(absl::StrCat(
        "content: ", tower.externals.size(), " sources of vectors, expected at most ", kMaxContentExternals));
  }
  const size_t size = rows * RowStride(dim);
  if (tower.hash_bits < kMinContentHashBits || tower.hash_bits > kMaxContentHashBits ||
      tower.idf.size() != tower.buckets.size() || tower.fact_weights.size() != 2 * rows ||
      tower.output_weights.size() != size ||
      (!tower.input_weights.empty() && tower.input_weights.size() != size)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "content: expected tables of ", rows, " rows, of ", size, " numbers, and ", tower.buckets.size(),
        " idf; found ", tower.fact_weights.size() / 2, " rows, ", tower.output_weights.size(), " and ",
        tower.input_weights.size(), " numbers, ", tower.idf.size(), " idf, hash_bits ", tower.hash_bits));
  }
  if (const absl::Status status = CheckContentTower(tower.View(dim)); !status.ok()) {
    return absl::InvalidArgumentError(status.message());
  }
  return absl::OkStatus();
}

}  // namespace swiftlet
