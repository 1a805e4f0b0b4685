// Some users' sequences one after another, without padding, as one tensor of embeddings.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_PACKED_BATCH_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_PACKED_BATCH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/trainer/torch/sequence_shape.h"
#include "engine/trainer/torch/sequence_trainer.h"
#include "engine/trainer/torch/training_kernels.h"

namespace swiftlet {

struct PackedBatch {
  std::vector<size_t> begin;                        // [sequences + 1] into the rows
  std::vector<uint32_t> items, classes, positions;  // [rows]; position 0 is a sequence's newest row
  std::vector<uint32_t> targets;                    // [rows]: the item after each row, or kNoTarget

  size_t rows() const { return items.size(); }
};

// The newest events of every user but the last event of all, which is the last target: rows to learn from.
// Users need two events or more.
void PackForTraining(const SequenceData& data, std::span<const uint32_t> users, size_t max_length,
                     PackedBatch* batch);
// The newest events of every user, to predict what comes next. Users need one event or more.
void PackForEncoding(const SequenceData& data, std::span<const uint32_t> users, size_t max_length,
                     PackedBatch* batch);

// Offsets of the tables in the flat array of parameters; kNone for a table that is not there.
struct TableOffsets {
  static constexpr size_t kNone = SIZE_MAX;
  size_t output = kNone, input = kNone, position = kNone, event_class = kNone;
  size_t features = kNone, input_features = kNone;  // of the items; the latter where the tables are two
};
TableOffsets FindTables(const std::vector<Parameter>& parameters);

// x: [rows, dim] = (item + position + class embedding) * mask.
void GatherEmbeddings(const PackedBatch& batch, const TableOffsets& tables, const float* values, size_t dim,
                      const DropoutMask& mask, float* x);
// The gradient of the same: d_x ([rows, dim]) is overwritten, `gradient` added to, touched[item] set to 1.
void ScatterEmbeddings(const PackedBatch& batch, const TableOffsets& tables, size_t dim,
                       const DropoutMask& mask, float* d_x, float* gradient, uint8_t* touched);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_PACKED_BATCH_H_
