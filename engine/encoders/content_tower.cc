#include "engine/encoders/content_tower.h"

#include <algorithm>
#include <cmath>

#include "engine/kernels/dot.h"

namespace swiftlet {
namespace {

bool AllFinite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

}  // namespace

bool ContentTower::Place(const ItemContent& content, std::span<const ExternalVector> vectors,
                         ContentScratch& scratch, ContentPlace* place) const {
  place->vector.assign(dim, 0.0f);
  place->input_vector.assign(input_weights.empty() ? 0 : dim, 0.0f);
  place->bias = place->attention_logit = 0;
  const auto add = [&](float value, size_t row) {
    AddScaled(value, &output_weights[row * stride], dim, place->vector.data());
    if (!input_weights.empty()) {
      AddScaled(value, &input_weights[row * stride], dim, place->input_vector.data());
    }
    place->bias += value * fact_weights[2 * row];
    place->attention_logit += value * fact_weights[2 * row + 1];
  };
  add(1, table.buckets.size());
  WeighContent(table, content, scratch);
  bool known = !scratch.entries.empty();
  for (const ContentEntry& entry : scratch.entries) add(entry.value, entry.row);
  for (const ExternalBlock& block : externals) {
    for (const ExternalVector& vector : vectors) {
      if (vector.name != block.name || vector.values.size() != block.dim) continue;
      known = true;
      add(1, block.first_row);
      for (size_t j = 0; j < block.dim; ++j) add(vector.values[j], block.first_row + 1 + j);
      break;
    }
  }
  return known && AllFinite(place->vector) && AllFinite(place->input_vector) && std::isfinite(place->bias) &&
         std::isfinite(place->attention_logit);
}

ContentTower ContentTowerData::View(uint32_t dim) const {
  ContentTower tower;
  tower.table = {.hash_bits = hash_bits, .unknown_idf = unknown_idf, .buckets = buckets, .idf = idf};
  tower.dim = dim;
  tower.stride = static_cast<uint32_t>(RowStride(dim));
  tower.output_weights = output_weights;
  tower.input_weights = input_weights;
  tower.fact_weights = fact_weights;
  auto row = static_cast<uint32_t>(buckets.size()) + 1;
  for (const External& external : externals) {
    tower.externals.push_back({external.name, external.dim, row});
    row += 1 + external.dim;
  }
  return tower;
}

}  // namespace swiftlet
