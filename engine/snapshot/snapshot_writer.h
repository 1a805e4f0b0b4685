// Writing a snapshot directory.
//
//   SnapshotContents contents;                 // fill manifest facts, vectors, ids, ...
//   SWIFTLET_RETURN_IF_ERROR(WriteSnapshot(staging, contents));   // model_directory.h publishes it
#ifndef SWIFTLET_ENGINE_SNAPSHOT_SNAPSHOT_WRITER_H_
#define SWIFTLET_ENGINE_SNAPSHOT_SNAPSHOT_WRITER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/aligned_vector.h"
#include "engine/encoders/content_tower.h"
#include "engine/snapshot/manifest.h"

namespace swiftlet {

// Whether WriteSnapshot builds an index over the item vectors (engine/retrieval/bound_index.h). It takes some
// seconds for each million items on all cores.
enum class IndexMode : uint8_t {
  kAuto,    // from kMinIndexedItems items on, and where a trial shows that it is worth it
  kNever,   // searches scan all items
  kAlways,  // wherever there can be one
};
inline constexpr size_t kMinIndexedItems = 8192;

// One of the manifest's encoders (ManifestEncoder) with its tensors (engine/snapshot/encoder_binding.h).
struct EncoderTensor {
  std::vector<uint64_t> shape;
  std::vector<float> values;  // product(shape), finite
};
struct EncoderContents {
  ManifestEncoder encoder;
  std::map<std::string, EncoderTensor> tensors;
};

// The rating model of a snapshot; D = 1 + parameters.dim, unpadded rows.
struct RatingContents {
  ManifestRating parameters;
  std::vector<float> items;           // [N, D]
  std::vector<float> item_variances;  // [N, D] or empty
  std::vector<float> implicit;        // [N, D] or empty
  std::vector<float> ridge;           // [D]
  std::vector<uint32_t> counts;       // [N]
};

// The manifest's neighbours (ManifestNeighbours) with their tensors (NeighbourRows, and NeighbourUsers where
// neighbours.users is set).
struct NeighbourContents {
  ManifestNeighbours neighbours;
  std::vector<uint64_t> offsets = {0};        // [N + 1]
  std::vector<uint32_t> rows;                 // ascending within a row of the offsets, below N or M
  std::vector<float> weights;                 // as rows, finite
  std::vector<float> position_weights = {1};  // at least 1, finite
  std::vector<uint64_t> user_offsets = {};    // [M + 1] or, without neighbours.users, empty
  std::vector<uint32_t> user_items = {};      // ascending within a user, below N
};

// Everything of a snapshot but user_vectors.sst, in memory. Shapes as in model_snapshot.h, with unpadded rows
// [N, dim]. With manifest.row_type kBf16 the rows of both tables are rounded to bf16 (to nearest, ties to
// even), and norms and index are those of the rounded rows.
struct SnapshotContents {
  // format_version, dim, row_stride, num_items, num_categories, index, rating and files are filled by the
  // writer; the caller sets the rest (num_users: rows of user_vectors.sst, when that file is in the directory
  // already). An empty model_kind becomes that of the encoders, and manifest.encoders and
  // neighbours are filled from those of here.
  Manifest manifest;
  uint32_t dim = 0;
  std::vector<std::string> item_ids;                      // [N], valid ids, no id twice
  std::vector<float> item_vectors;                        // [N, dim]
  std::vector<float> item_input_vectors;                  // [N, dim] or empty
  std::vector<float> item_bias;                           // [N] or empty
  std::vector<float> item_attention_logits;               // [N] or empty
  std::vector<float> item_popularity;                     // [N], >= 0
  std::vector<std::string> item_titles;                   // [N] or empty
  std::vector<std::vector<std::string>> item_categories;  // [N] or empty
  std::vector<float> input_map;                           // [dim, dim] or empty
  // Empty: additive attention over all columns, the parameters below.
  std::vector<EncoderContents> encoders;
  std::optional<NeighbourContents> neighbours;
  std::vector<float> class_logits;     // [manifest.event_classes.size()]
  std::vector<float> position_logits;  // [P], P >= 1
  std::vector<float> recency_logits;   // [kNumRecencyBuckets]
  float long_term_logit = 0;
  float context_logit = 0;
  std::optional<RatingContents> rating;  // manifest.rating is its parameters
  // Places items that come later by their content.
  std::optional<ContentTowerData> content;
  // [S, dim] or empty: vectors of users, to try the index with and to calibrate approximate searches. Not
  // stored.
  std::vector<float> sample_user_vectors;
  IndexMode index = IndexMode::kAuto;
};

// Writes model.safetensors and manifest.json (with checksums, also of user_vectors.sst when the file is
// there) into `directory`, which must exist, and fsyncs both. INVALID_ARGUMENT for inconsistent shapes, an
// invalid or duplicate id, two ids with one key (both are named), or a number that is not finite, as bf16
// where it is stored as that (item and field are named). INTERNAL when the index does not answer like a full
// scan.
absl::Status WriteSnapshot(const std::string& directory, const SnapshotContents& contents);

// Replaces the metrics of a written snapshot's manifest: write temporary, fsync, rename.
absl::Status UpdateManifestMetrics(const std::string& directory,
                                   const std::map<std::string, double>& metrics);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_SNAPSHOT_WRITER_H_
