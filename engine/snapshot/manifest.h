// manifest.json: what a snapshot is, and the checksums that prove it whole.
//
// Format version 1, all fields required unless marked:
//   {
//     "format_version": 1,
//     "version": 7,                                  // increasing; the directory's name
//     "created_ms": 1700000000000,
//     "trained_through_ms": 1700000000000,           // arrival time of the newest event it was trained on;
//                                                    // younger erasures mask the user in this snapshot
//     "model_kind": "attention",                     // the encoder, see engine/encoders; of several the
//     kinds
//                                                    // joined by "+"
//     "encoders": [{"kind": "transformer", "dim": 64, "weight": 1.0, "parameters": {"blocks": 2}}],
//                                                    // optional; see ManifestEncoder
//     "dim": 64, "row_stride": 64,                   // numbers of a vector, and from a row to the next
//     "row_type": "bf16",                            // of both item tables: "float32" or "bf16"; optional:
//                                                    // float32
//     "num_items": 9066, "num_users": 671, "num_categories": 20,
//     "embedding_space": "als-7",                    // upserted vectors of another space mean nothing here
//     "max_events": 50,                              // newest events the encoder looks at
//     "event_types": [{"id": 6, "name": "rating", "weight": 1.0}],
//     "event_classes": [{"type": 6, "min_value": null, "sign": 1}, {"type": 6, "min_value": 3.5, "sign": 1}],
//     "training": {"fingerprint": "xxh3-128 hex of the events in training order", "num_events": 100004,
//                  "parameters": {...}},             // free-form, for people
//     "index": {"kind": "bound-2", "num_clusters": 95, "sample_queries": 32, "sample_recall": 1,
//               "sample_rows_scanned": 0.03, "sample_bytes_read": 0.01,
//               "dot": {"box_scale": 0.7, "code_scale": 0.5, "recall": 0.996, "rows_scanned": 0.01},
//               "cosine": {...}},                    // optional; without it the index tensors are not used.
//                                                    // The sample: means over a trial when it was built, as
//                                                    // fractions of a full scan. dot, cosine: optional, of
//                                                    // approximate searches
//     "rating": {"event_type": 6, "dim": 15, "mean": 3.53, "min": 1, "max": 5},
//                                                    // optional; without it there are no rating.* tensors
//     "neighbours": {"kind": "ease", "scale": 1},    // optional; without it no tensors neighbours.*. Where
//                                                    // neighbours are users, also
//                                                    // "users": {"nearest": 100, "shrinkage": 10}
//     "metrics": {"ndcg@10": 0.12},                  // optional; offline, measured through the engine
//     "files": {"model.safetensors": {"bytes": 123, "xxh3_128": "32 hex digits"}, "user_vectors.sst": {...}}
//   }
// A min_value of null is minus infinity. Unknown fields are ignored: later versions may add some.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_MANIFEST_H_
#define SWIFTLET_ENGINE_SNAPSHOT_MANIFEST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/event_types.h"

namespace swiftlet {

inline constexpr int kSnapshotFormatVersion = 1;
inline constexpr char kManifestFile[] = "manifest.json";
inline constexpr char kModelFile[] = "model.safetensors";
// A snapshot with an index of another kind (such as "bound", which had shorter codes) is searched by full
// scans.
inline constexpr char kBoundIndexKind[] = "bound-2";
inline constexpr char kUserVectorsFile[] = "user_vectors.sst";
// Of snapshots without "encoders".
inline constexpr char kAttentionModelKind[] = "attention";
// Of the only encoder of a snapshot that scores by neighbours alone.
inline constexpr char kNoVectorKind[] = "neighbours";

// What the numbers of the item tables are stored as.
enum class RowType : uint8_t { kFloat32, kBf16 };
std::string_view RowTypeName(RowType type);  // "float32", "bf16"
std::optional<RowType> ParseRowType(std::string_view name);

struct ManifestFile {
  uint64_t bytes = 0;
  std::string xxh3_128;  // 32 lower-case hex digits of XXH3-128 (canonical, big-endian) of the whole file
};

// Scales of bounds (BoundScale) and what they gave in the trial. 1 and 1: nothing cheaper than exact would
// do.
struct ManifestCalibration {
  double box_scale = 1, code_scale = 1;
  double recall = 1, rows_scanned = 0;

  friend bool operator==(const ManifestCalibration&, const ManifestCalibration&) = default;
};

// The index over item vectors that model.safetensors holds.
struct ManifestIndex {
  std::string kind = kBoundIndexKind;
  uint32_t num_clusters = 0;
  uint32_t sample_queries = 0;
  double sample_recall = 0, sample_rows_scanned = 0, sample_bytes_read = 0;
  // Approximate searches as they were calibrated: for users by the dot product, for similar items by the
  // cosine.
  ManifestCalibration dot = {}, cosine = {};

  friend bool operator==(const ManifestIndex&, const ManifestIndex&) = default;
};

// One of the encoders whose user vectors lie side by side: the k-th looks at the columns of both item tables
// from the sum of the dims before it on, and its part of the user vector is multiplied by its weight. So the
// scores of several models, weighted, are one dot product. Its tensors are encoder.<k>.<name>
// (encoder_binding.h).
struct ManifestEncoder {
  std::string kind;
  uint32_t dim = 0;
  float weight = 1;                          // finite
  std::map<std::string, double> parameters;  // of the kind; finite

  friend bool operator==(const ManifestEncoder&, const ManifestEncoder&) = default;
};
inline constexpr size_t kMaxEncoders = 8;

// The rating model that model.safetensors holds; see engine/encoders/rating_model.h.
struct ManifestRating {
  EventTypeId event_type = 0;        // events of this type are ratings; one of event_types
  uint32_t dim = 0;                  // 0 to kMaxRatingDim
  float mean = 0, min = 0, max = 0;  // min <= mean <= max, min < max

  friend bool operator==(const ManifestRating&, const ManifestRating&) = default;
};

// Of neighbours that are users: see engine/retrieval/neighbour_users.h.
struct ManifestNeighbourUsers {
  uint32_t nearest = 1;  // 1 to kMaxNearestUsers
  float shrinkage = 0;   // finite, >= 0

  friend bool operator==(const ManifestNeighbourUsers&, const ManifestNeighbourUsers&) = default;
};
inline constexpr uint32_t kMaxNearestUsers = 1'000'000;

// The sparse item-item model, or with `users` user-user model, that model.safetensors holds as neighbours.*.
struct ManifestNeighbours {
  std::string kind;  // what learned it, such as "ease": for people
  float scale = 1;   // of all its scores; finite
  std::optional<ManifestNeighbourUsers> users = {};

  friend bool operator==(const ManifestNeighbours&, const ManifestNeighbours&) = default;
};

struct Manifest {
  int format_version = kSnapshotFormatVersion;
  int64_t version = 0;  // >= 1
  int64_t created_ms = 0;
  int64_t trained_through_ms = 0;
  std::string model_kind;
  // Their dims add up to dim. Empty: additive attention, the tensors attention.*, over all columns.
  std::vector<ManifestEncoder> encoders;
  uint32_t dim = 0;  // 1 to 4,096
  uint32_t row_stride = 0;
  RowType row_type = RowType::kFloat32;
  uint64_t num_items = 0;  // 1 to 2^31
  uint64_t num_users = 0;  // rows of user_vectors.sst; 0: no such file
  uint32_t num_categories = 0;
  std::string embedding_space;
  uint32_t max_events = 50;
  std::vector<EventType> event_types;
  std::vector<EventClass> event_classes;
  std::string training_fingerprint;
  uint64_t num_training_events = 0;
  std::map<std::string, std::string> training_parameters;
  std::optional<ManifestNeighbours> neighbours;
  std::optional<ManifestIndex> index;
  std::optional<ManifestRating> rating;
  std::map<std::string, double> metrics;
  std::map<std::string, ManifestFile> files;
};

// DATA_LOSS for text that is not a valid manifest; the message names the field, what was expected and what
// was found. The optional field "checksum", which FormatManifest writes, is compared with the XXH3-128 of the
// others (as compact JSON with sorted keys): a changed digit does not go unnoticed. Who edits a manifest by
// hand removes it.
absl::StatusOr<Manifest> ParseManifest(std::string_view json);
// The manifest of a snapshot's directory, as it is and parsed. NOT_FOUND when there is none, DATA_LOSS with
// its path when it is no regular file, too large or not valid.
absl::StatusOr<std::string> ReadManifestText(const std::string& directory);
absl::StatusOr<Manifest> ReadManifest(const std::string& directory);
// What model_kind is for these encoders: their kinds joined by "+", "attention" without any.
std::string ModelKindOf(std::span<const ManifestEncoder> encoders);
// Indented JSON that ParseManifest reads back to an equal manifest.
std::string FormatManifest(const Manifest& manifest);

// XXH3-128 of a file, as in ManifestFile. NOT_FOUND or UNAVAILABLE with the path and errno's text.
absl::StatusOr<std::string> ChecksumFile(const std::string& path);

// The same a piece at a time. Thread-compatible.
class FileChecksum {
 public:
  static constexpr size_t kPieceBytes = size_t{128} << 10;  // summed up while it is in the second-level cache

  explicit FileChecksum(std::string path);
  // The bytes are kept: of a file that has more than fit into `copy` (not empty), only those that do are
  // read. `copy` must outlive this.
  FileChecksum(std::string path, std::span<std::byte> copy);
  ~FileChecksum();
  FileChecksum(const FileChecksum&) = delete;
  FileChecksum& operator=(const FileChecksum&) = delete;

  // Reads a piece of the file, kPieceBytes at most; false when there is no more.
  absl::StatusOr<bool> Step();
  // Of what was read.
  std::string Hex() const;

 private:
  struct State;
  const std::string path_;
  const bool keeps_;
  std::span<std::byte> room_;     // of the copy, not yet filled
  std::unique_ptr<State> state_;  // null before the first piece
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_MANIFEST_H_
