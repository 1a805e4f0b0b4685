// What must hold between the tensors of a snapshot. Private to this folder.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_SNAPSHOT_CHECKS_H_
#define SWIFTLET_ENGINE_SNAPSHOT_SNAPSHOT_CHECKS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/bf16.h"
#include "engine/encoders/content_tower.h"
#include "engine/encoders/rating_model.h"
#include "engine/retrieval/bound_index.h"
#include "engine/retrieval/item_matrix.h"
#include "engine/retrieval/neighbour_users.h"
#include "engine/snapshot/encoder_binding.h"
#include "engine/snapshot/manifest.h"

namespace swiftlet {

// The tensors of model_snapshot.h with dtypes and shapes already checked; optional ones are empty when
// absent.
struct SnapshotTensors {
  explicit SnapshotTensors(const Manifest& m) : manifest(m) {}

  const Manifest& manifest;
  // Of both tables one or the other, by manifest.row_type.
  std::span<const float> vectors, input_vectors;
  std::span<const Bf16> bf16_vectors, bf16_input_vectors;
  std::span<const float> bias, inverse_norms, attention_logits, popularity, input_map;
  EncoderTensors encoder_tensors;  // where the manifest has encoders; else those of the next line
  std::span<const float> class_logits, position_logits, recency_logits, slot_logits;
  std::span<const uint64_t> keys, id_offsets, title_offsets, category_offsets, category_name_offsets;
  std::span<const uint32_t> key_slots, category_ids, popularity_order;
  std::span<const char> id_bytes, title_bytes, category_name_bytes;
  std::optional<NeighbourRows> neighbours;
  std::optional<NeighbourUsers> neighbour_users;
  std::optional<BoundIndexView> index;
  std::optional<RatingTables> rating;
  std::optional<ContentTower> content;

  // The output table, with bias.
  ItemMatrix items() const;
  // The input table, without: the output table where there is no other.
  ItemMatrix inputs() const;
};

// Everything that memory safety and the end of a look-up rest on: offsets, category ids, hash slots,
// permutation, neighbours, index. Always checked, one pass over the small tensors. DATA_LOSS names tensor,
// element, expected and found.
absl::Status CheckStructure(const SnapshotTensors& tensors);
// Of neighbours: offsets, rows, items of users and the number of position weights; part of CheckStructure.
// users: null where rows are items. Requires at least one offset of items, and as many weights as rows.
absl::Status CheckNeighbourStructure(const NeighbourRows& neighbours, const NeighbourUsers* users);

// Everything else: finite numbers, zero padding, norms, UTF-8, keys that are their ids' hashes, order by
// popularity, bounds of the index. Requires CheckStructure. One pass over the file, and with an index
// dim multiplications for each number of item.vectors.
absl::Status CheckValues(const SnapshotTensors& tensors);

// The same in pieces, for BackgroundJobs: all pieces of all parts together are CheckValues. The tensors must
// outlive them.
struct ValueCheck {
  uint64_t size = 0;   // of what it goes over: rows, groups
  uint64_t grain = 1;  // of these take about a tenth of a millisecond
  std::function<absl::Status(uint64_t begin, uint64_t end)> check;
};
std::vector<ValueCheck> ValueChecks(const SnapshotTensors& tensors);

// 1 / |v|; 0 for a zero vector and for one so small that the inverse is no float.
float InverseNorm(std::span<const float> v);

// Smallest power of two that is at least 2 * num_items.
uint64_t NumKeySlots(uint64_t num_items);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_SNAPSHOT_CHECKS_H_
