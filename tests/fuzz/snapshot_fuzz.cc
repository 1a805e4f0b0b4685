// Snapshots that lie. Input: a small program of changes to a good snapshot. Sizes and checksums are made
// right afterwards, so that the readers behind them are what is tested; and a snapshot that loads is used for
// answers.
//
//   u8 base, u8 flags, then operations: u8 operation, u8 tensor, u16 element, u8 value, and what the
//   operation takes
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/aligned_vector.h"
#include "engine/base/bf16.h"
#include "engine/base/item_key.h"
#include "engine/encoders/content_features.h"
#include "engine/rating_predictor.h"
#include "engine/recommender.h"
#include "engine/snapshot/model_snapshot.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::fuzz {
namespace {

using nlohmann::ordered_json;

enum Flag : uint8_t {
  kMakeDerived = 1,      // norms, keys, slots and order follow from vectors, ids and popularity
  kSkipContents = 2,     // load without verify_contents
  kVerifyChecksums = 4,  // with checksums, which are right
  kLeaveChecksum = 8,    // with checksums, which are those of the good snapshot
  kHugePages = 16,       // copied, where the machine has huge pages
};

enum Operation : uint8_t {
  kSetElement,
  kFill,
  kResize,
  kSetShape,
  kSetDType,
  kRemove,
  kRename,
  kCopyFrom,
  kSetField,
  kRemoveField,
  kFlip,
  kTruncate,
  kOffset,
  kNumOperations
};

struct Tensor {
  std::string dtype;
  std::vector<uint64_t> shape;
  std::string data;
  int64_t shift = 0;  // of the offsets that the header tells
};

struct Base {
  ordered_json manifest;
  std::map<std::string, Tensor> tensors;
};

const std::string& Directory() {
  static const testing::TempDir dir;
  return dir.path();
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Everything that is optional, nothing of it, an index, an index over bf16, a rating model, a blend, a blend
// whose neighbours are users.
constexpr uint8_t kNumBases = 7;

EncoderTensor SmallNumbers(std::vector<uint64_t> shape) {
  uint64_t size = 1;
  for (const uint64_t n : shape) size *= n;
  EncoderTensor tensor{.shape = std::move(shape), .values = {}};
  for (uint64_t i = 0; i < size; ++i)
    tensor.values.push_back(0.3f * static_cast<float>(static_cast<int>(i * 7 % 11) - 5));
  return tensor;
}

// The first 8 of the contents' 11 columns for a transformer, the other three for an attention; item
// neighbours, and a content tower with vectors from elsewhere.
void MakeBlend(SnapshotContents* c) {
  const uint64_t dim = 8, hidden = 4, length = 5, classes = c->manifest.event_classes.size();
  EncoderContents transformer{
      .encoder = {.kind = "transformer",
                  .dim = 8,
                  .weight = 1,
                  .parameters =
                      {{"blocks", 1}, {"heads", 2}, {"hidden", 4}, {"max_length", 5}, {"context_class", 0}}},
      .tensors = {{"position", SmallNumbers({length, dim})},
                  {"class", SmallNumbers({classes, dim})},
                  {"class_used", {{classes}, std::vector<float>(classes, 1.0f)}},
                  {"0.norm1.weight", SmallNumbers({dim})},
                  {"0.norm1.bias", SmallNumbers({dim})},
                  {"0.qkv.weight", SmallNumbers({dim, 3 * dim})},
                  {"0.qkv.bias", SmallNumbers({3 * dim})},
                  {"0.attended.weight", SmallNumbers({dim, dim})},
                  {"0.attended.bias", SmallNumbers({dim})},
                  {"0.gate1.weight", SmallNumbers({dim, dim})},
                  {"0.gate1.bias", SmallNumbers({dim})},
                  {"0.norm2.weight", SmallNumbers({dim})},
                  {"0.norm2.bias", SmallNumbers({dim})},
                  {"0.up.weight", SmallNumbers({dim, 2 * hidden})},
                  {"0.down.weight", SmallNumbers({hidden, dim})},
                  {"0.gate2.weight", SmallNumbers({dim, dim})},
                  {"0.gate2.bias", SmallNumbers({dim})}}};
  const auto as_tensor = [](const std::vector<float>& values) {
    return EncoderTensor{.shape = {values.size()}, .values = values};
  };
  EncoderContents attention{.encoder = {.kind = "attention", .dim = 3, .weight = 0.5f, .parameters = {}},
                            .tensors = {{"class_logits", as_tensor(c->class_logits)},
                                        {"position_logits", as_tensor(c->position_logits)},
                                        {"recency_logits", as_tensor(c->recency_logits)},
                                        {"slot_logits", as_tensor({c->long_term_logit, c->context_logit})}}};
  c->encoders = {std::move(transformer), std::move(attention)};
  c->manifest.model_kind.clear();
  c->class_logits.clear();
  c->position_logits.clear();
  c->recency_logits.clear();
  const auto num_items = static_cast<uint32_t>(c->item_ids.size());
  NeighbourContents& neighbours = c->neighbours.emplace();
  neighbours.neighbours = {.kind = "ease", .scale = 0.5f};
  neighbours.offsets = {0};
  for (uint32_t i = 0; i < num_items; ++i) {
    for (uint32_t j = i % 3; j < num_items; j += 4) {
      neighbours.rows.push_back(j);
      neighbours.weights.push_back(0.1f * static_cast<float>(i) - 0.2f);
    }
    neighbours.offsets.push_back(neighbours.rows.size());
  }
  neighbours.position_weights = {1, 0.5f, 0.25f};
  ContentTowerData& tower = c->content.emplace();
  tower.hash_bits = 8;
  ExtractContentFeatures({.title = "Quite new"}, tower.hash_bits, &tower.buckets);
  tower.idf.assign(tower.buckets.size(), 1.5f);
  tower.externals = {{"text", 2}};
  const size_t rows = tower.buckets.size() + 1 + 3, stride = RowStride(c->dim);
  tower.output_weights.assign(rows * stride, 0);
  tower.input_weights.assign(rows * stride, 0);
  for (size_t i = 0; i < rows * stride; ++i) {
    if (i % stride < c->dim) tower.output_weights[i] = tower.input_weights[i] = 0.1f;
  }
  tower.fact_weights.assign(rows * 2, 0.25f);
}

// Instead of item neighbours: five users.
void UseUsers(NeighbourContents* neighbours, uint32_t num_items) {
  constexpr uint32_t kUsers = 5;
  *neighbours = {};
  neighbours->neighbours = {.kind = "user-knn", .scale = 0.5f, .users = {{.nearest = 3, .shrinkage = 1}}};
  neighbours->position_weights = {1, 0.5f};
  neighbours->user_offsets = {0};
  for (uint32_t user = 0; user < kUsers; ++user) {
    for (uint32_t i = user % 2; i < num_items; i += 1 + user) neighbours->user_items.push_back(i);
    neighbours->user_offsets.push_back(neighbours->user_items.size());
  }
  for (uint32_t i = 0; i < num_items; ++i) {
    for (uint32_t user = i % 2; user < kUsers; user += 2) {
      neighbours->rows.push_back(user);
      neighbours->weights.push_back(1 / static_cast<float>(1 + i));
    }
    neighbours->offsets.push_back(neighbours->rows.size());
  }
}

const std::vector<Base>& Bases() {
  static const std::vector<Base>* const bases = [] {
    auto* made = new std::vector<Base>;
    for (int i = 0; i < kNumBases; ++i) {
      const bool full = i == 0, indexed = i == 2 || i == 3, rates = i == 4, users = i == 6,
                 blends = i == 5 || users;
      const std::string path = absl::StrCat(Directory(), "/base-", i);
      SnapshotContents contents =
          testing::RandomSnapshot({.num_items = full      ? 9u
                                                : indexed ? 50u
                                                : rates   ? 14u
                                                : blends  ? 12u
                                                          : 3u,
                                   .dim = full      ? 5u
                                          : indexed ? 18u
                                          : blends  ? 11u
                                                    : 17u,
                                   .num_categories = full ? 3u : 0u,
                                   .with_bias = full || indexed,
                                   .with_input_vectors = full || i == 3 || blends,
                                   .with_attention_logits = full,
                                   .with_titles = full,
                                   .max_events = full ? 4u : 50u,
                                   .row_type = i == 3 ? RowType::kBf16 : RowType::kFloat32,
                                   .with_rating_model = rates});
      if (blends) MakeBlend(&contents);
      if (users) UseUsers(&*contents.neighbours, static_cast<uint32_t>(contents.item_ids.size()));
      contents.index = indexed ? IndexMode::kAlways : IndexMode::kNever;
      std::filesystem::create_directory(path);
      const absl::Status written = WriteSnapshot(path, contents);
      FUZZ_CHECK(written.ok(), written.ToString());
      Base& base = made->emplace_back();
      base.manifest = ordered_json::parse(ReadFile(path + "/" + kManifestFile));
      base.manifest.erase("checksum");  // optional, and any change would end there
      const auto file = SafetensorsFile::Open(path + "/" + kModelFile);
      FUZZ_CHECK(file.ok(), file.status().ToString());
      for (const auto& [name, t] : (*file)->tensors()) {
        base.tensors[name] = {std::string(DTypeName(t.dtype)),
                              t.shape,
                              {reinterpret_cast<const char*>(t.data.data()), t.data.size()}};
      }
    }
    return made;
  }();
  return *bases;
}

size_t ElementBytes(const Tensor& tensor) {
  if (tensor.dtype == "U8") return 1;
  if (tensor.dtype == "BF16" || tensor.dtype == "F16") return 2;
  return tensor.dtype == "U64" || tensor.dtype == "I64" || tensor.dtype == "F64" ? 8 : 4;
}

// The bytes of an element: something that programs stumble over, or what the input says.
std::string Value(uint8_t which, InputReader& input) {
  constexpr float kFloats[] = {0.0f,
                               -0.0f,
                               1.0f,
                               -1.0f,
                               1e30f,
                               -1e30f,
                               3e38f,
                               1e-40f,
                               std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::quiet_NaN()};
  constexpr uint64_t kNumbers[] = {0,
                                   1,
                                   2,
                                   3,
                                   8,
                                   9,
                                   10,
                                   16,
                                   255,
                                   0x7FFFFFFF,
                                   0x80000000,
                                   0xFFFFFFFF,
                                   uint64_t{1} << 32,
                                   uint64_t{1} << 63,
                                   ~uint64_t{0}};
  std::string bytes;
  if (which < std::size(kFloats)) {
    Put<float>(kFloats[which], &bytes);
    Put<float>(kFloats[which], &bytes);
  } else if (which < std::size(kFloats) + std::size(kNumbers)) {
    Put<uint64_t>(kNumbers[which - std::size(kFloats)], &bytes);
  } else {
    Put<uint64_t>(input.Take<uint64_t>(), &bytes);
  }
  return bytes;
}

template <typename T>
std::vector<T> ElementsOf(const std::map<std::string, Tensor>& tensors, const std::string& name) {
  const auto it = tensors.find(name);
  if (it == tensors.end()) return {};
  std::vector<T> elements(it->second.data.size() / sizeof(T));
  if (!elements.empty()) std::memcpy(elements.data(), it->second.data.data(), elements.size() * sizeof(T));
  return elements;
}

template <typename T>
void SetElements(std::map<std::string, Tensor>& tensors, const std::string& name,
                 const std::vector<T>& elements) {
  const auto it = tensors.find(name);
  if (it == tensors.end()) return;
  it->second.data.assign(reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(T));
  it->second.shape = {elements.size()};
}

// As a writer would, from whatever vectors, ids and popularities there are now.
void MakeDerived(const ordered_json& manifest, std::map<std::string, Tensor>& tensors) {
  const ordered_json& stride_field =
      manifest.contains("row_stride") ? manifest["row_stride"] : ordered_json();
  const ordered_json& dim_field = manifest.contains("dim") ? manifest["dim"] : ordered_json();
  if (!stride_field.is_number_unsigned() || !dim_field.is_number_unsigned()) return;
  const auto stride = stride_field.get<uint64_t>(), dim = dim_field.get<uint64_t>();
  if (stride == 0 || dim > stride || stride > 4096) return;
  auto vectors = ElementsOf<float>(tensors, "item.vectors");
  if (tensors.contains("item.vectors") && tensors["item.vectors"].dtype == "BF16") {
    vectors.clear();
    for (const Bf16 x : ElementsOf<Bf16>(tensors, "item.vectors")) vectors.push_back(ToFloat(x));
  }
  const size_t n = vectors.size() / stride;
  std::vector<float> inverse_norms;
  for (size_t i = 0; i < n; ++i) {
    double sum = 0;
    for (size_t j = 0; j < dim; ++j) sum += double{vectors[i * stride + j]} * double{vectors[i * stride + j]};
    const auto inverse = static_cast<float>(1.0 / std::sqrt(sum));
    inverse_norms.push_back(sum > 0 && std::isfinite(inverse) ? inverse : 0.0f);
  }
  SetElements(tensors, "item.inverse_norms", inverse_norms);
  const auto offsets = ElementsOf<uint64_t>(tensors, "item.id_offsets");
  const std::string text = tensors.contains("item.id_bytes") ? tensors["item.id_bytes"].data : "";
  std::vector<uint64_t> keys;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    if (offsets[i] > offsets[i + 1] || offsets[i + 1] > text.size()) return;
    keys.push_back(ItemKeyOf(text.substr(offsets[i], offsets[i + 1] - offsets[i])));
  }
  SetElements(tensors, "item.keys", keys);
  size_t num_slots = 1;
  while (num_slots < 2 * keys.size()) num_slots *= 2;
  std::vector<uint32_t> slots(num_slots);
  for (size_t i = 0; i < keys.size(); ++i) {
    size_t slot = keys[i] & (num_slots - 1);
    while (slots[slot] != 0) slot = (slot + 1) & (num_slots - 1);
    slots[slot] = static_cast<uint32_t>(i + 1);
  }
  SetElements(tensors, "item.key_slots", slots);
  const auto popularity = ElementsOf<float>(tensors, "item.popularity");
  if (std::any_of(popularity.begin(), popularity.end(), [](float p) { return std::isnan(p); })) return;
  std::vector<uint32_t> order(popularity.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return popularity[a] > popularity[b]; });
  SetElements(tensors, "item.popularity_order", order);
}

std::string Serialize(const std::map<std::string, Tensor>& tensors) {
  ordered_json header = ordered_json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    if (const size_t used = data.size() % 64; used != 0) {
      header[absl::StrCat("__pad__.", header.size())] = {
          {"dtype", "U8"}, {"shape", {64 - used}}, {"data_offsets", {data.size(), data.size() + 64 - used}}};
      data.append(64 - used, '\0');
    }
    const auto begin = static_cast<uint64_t>(static_cast<int64_t>(data.size()) + tensor.shift);
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {begin, begin + tensor.data.size()}}};
    data.append(tensor.data);
  }
  std::string text = header.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  text.append((64 - (8 + text.size()) % 64) % 64, ' ');
  std::string file;
  Put<uint64_t>(text.size(), &file);
  return file + text + data;
}

std::string Checksum(std::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  return absl::BytesToHexString({reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest)});
}

// A field of the manifest, and what it is set to: both by number, or JSON from the input.
void SetField(ordered_json& manifest, uint8_t field, uint8_t value, bool remove, InputReader& input) {
  static const char* const kFields[] = {"/version",
                                        "/dim",
                                        "/row_stride",
                                        "/num_items",
                                        "/num_users",
                                        "/num_categories",
                                        "/max_events",
                                        "/event_classes",
                                        "/event_classes/0/type",
                                        "/event_classes/6/min_value",
                                        "/event_classes/6/sign",
                                        "/event_types/0/id",
                                        "/event_types/5/weight",
                                        "/event_types/3/name",
                                        "/model_kind",
                                        "/embedding_space",
                                        "/format_version",
                                        "/trained_through_ms",
                                        "/files/model.safetensors/bytes",
                                        "/files/x",
                                        "/metrics/a",
                                        "/training",
                                        "/row_type",
                                        "/rating/event_type",
                                        "/rating/dim",
                                        "/rating/mean",
                                        "/rating/min",
                                        "/rating/max",
                                        "/encoders",
                                        "/encoders/0/kind",
                                        "/encoders/0/dim",
                                        "/encoders/1/dim",
                                        "/encoders/1/weight",
                                        "/encoders/0/parameters/blocks",
                                        "/encoders/0/parameters/heads",
                                        "/encoders/0/parameters/hidden",
                                        "/encoders/0/parameters/max_length",
                                        "/encoders/0/parameters/context_class",
                                        "/encoders/1/parameters/max_events",
                                        "/neighbours",
                                        "/neighbours/scale",
                                        "/neighbours/kind",
                                        "/neighbours/users",
                                        "/neighbours/users/nearest",
                                        "/neighbours/users/shrinkage"};
  static const char* const kValues[] = {"0",
                                        "1",
                                        "2",
                                        "5",
                                        "9",
                                        "16",
                                        "32",
                                        "4096",
                                        "4097",
                                        "-1",
                                        "2147483648",
                                        "9223372036854775807",
                                        "18446744073709551616",
                                        "1e308",
                                        "0.5",
                                        "null",
                                        "\"\"",
                                        "\"a\"",
                                        "[]",
                                        "{}",
                                        "true",
                                        R"([{"type":1,"min_value":null,"sign":1}])",
                                        R"({"bytes":0,"xxh3_128":"00000000000000000000000000000000"})",
                                        "\"bf16\"",
                                        "\"float32\""};
  const ordered_json::json_pointer pointer(kFields[field % std::size(kFields)]);
  const std::string text =
      value < std::size(kValues) ? std::string(kValues[value]) : std::string(input.TakeBytes(value % 32));
  try {
    if (remove) {
      const ordered_json::json_pointer parent = pointer.parent_pointer();
      if (manifest.contains(pointer) && manifest[parent].is_object()) manifest[parent].erase(pointer.back());
      return;
    }
    const ordered_json parsed = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
    manifest[pointer] = parsed.is_discarded() ? ordered_json(text) : parsed;
  } catch (const ordered_json::exception&) {
    // There is no such place any more.
  }
}

void Apply(InputReader& input, ordered_json& manifest, std::map<std::string, Tensor>& tensors,
           std::vector<std::pair<uint32_t, uint8_t>>* flips, size_t* truncate) {
  const uint8_t operation = input.Take<uint8_t>() % kNumOperations, which = input.Take<uint8_t>();
  const auto element = input.Take<uint16_t>();
  const auto value = input.Take<uint8_t>();
  if (operation == kSetField || operation == kRemoveField) {
    return SetField(manifest, which, value, operation == kRemoveField, input);
  }
  if (operation == kFlip) return flips->emplace_back(which * 256u + element, value), void();
  if (operation == kTruncate) return *truncate = element, void();
  if (tensors.empty()) return;
  auto it = tensors.begin();
  std::advance(it, which % tensors.size());
  Tensor& tensor = it->second;
  const size_t width = ElementBytes(tensor), n = tensor.data.size() / width;
  const size_t half = width == 2 ? 2 : 0;  // a bf16 is a float's upper half
  switch (operation) {
    case kSetElement:
      if (n > 0) tensor.data.replace(element % n * width, width, Value(value, input), half, width);
      break;
    case kFill:
      for (size_t i = 0; i < n; ++i) {
        InputReader same = input;
        tensor.data.replace(i * width, width, Value(value, same), half, width);
      }
      break;
    case kResize:
      tensor.shape = {element % 600u};
      tensor.data.resize(tensor.shape[0] * width);
      break;
    case kSetShape: {
      tensor.shape.clear();
      for (uint8_t i = 0; i < value % 10; ++i) tensor.shape.push_back(input.Take<uint16_t>());
      if (element % 4 == 1 && !tensor.shape.empty()) tensor.shape[0] = ~uint64_t{0};
      break;
    }
    case kSetDType: {
      constexpr const char* kDTypes[] = {"F32", "U64",  "U32", "U8", "I64", "I32",
                                         "F16", "BF16", "F64", "",   "BOOL"};
      tensor.dtype = kDTypes[value % std::size(kDTypes)];
      break;
    }
    case kRemove:
      tensors.erase(it);
      break;
    case kRename: {
      Tensor moved = tensor;
      tensors.erase(it);
      tensors[std::string(input.TakeBytes(value % 24))] = std::move(moved);
      break;
    }
    case kCopyFrom: {
      auto from = tensors.begin();
      std::advance(from, value % tensors.size());
      tensor.data = from->second.data;
      tensor.shape = {tensor.data.size() / width};
      break;
    }
    case kOffset:
      tensor.shift = static_cast<int64_t>(static_cast<int8_t>(value)) * (element % 2 == 0 ? 1 : 64);
      break;
    default:
      break;
  }
}

// What an answer promises, whatever is in the snapshot; ids and the order only where its contents were
// checked.
void CheckAnswer(const CatalogView& view, const RecommendQuery& query, const Recommendation& answer,
                 bool ranked, bool checked) {
  if (ranked) FUZZ_CHECK(answer.items.size() <= query.k, "more than k");
  std::vector<bool> seen(view.num_rows());
  for (size_t i = 0; i < answer.items.size(); ++i) {
    const RecommendedItem& item = answer.items[i];
    FUZZ_CHECK(item.row < view.num_rows(), "row");
    if (ranked) {
      FUZZ_CHECK(!seen[item.row] && !view.IsMasked(item.row), "an item twice, or a deleted one");
      FUZZ_CHECK(!checked || i == 0 || !(item.score > answer.items[i - 1].score), "best first");
    }
    seen[item.row] = true;
    FUZZ_CHECK(!checked || !view.ItemId(item.row).empty(), "id");
    size_t bytes = view.Title(item.row).size();
    for (const uint32_t category : view.CategoriesOf(item.row)) bytes += view.CategoryName(category).size();
    FUZZ_CHECK(bytes < 1 << 24, "texts");
    double sum = 0, largest = 0;
    for (const Contribution& term : answer.ExplanationOf(item)) {
      if (term.kind == ContributionKind::kEvent || term.kind == ContributionKind::kContext) {
        FUZZ_CHECK(term.row < view.num_rows(), "row of a term");
      }
      sum += term.score;
      largest = std::max(largest, std::fabs(double{term.score}));
    }
    if (query.explain && std::isfinite(sum) && std::isfinite(item.score)) {
      FUZZ_CHECK(std::fabs(sum - item.score) <= 1e-4 * largest + 1e-30, absl::StrCat(sum, " ", item.score));
    }
  }
}

bool SameItems(const Recommendation& a, const Recommendation& b) {
  return std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(),
                    [](const RecommendedItem& x, const RecommendedItem& y) {
                      return x.row == y.row && x.score == y.score;
                    });
}

// What a rating model says, whatever its numbers are: within its scale.
void UseRatings(const ModelSnapshot& snapshot) {
  std::vector<HistoryEvent> history;
  std::vector<ItemKey> items = {777};
  for (uint32_t row = 0; row < std::min(snapshot.num_items(), 8u); ++row) {
    items.push_back(snapshot.Key(row));
    if (row == 2) continue;
    for (const float value : {2.5f, 1.0f + static_cast<float>(row)}) {
      history.push_back({.item_key = snapshot.Key(row), .timestamp_ms = row, .value = value, .type = 6});
    }
  }
  RatingScratch scratch;
  RatingPrediction result;
  for (const size_t n : {history.size(), size_t{1}, size_t{0}}) {
    const UserState user{.history = std::span(history).first(std::min(n, history.size())), .long_term = {}};
    const absl::Status status = PredictRatings(snapshot, user, items, scratch, &result);
    FUZZ_CHECK(status.ok() == snapshot.manifest().rating.has_value(), status.ToString());
    if (!status.ok()) return;
    FUZZ_CHECK(result.ratings.size() == items.size() && result.num_ratings_used <= n, "ratings");
    for (const PredictedRating& r : result.ratings) {
      FUZZ_CHECK(r.rating >= snapshot.manifest().rating->min && r.rating <= snapshot.manifest().rating->max,
                 absl::StrCat(r.rating));
    }
  }
}

// Answers of all kinds over a loaded snapshot, with and without changes to the catalogue.
void Use(const ModelSnapshot& snapshot, bool checked) {
  snapshot.Prefault();
  UseRatings(snapshot);
  const uint32_t n = snapshot.num_items();
  FUZZ_CHECK(n > 0 && n < 10000, "items");
  std::vector<HistoryEvent> history;
  for (uint32_t row = 0; row < std::min(n, 6u); ++row) {
    history.push_back(
        {.item_key = snapshot.Key(row),
         .timestamp_ms = row == 0 ? std::numeric_limits<int64_t>::min() : int64_t{1} << (8 * row),
         .value = row % 2 == 0 ? 1.0f : 5.0f,
         .type = static_cast<EventTypeId>(row + 1)});
  }
  history.push_back(
      {.item_key = 12345, .timestamp_ms = std::numeric_limits<int64_t>::max(), .value = 0, .type = 255});
  const std::vector<float> long_term(snapshot.dim(), 0.5f);
  const std::vector<ItemKey> excluded = {snapshot.Key(n - 1), 777}, context = {snapshot.Key(n / 2)};
  const std::vector<std::string_view> wanted = {"cat-0", "none"}, unwanted = {"cat-1"};
  std::vector<CatalogItem> changes(3);
  changes[0].item_id = std::string(snapshot.ItemId(0));
  changes[0].deleted = true;
  changes[1].item_id = std::string(snapshot.ItemId(n - 1));
  if (changes[1].item_id == changes[0].item_id) changes[1].item_id += "+";
  changes[1].vector = long_term;
  changes[1].space = snapshot.manifest().embedding_space;
  changes[2].item_id = "quite new";
  changes[2].has_metadata = true;
  changes[2].title = "Quite new";
  changes[2].categories = {"cat-0", "cat-new"};
  changes[2].vector = std::vector<float>(snapshot.dim(), -1.0f);
  changes[2].space = changes[1].space;
  static Scratch scratch;
  Recommendation answer;
  for (const bool changed : {false, true}) {
    const std::shared_ptr<const CatalogView> view = CatalogView::Build(
        snapshot, changed ? std::span<const CatalogItem>(changes) : std::span<const CatalogItem>());
    const std::vector<RecommendQuery> queries = {{.k = 4, .explain = true},
                                                 {.k = 1000, .exclude_seen = false},
                                                 {.k = 3,
                                                  .exclude_items = excluded,
                                                  .context_items = context,
                                                  .any_of_categories = wanted,
                                                  .none_of_categories = unwanted,
                                                  .explain = true}};
    const std::vector<UserState> users = {{.history = history, .long_term = {}},
                                          {.history = history, .long_term = long_term},
                                          {.history = {}, .long_term = {}}};
    for (const RecommendQuery& query : queries) {
      for (const UserState& user : users) {
        const absl::Status status = Recommend(snapshot, *view, query, user, scratch, &answer);
        FUZZ_CHECK(status.ok(), status.ToString());
        CheckAnswer(*view, query, answer, /*ranked=*/true, checked);
        // An index whose bounds were verified says what all rows say.
        Recommendation other;
        RecommendQuery otherwise = query;
        otherwise.search.mode = SearchMode::kFullScan;
        FUZZ_CHECK(Recommend(snapshot, *view, otherwise, user, scratch, &other).ok(), "full scan");
        FUZZ_CHECK(!checked || SameItems(answer, other), "the index misses an item");
        otherwise.search = {.mode = SearchMode::kApproximate, .max_rows = 20};
        FUZZ_CHECK(Recommend(snapshot, *view, otherwise, user, scratch, &other).ok(), "approximate");
        CheckAnswer(*view, otherwise, other, /*ranked=*/true, checked);
      }
      const absl::Status status = SimilarItems(snapshot, *view, query, n - 1, scratch, &answer);
      FUZZ_CHECK(status.ok(), status.ToString());
      for (RecommendedItem& item : answer.items) {
        item.explanation_begin = item.explanation_end = 0;
        FUZZ_CHECK(item.score >= -1 && item.score <= 1, "a cosine");
      }
      RecommendQuery unexplained = query;
      unexplained.explain = false;
      CheckAnswer(*view, unexplained, answer, /*ranked=*/true, checked);
    }
    std::vector<uint32_t> rows;
    for (uint32_t row = 0; row < view->num_rows(); ++row) {
      if (!view->ItemId(row).empty()) rows.push_back(row);
      FUZZ_CHECK(view->ItemVector(row).size() == snapshot.dim(), "vector");
    }
    const absl::Status status = ScoreItems(snapshot, *view, queries[0], users[1], rows, scratch, &answer);
    FUZZ_CHECK(status.ok() && answer.items.size() == rows.size(), status.ToString());
    CheckAnswer(*view, queries[0], answer, /*ranked=*/false, checked);
  }
  for (uint32_t row = 0; row < n; ++row) {
    FUZZ_CHECK(snapshot.FindRow(snapshot.Key(row)) == row, "a key leads to its row");
    static_cast<void>(snapshot.FindRow(snapshot.Key(row) + 1));
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  const auto add = [&](uint8_t base, uint8_t flags, const std::vector<std::array<uint8_t, 5>>& operations) {
    std::string& seed = seeds.emplace_back();
    Put(base, &seed);
    Put(flags, &seed);
    for (const auto& o : operations) seed.append(reinterpret_cast<const char*>(o.data()), o.size());
  };
  for (uint8_t base = 0; base < kNumBases; ++base) {
    for (const uint8_t flags : {0, 1, 2, 4, 12, 16, 28}) add(base, flags, {});
    for (uint8_t operation = 0; operation < kNumOperations; ++operation) {
      add(base, 1, {{operation, 1, 2, 0, 4}});
      add(base, 2, {{operation, 5, 3, 0, 9}, {operation, 9, 1, 0, 200}});
    }
    for (uint8_t tensor = 0; tensor < 22; ++tensor) {
      add(base, 1, {{kFill, tensor, 0, 0, 6}});
      add(base, 2, {{kSetElement, tensor, 1, 0, 14}});
    }
    for (uint8_t tensor = 0; tensor < 32; ++tensor) add(base, 2, {{kFill, tensor, 0, 0, 4}});
    if (base < 5) continue;
    // A blend has more of them, and fields of its own.
    for (uint8_t tensor = 22; tensor < 66; ++tensor) {
      add(base, 1, {{kSetElement, tensor, 1, 0, 14}});
      add(base, 0, {{kFill, tensor, 0, 0, 4}});
      add(base, 0, {{kResize, tensor, 1, 0, 0}});
    }
    for (uint8_t field = 28; field < 45; ++field) {
      for (const uint8_t value : {0, 1, 7, 9, 10, 14, 15, 17, 18})
        add(base, 0, {{kSetField, field, 0, 0, value}});
      add(base, 0, {{kRemoveField, field, 0, 0, 0}});
    }
  }
  return seeds;
}

}  // namespace swiftlet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;        // NOLINT(google-build-using-namespace): an extern "C" function
  using namespace swiftlet::fuzz;  // NOLINT(google-build-using-namespace)
  InputReader input(data, size);
  const Base& base = Bases()[input.Take<uint8_t>() % Bases().size()];
  const auto flags = input.Take<uint8_t>();
  ordered_json manifest = base.manifest;
  std::map<std::string, Tensor> tensors = base.tensors;
  std::vector<std::pair<uint32_t, uint8_t>> flips;
  size_t truncate = std::string::npos;
  for (int i = 0; i < 24 && !input.empty(); ++i) Apply(input, manifest, tensors, &flips, &truncate);
  if ((flags & kMakeDerived) != 0) MakeDerived(manifest, tensors);
  std::string model = Serialize(tensors);
  for (const auto& [at, mask] : flips)
    model[at % model.size()] = static_cast<char>(model[at % model.size()] ^ mask);
  if (truncate < model.size()) model.resize(truncate);

  const std::string directory = Directory() + "/model";
  std::filesystem::create_directory(directory);
  WriteFile(directory + "/" + kModelFile, model);
  const bool stale = (flags & kLeaveChecksum) != 0;
  const ordered_json::json_pointer checksum("/files/model.safetensors/xxh3_128"),
      bytes("/files/model.safetensors/bytes");
  if (manifest.contains(checksum)) {
    if (!stale) manifest[checksum] = Checksum(model);
    manifest[bytes] = model.size();
  }
  WriteFile(directory + "/" + kManifestFile,
            manifest.dump(1, ' ', false, ordered_json::error_handler_t::replace));
  const auto snapshot =
      ModelSnapshot::Load(directory, {.verify_checksums = (flags & (kVerifyChecksums | kLeaveChecksum)) != 0,
                                      .verify_contents = (flags & kSkipContents) == 0,
                                      .huge_pages = (flags & kHugePages) != 0});
  FUZZ_CHECK(size > 2 || stale || snapshot.ok(), snapshot.status().ToString());  // nothing was changed
  if (!snapshot.ok()) {
    const absl::Status& status = snapshot.status();
    FUZZ_CHECK(absl::IsDataLoss(status), status.ToString());
    FUZZ_CHECK(status.message().find(directory) != absl::string_view::npos &&
                   status.message().size() > directory.size() + 20,
               status.ToString());
    return 0;
  }
  FUZZ_CHECK(!stale || Checksum(model) == base.manifest[checksum], "another file than the checksum's");
  Use(**snapshot, (flags & kSkipContents) == 0);
  return 0;
}
