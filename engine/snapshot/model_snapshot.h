// A model snapshot in memory: one immutable version of item vectors, ids, metadata, popularity and encoder
// weights, mapped or copied from a snapshot directory. (Long-term user vectors lie beside it in
// user_vectors.sst, which storage/ ingests.)
//
//   SWIFTLET_ASSIGN_OR_RETURN(auto snapshot, ModelSnapshot::Load("models/7", {}));
//
// Tensors of model.safetensors, N items, d = dim, s = row_stride = RowStride(d), C categories. Row r is item
// r. Every tensor starts at a multiple of 64 bytes of the file.
//
// clang-format off
//   item.vectors              T [N, s]     output table v_i; columns d..s are zero. T is F32, or BF16 where the
//                                          manifest's row_type is bf16
//   item.input_vectors        T [N, s]     input table x_i of the encoder; absent: v_i serves as x_i
//   item.bias                 F32 [N]      b_i; absent: 0
//   item.inverse_norms        F32 [N]      1 / |v_i|, 0 where v_i is zero
//   item.attention_logits     F32 [N]      the item's own term of the attention logit; absent: 0
//   item.keys                 U64 [N]      ItemKeyOf(id), no key twice
//   item.key_slots            U32 [2^m]    open addressing, linear probing from key & (2^m - 1): row + 1, 0 is
//                                          empty; 2^m >= 2 N
//   item.id_offsets           U64 [N + 1]  id of row r: bytes [id_offsets[r], id_offsets[r + 1]) of item.id_bytes
//   item.id_bytes             U8  [..]
//   item.title_offsets        U64 [N + 1]  the same for titles, UTF-8; an empty title is an unknown one
//   item.title_bytes          U8  [..]
//   item.category_offsets     U64 [N + 1]  category ids of row r: item.category_ids[category_offsets[r] ..]
//   item.category_ids         U32 [..]     each < C
//   category.name_offsets     U64 [C + 1]
//   category.name_bytes       U8  [..]
//   item.popularity           F32 [N]      >= 0; score of SOURCE_POPULAR
//   item.popularity_order     U32 [N]      rows by popularity, highest first: a permutation
//   encoder.input_map         F32 [d, s]   x = M v for items that were upserted later, x_a = sum_b M[a, b] v_b;
//                                          absent: x = v
//   encoder.<k>.<name>        F32          of the manifest's encoders, see encoder_binding.h; without these:
//   attention.class_logits    F32 [number of event_classes of the manifest]
//   attention.position_logits F32 [P]      P >= 1
//   attention.recency_logits  F32 [32]
//   attention.slot_logits     F32 [2]      long-term slot, context slot
//
// With "neighbours" in the manifest, a sparse item-item model (engine/retrieval/neighbour_rows.h) of E entries, or with
// "users" in it a user-user model (neighbour_users.h): then the rows are users, M of them with F items, and the last two
// tensors must be there. Users are indices, in no order that their ids have; no id is stored.
//   neighbours.offsets        U64 [N + 1]  entries of row j: [offsets[j], offsets[j + 1])
//   neighbours.rows           U32 [E]      item rows, or users, ascending within a row j
//   neighbours.weights        F32 [E]      W[j, i], or A[j, v]
//   neighbours.position_weights F32 [P]    by position of the event in the history, newest first; P >= 1
//   neighbours.user_offsets   U64 [M + 1]  items of user v: [user_offsets[v], user_offsets[v + 1]) of user_items
//   neighbours.user_items     U32 [F]      item rows, ascending within a user
//
// Optional, all or none but for the input weights: a content tower (engine/encoders/content_tower.h) for items that the
// model was not trained on. F features, X sources of external vectors with dims D_0 .., R = F + 1 + sum of (1 + D_x)
// rows: of the features, the intercept, and of each source one for its presence and one for each number.
//   content.numbers           F32 [2]      hash_bits, idf of features without a row
//   content.buckets           U32 [F]      block << hash_bits | hash, ascending
//   content.idf               F32 [F]      > 0
//   content.external_dims     U32 [X]
//   content.external_name_offsets  U64 [X + 1]  names of the sources, as for ids
//   content.external_name_bytes    U8 [..]
//   content.output_weights    F32 [R, s]
//   content.input_weights     F32 [R, s]   absent: x = M v
//   content.fact_weights      F32 [R, 2]   bias, attention logit
//
// With "index" in the manifest, an index over item.vectors (engine/retrieval/bound_index.h): K clusters, G groups of
// sixteen rows, F = FineBytes(d).
//   index.rotation            F32 [d, s]   principal axes, orthonormal rows
//   index.centres             F32 [K, s]   directions of clusters along those axes, of length 1 or 0
//   index.cluster_groups      U32 [K + 1]  groups of cluster c: [cluster_groups[c], cluster_groups[c + 1])
//   index.rows                U32 [G, 16]  item rows of a group; each row once; 2^32 - 1: none
//   index.coarse              U8  [G, 4, 16, 4]  8-bit codes
//   index.fine                U8  [G, 16, F]
//   index.boxes               F32 [5, G]   upper ends of a, r, bias, a / |v|, r / |v|
//   index.groups              F32 [G, 8]   GroupFacts
//
// With "rating" in the manifest, a rating model (engine/encoders/rating_model.h): D = 1 + rating.dim, t = RowStride(D);
// column 0 is the bias', columns D..t are zero.
//   rating.items              F32 [N, t]   b_i, q_i
//   rating.item_variances     F32 [N, t]   >= 0; column 0 is not looked at; absent: 0
//   rating.implicit           F32 [N, t]   y_i; absent: 0
//   rating.ridge              F32 [t]      > 0
//   rating.counts             U32 [N]      ratings of the item that were fitted to; 0: the model does not know it
// clang-format on
//
// No other tensor's name may begin with "item.", "category.", "encoder.", "attention.", "content.",
// "neighbours." or "rating."; tensors of other names are passed over.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_MODEL_SNAPSHOT_H_
#define SWIFTLET_ENGINE_SNAPSHOT_MODEL_SNAPSHOT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/background_jobs.h"
#include "engine/base/huge_pages.h"
#include "engine/base/item_key.h"
#include "engine/encoders/content_tower.h"
#include "engine/encoders/encoder.h"
#include "engine/encoders/rating_model.h"
#include "engine/kernels/vector_view.h"
#include "engine/retrieval/neighbour_users.h"
#include "engine/retrieval/retriever.h"
#include "engine/snapshot/manifest.h"
#include "engine/snapshot/safetensors.h"

namespace swiftlet {

struct SnapshotTensors;

struct SnapshotLoadOptions {
  // Read every file once and compare its checksum with the manifest.
  bool verify_checksums = true;
  // Check every value: finite vectors, norms, UTF-8, keys, order. Costs one pass over the file. When off,
  // what memory safety rests on (shapes, offsets, category ids, permutation, hash table) is checked all the
  // same.
  bool verify_contents = true;
  // Maps every page, so that requests meet no page fault.
  bool prefault = false;
  // Copies the model file into memory of its own, on huge pages, where the machine has them; maps it where
  // not. Searches are faster then, and whatever happens to the file meanwhile, what serves is what was
  // checked.
  bool huge_pages = false;
  // Loads step by step on the threads of these; null: all on the calling thread.
  BackgroundJobs* jobs = nullptr;
  // Makes a job that checks user_vectors.sst (its contents: the checksum is checked like that of any file),
  // to be done along with the others. Called when the manifest says that there are users. May be null.
  std::function<BackgroundJobs::Job(const Manifest&, const std::string& path)> check_user_vectors = {};
};

// Immutable and thread-safe.
class ModelSnapshot {
 public:
  // Maps or copies what is in `directory`. NOT_FOUND when the directory or the manifest is missing;
  // DATA_LOSS, naming file and reason, for anything truncated, corrupt, inconsistent or of another format
  // version. Never crashes on hostile files.
  static absl::StatusOr<std::shared_ptr<const ModelSnapshot>> Load(const std::string& directory,
                                                                   const SnapshotLoadOptions& options);
  ~ModelSnapshot();

  const Manifest& manifest() const { return manifest_; }
  int64_t version() const { return manifest_.version; }
  uint32_t dim() const { return manifest_.dim; }
  uint32_t stride() const { return manifest_.row_stride; }
  uint32_t num_items() const { return static_cast<uint32_t>(manifest_.num_items); }

  // Row of a key, if the snapshot has it.
  std::optional<uint32_t> FindRow(ItemKey key) const;
  // Asks for the memory that FindRow of these keys will read, and of the first num_inputs the memory of what
  // the encoder reads, all at once: one after the other, each read would wait for the one before.
  void Prefetch(std::span<const ItemKey> keys, size_t num_inputs) const;
  // The rest requires row < num_items().
  ItemKey Key(uint32_t row) const { return keys_[row]; }
  std::string_view ItemId(uint32_t row) const { return Text(id_offsets_, id_bytes_, row); }
  std::string_view Title(uint32_t row) const { return Text(title_offsets_, title_bytes_, row); }
  std::span<const uint32_t> CategoryIds(uint32_t row) const {
    return category_ids_.subspan(category_offsets_[row], category_offsets_[row + 1] - category_offsets_[row]);
  }
  // Rows with a category, ascending. Requires id < num_categories().
  std::span<const uint32_t> RowsOfCategory(uint32_t id) const {
    return std::span(category_rows_)
        .subspan(category_rows_offsets_[id], category_rows_offsets_[id + 1] - category_rows_offsets_[id]);
  }
  std::string_view CategoryName(uint32_t id) const {
    return Text(category_offsets_of_names_, category_name_bytes_, id);
  }
  uint32_t num_categories() const { return manifest_.num_categories; }

  // Of both tables.
  RowType row_type() const { return manifest_.row_type; }
  // Output table, with bias.
  const ItemMatrix& items() const { return items_; }
  VectorView ItemVector(uint32_t row) const { return items_.Row(row); }
  // Input table row.
  VectorView InputVector(uint32_t row) const { return inputs_.Row(row); }
  float Bias(uint32_t row) const { return items_.bias == nullptr ? 0.0f : items_.bias[row]; }
  std::span<const float> inverse_norms() const { return inverse_norms_; }
  float AttentionLogit(uint32_t row) const {
    return attention_logits_.empty() ? 0.0f : attention_logits_[row];
  }
  float Popularity(uint32_t row) const { return popularity_[row]; }
  std::span<const uint32_t> popularity_order() const { return popularity_order_; }

  // x = M v for an item that is not in the snapshot. vector: [dim]; input_vector: [dim] out.
  void MapToInput(std::span<const float> vector, std::span<float> input_vector) const;

  // Null where the snapshot has none.
  const ContentTower* content_tower() const { return content_.has_value() ? &*content_ : nullptr; }

  const UserEncoder& encoder() const { return *encoder_; }
  // Null where there are none. Unless they are users, whose scale is neighbour_users()->scale, their position
  // weights are multiplied by the manifest's scale.
  const NeighbourRows* neighbours() const { return neighbours_.has_value() ? &*neighbours_ : nullptr; }
  // Not null where the rows of neighbours() are users.
  const NeighbourUsers* neighbour_users() const {
    return neighbour_users_.has_value() ? &*neighbour_users_ : nullptr;
  }
  // False where only neighbours() score items, and no vectors.
  bool has_vectors() const { return has_vectors_; }
  // Over items(); by dot product, and by cosine with inverse_norms(). Exact, with an index or without.
  const Retriever& retriever() const { return *retriever_; }
  // For approximate searches through the index, as the trainer calibrated them; exact where it did not.
  BoundScale approximate_scale(Similarity similarity) const;
  // Class of an event, or nothing when the snapshot has no class of this type.
  std::optional<uint32_t> ClassOf(EventTypeId type, float value) const;

  // Null when the snapshot has none. Events of manifest().rating->event_type are ratings.
  const RatingModel* rating_model() const { return rating_.has_value() ? &*rating_ : nullptr; }

  // Bytes of the model in memory.
  uint64_t size_bytes() const { return file_->bytes().size(); }
  // Maps every page, so that requests meet no page fault.
  void Prefault() const;
  // <directory>/user_vectors.sst, or empty when the snapshot has no user vectors.
  const std::string& user_vectors_path() const { return user_vectors_path_; }

 private:
  ModelSnapshot() = default;
  static std::string_view Text(std::span<const uint64_t> offsets, std::span<const char> bytes, uint32_t i) {
    return {bytes.data() + offsets[i], offsets[i + 1] - offsets[i]};
  }
  // Sets *tensors, checks their structure, and then binds everything to them.
  absl::Status Bind(const std::string& model_path, SnapshotTensors* tensors);
  // Adds the job that copies the model file to copy_ and then adds those below; false where there is no
  // memory for that.
  bool AddCopyJob(const std::string& model_path, const ManifestFile& expected,
                  const SnapshotLoadOptions& options, BackgroundJobs& jobs);
  // Adds the jobs that load the model file, or its copy.
  void AddModelJobs(const std::string& model_path, const SnapshotLoadOptions& options, BackgroundJobs& jobs);
  void PrefaultRange(size_t begin, size_t end) const;
  void BuildCategoryRows();

  Manifest manifest_;
  HugePages copy_;  // empty: the file is mapped
  std::unique_ptr<SafetensorsFile> file_;
  std::string user_vectors_path_;
  ItemMatrix items_, inputs_;
  const float* input_map_ = nullptr;  // [dim, stride] or null
  std::span<const float> inverse_norms_, attention_logits_, popularity_;
  std::span<const uint64_t> keys_, id_offsets_, title_offsets_, category_offsets_, category_offsets_of_names_;
  std::span<const uint32_t> key_slots_, category_ids_, popularity_order_;
  std::span<const char> id_bytes_, title_bytes_, category_name_bytes_;
  std::vector<float> class_signs_;
  std::optional<ContentTower> content_;
  std::vector<uint64_t> category_rows_offsets_;
  std::vector<uint32_t> category_rows_;
  std::optional<NeighbourRows> neighbours_;
  std::optional<NeighbourUsers> neighbour_users_;
  std::vector<float> position_weights_;
  bool has_vectors_ = true;
  std::unique_ptr<const UserEncoder> encoder_;
  std::unique_ptr<const Retriever> retriever_;
  std::optional<RatingModel> rating_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_MODEL_SNAPSHOT_H_
