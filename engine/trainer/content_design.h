// The sparse design matrix of a content tower's regression.
#ifndef SWIFTLET_ENGINE_TRAINER_CONTENT_DESIGN_H_
#define SWIFTLET_ENGINE_TRAINER_CONTENT_DESIGN_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/encoders/content_tower.h"
#include "engine/trainer/content_ridge.h"
#include "engine/trainer/matrix.h"

namespace swiftlet {

// Vectors of items from one source, such as embeddings of their texts or images.
struct ExternalVectors {
  std::string name;
  MatrixF vectors;                                // [rows, dim], finite
  absl::flat_hash_map<std::string, size_t> rows;  // by item id
};

// Rows of the design before the blocks' scales: what a choice multiplies.
struct Features {
  SparseDesign design;          // columns: features, intercept, external dimensions
  std::vector<uint8_t> blocks;  // of each column: a ContentBlock, kInterceptBlock, or an external's
  size_t intercept = 0;
};
constexpr size_t kInterceptBlock = kNumContentBlocks;

// Of all blocks: those of ContentBlock, 1 for the intercept, those of the externals.
using Scales = std::vector<float>;

// The design with each column multiplied by its block's scale.
SparseDesign Scaled(const Features& features, const Scales& scales);

// Buckets that min_items of the items have, with their idf, into the tower. content: by item.
void BuildTable(std::span<const size_t> items, std::span<const ItemContent> content, uint32_t min_items,
                ContentTowerData* tower);

// What an external source's vectors are shifted and scaled by, so that their mean is 0 and their mean squared
// length 1 over the items that have one. Scale 0 where they are all the same.
struct Standardisation {
  VectorF mean;
  float scale = 0;
};
Standardisation Standardise(const ExternalVectors& external, std::span<const size_t> items,
                            std::span<const std::string> item_ids);

// Row r is that of items[r]. item_ids and content: by item. standards: of the externals.
Features BuildFeatures(std::span<const size_t> items, std::span<const std::string> item_ids,
                       std::span<const ItemContent> content, std::span<const ExternalVectors> externals,
                       std::span<const Standardisation> standards, const ContentTowerData& tower);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_CONTENT_DESIGN_H_
