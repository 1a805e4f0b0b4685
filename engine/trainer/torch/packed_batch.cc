#include "engine/trainer/torch/packed_batch.h"

#include <algorithm>
#include <cstring>

#include "engine/kernels/dot.h"

namespace swiftlet {
namespace {

void Clear(PackedBatch* batch) {
  batch->begin.assign(1, 0);
  batch->items.clear();
  batch->classes.clear();
  batch->positions.clear();
  batch->targets.clear();
}

// Events [begin, end) as one more sequence; the target of each is the event after it where that is a positive
// one.
void Append(const SequenceData& data, size_t begin, size_t end, bool with_targets, PackedBatch* batch) {
  for (size_t e = begin; e < end; ++e) {
    batch->items.push_back(data.items[e]);
    batch->classes.push_back(data.classes[e]);
    batch->positions.push_back(static_cast<uint32_t>(end - 1 - e));
    if (with_targets) batch->targets.push_back(data.is_target[e + 1] != 0 ? data.items[e + 1] : kNoTarget);
  }
  batch->begin.push_back(batch->items.size());
}

}  // namespace

void PackForTraining(const SequenceData& data, std::span<const uint32_t> users, size_t max_length,
                     PackedBatch* batch) {
  Clear(batch);
  for (const uint32_t u : users) {
    const size_t end = data.begin[u + 1] - 1;
    Append(data, std::max(data.begin[u], end - std::min(end, max_length)), end, true, batch);
  }
}

void PackForEncoding(const SequenceData& data, std::span<const uint32_t> users, size_t max_length,
                     PackedBatch* batch) {
  Clear(batch);
  for (const uint32_t u : users) {
    const size_t end = data.begin[u + 1];
    Append(data, std::max(data.begin[u], end - std::min(end, max_length)), end, false, batch);
  }
}

TableOffsets FindTables(const std::vector<Parameter>& parameters) {
  const auto find = [&](std::string_view name) {
    const Parameter* p = FindParameter(parameters, name);
    return p != nullptr ? p->offset : TableOffsets::kNone;
  };
  TableOffsets tables{find("output"), find("input"),   find("position"),
                      find("class"),  find(kFeatures), find(kInputFeatures)};
  if (tables.input == TableOffsets::kNone) tables.input = tables.output;
  return tables;
}

void GatherEmbeddings(const PackedBatch& batch, const TableOffsets& tables, const float* values, size_t dim,
                      const DropoutMask& mask, float* x) {
  for (size_t row = 0; row < batch.rows(); ++row) {
    float* to = x + row * dim;
    std::memcpy(to, values + tables.input + batch.items[row] * dim, dim * sizeof(float));
    AddScaled(1, values + tables.position + batch.positions[row] * dim, dim, to);
    if (tables.event_class != TableOffsets::kNone) {
      AddScaled(1, values + tables.event_class + batch.classes[row] * dim, dim, to);
    }
  }
  ApplyDropout(mask, 0, batch.rows() * dim, x);
}

void ScatterEmbeddings(const PackedBatch& batch, const TableOffsets& tables, size_t dim,
                       const DropoutMask& mask, float* d_x, float* gradient, uint8_t* touched) {
  ApplyDropout(mask, 0, batch.rows() * dim, d_x);
  for (size_t row = 0; row < batch.rows(); ++row) {
    const float* from = d_x + row * dim;
    AddScaled(1, from, dim, gradient + tables.input + batch.items[row] * dim);
    touched[batch.items[row]] = 1;
    AddScaled(1, from, dim, gradient + tables.position + batch.positions[row] * dim);
    if (tables.event_class != TableOffsets::kNone) {
      AddScaled(1, from, dim, gradient + tables.event_class + batch.classes[row] * dim);
    }
  }
}

}  // namespace swiftlet
