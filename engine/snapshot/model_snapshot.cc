#include "engine/snapshot/model_snapshot.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "engine/encoders/attention.h"
#include "engine/kernels/dot.h"
#include "engine/retrieval/bound_retriever.h"
#include "engine/retrieval/exact_retriever.h"
#include "engine/snapshot/content_binding.h"
#include "engine/snapshot/encoder_binding.h"
#include "engine/snapshot/file_io.h"
#include "engine/snapshot/snapshot_checks.h"
#include "engine/snapshot/tensor_binder.h"

namespace swiftlet {
namespace {

// Last part of a path, trailing slashes aside.
std::string_view BaseName(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

absl::StatusOr<Manifest> LoadManifest(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kManifestFile);
  SWIFTLET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  if (manifest.encoders.empty() && manifest.model_kind != kAttentionModelKind) {
    return absl::DataLossError(absl::StrCat(path, ": model_kind: expected \"", kAttentionModelKind,
                                            "\", found ", Quoted(manifest.model_kind),
                                            ", and no \"encoders\""));
  }
  const std::string_view name = BaseName(directory);
  int64_t version = 0;
  if (absl::SimpleAtoi(absl::string_view(name.data(), name.size()), &version) &&
      version != manifest.version) {
    return absl::DataLossError(absl::StrCat(path, ": version: expected ", version,
                                            ", the directory's name, found ", manifest.version));
  }
  return manifest;
}

absl::Status CheckFileSize(const std::string& path, const ManifestFile& expected) {
  absl::StatusOr<uint64_t> bytes = FileSize(path);
  // A file that the manifest lists is a part of the snapshot: without it the snapshot is corrupt.
  if (absl::IsNotFound(bytes.status())) return absl::DataLossError(bytes.status().message());
  if (!bytes.ok()) return bytes.status();
  if (*bytes != expected.bytes) {
    return absl::DataLossError(
        absl::StrCat(path, ": expected ", expected.bytes, " bytes (manifest), found ", *bytes));
  }
  return absl::OkStatus();
}

// Whether the checksum of all that was read is the manifest's.
absl::Status CheckSum(const std::string& path, const FileChecksum& checksum, const ManifestFile& expected) {
  if (checksum.Hex() == expected.xxh3_128) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": corrupt: expected XXH3-128 ", expected.xxh3_128,
                                          " (manifest), found ", checksum.Hex()));
}

void AddChecksumJob(const std::string& path, const ManifestFile& expected, BackgroundJobs& jobs) {
  auto checksum = std::make_shared<FileChecksum>(path);
  jobs.Add([checksum, path, expected]() -> absl::StatusOr<bool> {
    SWIFTLET_ASSIGN_OR_RETURN(const bool more, checksum->Step());
    if (!more) SWIFTLET_RETURN_IF_ERROR(CheckSum(path, *checksum, expected));
    return more;
  });
}

// check(begin, end) over [0, size) in a few jobs, each of steps of `grain`.
void AddRangeJobs(uint64_t size, uint64_t grain,
                  const std::function<absl::Status(uint64_t begin, uint64_t end)>& check,
                  BackgroundJobs& jobs) {
  constexpr uint64_t kJobs = 4;
  for (uint64_t i = 0; i < kJobs; ++i) {
    const uint64_t begin = size * i / kJobs, end = size * (i + 1) / kJobs;
    if (begin == end) continue;
    jobs.Add([check, grain, at = begin, end]() mutable -> absl::StatusOr<bool> {
      const uint64_t next = std::min(at + grain, end);
      SWIFTLET_RETURN_IF_ERROR(check(at, next));
      at = next;
      return at < end;
    });
  }
}

// t->index, unless the binder finds fault.
void BindIndex(TensorBinder& binder, SnapshotTensors* t) {
  const Manifest& m = t->manifest;
  const uint64_t num_clusters = m.index->num_clusters;
  BoundIndexView view;
  view.dim = m.dim;
  view.stride = m.row_stride;
  binder.Required("index.rotation", {m.dim, m.row_stride}, &view.rotation);
  binder.Required("index.centres", {num_clusters, m.row_stride}, &view.centres);
  binder.Required("index.cluster_groups", {num_clusters + 1}, &view.cluster_groups);
  if (!binder.status().ok()) return;
  // Never 0: the last one is the number of groups, which the shapes below and CheckBoundIndexStructure hold
  // to.
  const uint64_t groups = view.cluster_groups.back();
  constexpr uint64_t kFacts = sizeof(GroupFacts) / sizeof(float);
  std::span<const float> facts;
  binder.Required("index.rows", {groups, kGroupRows}, &view.rows);
  binder.Required("index.coarse", {groups, kCoarseQuads, kGroupRows, 4}, &view.coarse);
  binder.Required("index.fine", {groups, kGroupRows, FineBytes(m.dim)}, &view.fine);
  binder.Required("index.boxes", {kNumBoxRows, groups}, &view.boxes);
  binder.Required("index.groups", {groups, kFacts}, &facts);
  if (!binder.status().ok()) return;
  view.groups = {reinterpret_cast<const GroupFacts*>(facts.data()), facts.size() / kFacts};
  t->index = view;
}

// t->rating, unless the binder finds fault.
void BindRating(TensorBinder& binder, SnapshotTensors* t) {
  const Manifest& m = t->manifest;
  const uint64_t n = m.num_items, stride = RowStride(m.rating->dim + 1);
  RatingTables tables{
      .dim = m.rating->dim, .mean = m.rating->mean, .min = m.rating->min, .max = m.rating->max};
  binder.Required("rating.items", {n, stride}, &tables.items);
  binder.Optional("rating.item_variances", {n, stride}, &tables.item_variances);
  binder.Optional("rating.implicit", {n, stride}, &tables.implicit);
  binder.Required("rating.ridge", {stride}, &tables.ridge);
  binder.Required("rating.counts", {n}, &tables.counts);
  if (binder.status().ok()) t->rating = tables;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelSnapshot>> ModelSnapshot::Load(const std::string& directory,
                                                                         const SnapshotLoadOptions& options) {
  std::shared_ptr<ModelSnapshot> snapshot(new ModelSnapshot);
  SWIFTLET_ASSIGN_OR_RETURN(snapshot->manifest_, LoadManifest(directory));
  const Manifest& manifest = snapshot->manifest_;
  BackgroundJobs own_jobs({});
  BackgroundJobs& jobs = options.jobs == nullptr ? own_jobs : *options.jobs;
  for (const auto& [name, file] : manifest.files) {
    SWIFTLET_RETURN_IF_ERROR(CheckFileSize(absl::StrCat(directory, "/", name), file));
  }
  const std::string model_path = absl::StrCat(directory, "/", kModelFile);
  const auto model = manifest.files.find(kModelFile);
  bool copies = options.huge_pages && model != manifest.files.end() && HugePagesAvailable();
  // First of all, so that damage is called that, whatever else is wrong with a damaged file.
  if (copies) copies = snapshot->AddCopyJob(model_path, model->second, options, jobs);
  for (const auto& [name, file] : manifest.files) {
    if (copies && name == kModelFile) continue;
    if (options.verify_checksums) AddChecksumJob(absl::StrCat(directory, "/", name), file, jobs);
  }
  if (!copies) snapshot->AddModelJobs(model_path, options, jobs);
  if (manifest.num_users > 0) {
    snapshot->user_vectors_path_ = absl::StrCat(directory, "/", kUserVectorsFile);
    if (options.check_user_vectors) {
      jobs.Add(options.check_user_vectors(manifest, snapshot->user_vectors_path_));
    }
  }
  SWIFTLET_RETURN_IF_ERROR(jobs.Run());
  return std::shared_ptr<const ModelSnapshot>(std::move(snapshot));
}

ModelSnapshot::~ModelSnapshot() = default;

bool ModelSnapshot::AddCopyJob(const std::string& model_path, const ManifestFile& expected,
                               const SnapshotLoadOptions& options, BackgroundJobs& jobs) {
  absl::StatusOr<HugePages> copy = HugePages::Allocate(expected.bytes);
  if (!copy.ok()) return false;
  copy_ = *std::move(copy);
  auto checksum = std::make_shared<FileChecksum>(model_path, copy_.bytes());
  jobs.Add([this, checksum, model_path, expected, options, &jobs,
            done = size_t{0}]() mutable -> absl::StatusOr<bool> {
    // At most what a step reads; what it reads less, the next one makes sure of again.
    copy_.Touch(done, 2 * FileChecksum::kPieceBytes);
    SWIFTLET_ASSIGN_OR_RETURN(const bool more, checksum->Step());
    done += FileChecksum::kPieceBytes;
    if (more) return true;
    if (options.verify_checksums) SWIFTLET_RETURN_IF_ERROR(CheckSum(model_path, *checksum, expected));
    AddModelJobs(model_path, options, jobs);
    return false;
  });
  return true;
}

void ModelSnapshot::AddModelJobs(const std::string& model_path, const SnapshotLoadOptions& options,
                                 BackgroundJobs& jobs) {
  jobs.Add([this, model_path, options, &jobs]() -> absl::StatusOr<bool> {
    if (copy_.bytes().empty()) {
      SWIFTLET_ASSIGN_OR_RETURN(file_, SafetensorsFile::Open(model_path));
    } else {
      SWIFTLET_ASSIGN_OR_RETURN(file_, SafetensorsFile::Parse(copy_.bytes(), model_path));
    }
    const auto tensors = std::make_shared<SnapshotTensors>(manifest_);
    SWIFTLET_RETURN_IF_ERROR(Bind(model_path, tensors.get()));
    if (options.prefault && copy_.bytes().empty()) {
      AddRangeJobs(
          file_->bytes().size(), uint64_t{1} << 20,
          [this](uint64_t begin, uint64_t end) {
            PrefaultRange(begin, end);
            return absl::OkStatus();
          },
          jobs);
    }
    if (!options.verify_contents) return false;
    for (const ValueCheck& part : ValueChecks(*tensors)) {
      AddRangeJobs(
          part.size, part.grain,
          [tensors, model_path, check = part.check](uint64_t begin, uint64_t end) -> absl::Status {
            const absl::Status status = check(begin, end);
            if (status.ok()) return status;
            return absl::DataLossError(absl::StrCat(model_path, ": ", status.message()));
          },
          jobs);
    }
    return false;
  });
}

absl::Status ModelSnapshot::Bind(const std::string& model_path, SnapshotTensors* tensors) {
  const uint64_t n = manifest_.num_items;
  const uint64_t stride = manifest_.row_stride;
  const uint64_t num_categories = manifest_.num_categories;
  constexpr uint64_t kAny = TensorBinder::kAnyLength;

  SnapshotTensors& t = *tensors;
  TensorBinder binder(*file_, model_path);
  if (manifest_.row_type == RowType::kBf16) {
    binder.Required("item.vectors", {n, stride}, &t.bf16_vectors);
    binder.Optional("item.input_vectors", {n, stride}, &t.bf16_input_vectors);
  } else {
    binder.Required("item.vectors", {n, stride}, &t.vectors);
    binder.Optional("item.input_vectors", {n, stride}, &t.input_vectors);
  }
  binder.Optional("item.bias", {n}, &t.bias);
  binder.Required("item.inverse_norms", {n}, &t.inverse_norms);
  binder.Optional("item.attention_logits", {n}, &t.attention_logits);
  binder.Required("item.keys", {n}, &t.keys);
  binder.Required("item.key_slots", {kAny}, &t.key_slots);
  binder.Required("item.id_offsets", {n + 1}, &t.id_offsets);
  binder.Required("item.id_bytes", {kAny}, &t.id_bytes);
  binder.Required("item.title_offsets", {n + 1}, &t.title_offsets);
  binder.Required("item.title_bytes", {kAny}, &t.title_bytes);
  binder.Required("item.category_offsets", {n + 1}, &t.category_offsets);
  binder.Required("item.category_ids", {kAny}, &t.category_ids);
  binder.Required("category.name_offsets", {num_categories + 1}, &t.category_name_offsets);
  binder.Required("category.name_bytes", {kAny}, &t.category_name_bytes);
  binder.Required("item.popularity", {n}, &t.popularity);
  binder.Required("item.popularity_order", {n}, &t.popularity_order);
  binder.Optional("encoder.input_map", {manifest_.dim, stride}, &t.input_map);
  for (const EventClass& c : manifest_.event_classes) class_signs_.push_back(c.sign);
  if (manifest_.encoders.empty()) {
    binder.Required("attention.class_logits", {manifest_.event_classes.size()}, &t.class_logits);
    binder.Required("attention.position_logits", {kAny}, &t.position_logits);
    binder.Required("attention.recency_logits", {kNumRecencyBuckets}, &t.recency_logits);
    binder.Required("attention.slot_logits", {2}, &t.slot_logits);
  } else {
    absl::StatusOr<std::unique_ptr<const UserEncoder>> encoder =
        BindEncoders(manifest_, class_signs_, &binder, &t.encoder_tensors);
    SWIFTLET_RETURN_IF_ERROR(binder.status());
    if (!encoder.ok()) {
      return absl::DataLossError(absl::StrCat(model_path, ": ", encoder.status().message()));
    }
    encoder_ = *std::move(encoder);
  }
  if (manifest_.index.has_value() && manifest_.index->kind == kBoundIndexKind) BindIndex(binder, &t);
  if (manifest_.rating.has_value()) BindRating(binder, &t);
  if (manifest_.neighbours.has_value()) {
    NeighbourRows& rows = t.neighbours.emplace();
    binder.Required("neighbours.offsets", {n + 1}, &rows.offsets);
    binder.Required("neighbours.rows", {kAny}, &rows.rows);
    binder.Required("neighbours.weights", {rows.rows.size()}, &rows.weights);
    binder.Required("neighbours.position_weights", {kAny}, &rows.position_weights);
    if (const auto& parameters = manifest_.neighbours->users; parameters.has_value()) {
      NeighbourUsers& users = t.neighbour_users.emplace();
      users.nearest = parameters->nearest;
      users.shrinkage = parameters->shrinkage;
      users.scale = manifest_.neighbours->scale;
      binder.Required("neighbours.user_offsets", {kAny}, &users.offsets);
      binder.Required("neighbours.user_items", {kAny}, &users.items);
    }
  }
  if (const absl::Status status = BindContentTower(manifest_, &binder, &t.content); !status.ok()) {
    return absl::DataLossError(absl::StrCat(model_path, ": ", status.message()));
  }
  binder.RefuseOthers({"item.", "category.", "encoder.", "attention.", "content.", "neighbours.", "rating."});
  SWIFTLET_RETURN_IF_ERROR(binder.status());

  if (const absl::Status status = CheckStructure(t); !status.ok())
    return absl::DataLossError(absl::StrCat(model_path, ": ", status.message()));

  items_ = t.items();
  inputs_ = t.inputs();
  input_map_ = t.input_map.empty() ? nullptr : t.input_map.data();
  inverse_norms_ = t.inverse_norms;
  attention_logits_ = t.attention_logits;
  popularity_ = t.popularity;
  keys_ = t.keys;
  key_slots_ = t.key_slots;
  id_offsets_ = t.id_offsets;
  id_bytes_ = t.id_bytes;
  title_offsets_ = t.title_offsets;
  title_bytes_ = t.title_bytes;
  category_offsets_ = t.category_offsets;
  category_ids_ = t.category_ids;
  category_offsets_of_names_ = t.category_name_offsets;
  category_name_bytes_ = t.category_name_bytes;
  popularity_order_ = t.popularity_order;
  content_ = t.content;
  BuildCategoryRows();
  if (manifest_.encoders.empty()) {
    encoder_ = std::make_unique<AttentionEncoder>(AttentionParameters{.class_logits = t.class_logits,
                                                                      .class_signs = class_signs_,
                                                                      .position_logits = t.position_logits,
                                                                      .recency_logits = t.recency_logits,
                                                                      .long_term_logit = t.slot_logits[0],
                                                                      .context_logit = t.slot_logits[1],
                                                                      .max_events = manifest_.max_events});
  }
  if (t.rating.has_value()) rating_.emplace(*t.rating);
  neighbours_ = t.neighbours;
  neighbour_users_ = t.neighbour_users;
  if (neighbours_.has_value()) {
    // Which users are nearest is not for the scale to say.
    const float scale = neighbour_users_.has_value() ? 1.0f : manifest_.neighbours->scale;
    for (const float w : neighbours_->position_weights) position_weights_.push_back(w * scale);
    neighbours_->position_weights = position_weights_;
    has_vectors_ = manifest_.model_kind != kNoVectorKind;
  }
  if (t.index.has_value()) {
    retriever_ = std::make_unique<BoundRetriever>(items_, inverse_norms_, *t.index);
  } else {
    retriever_ = std::make_unique<ExactRetriever>(items_, inverse_norms_);
  }
  return absl::OkStatus();
}

void ModelSnapshot::BuildCategoryRows() {
  category_rows_offsets_.assign(size_t{num_categories()} + 1, 0);
  for (const uint32_t id : category_ids_) ++category_rows_offsets_[id + 1];
  for (size_t i = 1; i < category_rows_offsets_.size(); ++i) {
    category_rows_offsets_[i] += category_rows_offsets_[i - 1];
  }
  category_rows_.resize(category_ids_.size());
  std::vector<uint64_t> next = category_rows_offsets_;
  for (uint32_t row = 0; row < num_items(); ++row) {
    for (const uint32_t id : CategoryIds(row)) category_rows_[next[id]++] = row;
  }
}

std::optional<uint32_t> ModelSnapshot::FindRow(ItemKey key) const {
  const size_t mask = key_slots_.size() - 1;
  // Ends: Load has seen an empty slot.
  for (size_t slot = key & mask;; slot = (slot + 1) & mask) {
    const uint32_t row_plus_1 = key_slots_[slot];
    if (row_plus_1 == 0) return std::nullopt;
    if (keys_[row_plus_1 - 1] == key) return row_plus_1 - 1;
  }
}

void ModelSnapshot::Prefetch(std::span<const ItemKey> keys, size_t num_inputs) const {
  constexpr size_t kLine = 64;
  const size_t mask = key_slots_.size() - 1;
  for (const ItemKey key : keys) __builtin_prefetch(&key_slots_[key & mask]);
  for (size_t i = 0; i < keys.size(); ++i) {
    const uint32_t row_plus_1 = key_slots_[keys[i] & mask];
    if (row_plus_1 == 0) continue;
    // The row of another key where keys collide: then a line is read in vain.
    const uint32_t row = row_plus_1 - 1;
    __builtin_prefetch(&keys_[row]);
    if (i >= num_inputs) continue;
    if (!attention_logits_.empty()) __builtin_prefetch(&attention_logits_[row]);
    const std::span<const std::byte> vector = InputVector(row).Bytes();
    for (size_t line = 0; line < vector.size(); line += kLine) __builtin_prefetch(&vector[line]);
  }
}

void ModelSnapshot::MapToInput(std::span<const float> vector, std::span<float> input_vector) const {
  if (input_map_ == nullptr) {
    std::copy_n(vector.begin(), dim(), input_vector.begin());
  } else {
    DotRows(vector.data(), input_map_, dim(), dim(), stride(), input_vector.data());
  }
}

BoundScale ModelSnapshot::approximate_scale(Similarity similarity) const {
  if (!manifest_.index.has_value()) return {};
  const ManifestCalibration& c =
      similarity == Similarity::kCosine ? manifest_.index->cosine : manifest_.index->dot;
  return {.box = static_cast<float>(c.box_scale), .code = static_cast<float>(c.code_scale)};
}

std::optional<uint32_t> ModelSnapshot::ClassOf(EventTypeId type, float value) const {
  std::optional<uint32_t> found;
  for (uint32_t i = 0; i < manifest_.event_classes.size(); ++i) {
    const EventClass& c = manifest_.event_classes[i];
    // Classes of one type are in ascending order: the last one that reaches down to the value.
    if (c.type == type && value >= c.min_value) found = i;
  }
  return found;
}

void ModelSnapshot::Prefault() const { PrefaultRange(0, file_->bytes().size()); }

void ModelSnapshot::PrefaultRange(size_t begin, size_t end) const {
  const std::span<const std::byte> bytes = file_->bytes();
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  begin = begin / page * page;  // the file begins on a page
#ifdef MADV_POPULATE_READ
  if (::madvise(const_cast<std::byte*>(&bytes[begin]), end - begin, MADV_POPULATE_READ) == 0) return;
#endif
  for (size_t i = begin; i < end; i += page) {
    static_cast<void>(*static_cast<const volatile std::byte*>(&bytes[i]));
  }
}

}  // namespace swiftlet
