#include "engine/trainer/content_design.h"

#include <algorithm>
#include <cmath>

namespace swiftlet {

SparseDesign Scaled(const Features& features, const Scales& scales) {
  SparseDesign design = features.design;
  for (size_t e = 0; e < design.values.size(); ++e) {
    design.values[e] *= scales[features.blocks[design.columns[e]]];
  }
  return design;
}

void BuildTable(std::span<const size_t> items, std::span<const ItemContent> content, uint32_t min_items,
                ContentTowerData* tower) {
  std::vector<uint32_t> counts(kNumContentBlocks << tower->hash_bits), buckets;
  for (const size_t i : items) {
    ExtractContentFeatures(content[i], tower->hash_bits, &buckets);
    for (const uint32_t bucket : buckets) ++counts[bucket];
  }
  const auto n = static_cast<double>(items.size());
  tower->unknown_idf = static_cast<float>(std::log(1 + n));
  for (uint32_t bucket = 0; bucket < counts.size(); ++bucket) {
    if (counts[bucket] < min_items) continue;
    tower->buckets.push_back(bucket);
    tower->idf.push_back(static_cast<float>(std::log(1 + n / counts[bucket])));
  }
}

Standardisation Standardise(const ExternalVectors& external, std::span<const size_t> items,
                            std::span<const std::string> item_ids) {
  Standardisation result;
  Eigen::VectorXd sum = Eigen::VectorXd::Zero(external.vectors.cols());
  double squares = 0, count = 0;
  for (const size_t i : items) {
    const auto it = external.rows.find(item_ids[i]);
    if (it == external.rows.end()) continue;
    const Eigen::VectorXd row = external.vectors.row(static_cast<Eigen::Index>(it->second)).cast<double>();
    sum += row;
    squares += row.squaredNorm();
    ++count;
  }
  if (count > 0) sum /= count;
  const double variance = count > 0 ? squares / count - sum.squaredNorm() : 0;
  result.mean = sum.cast<float>();
  if (variance > 1e-12 * squares / std::max(count, 1.0))
    result.scale = static_cast<float>(1 / std::sqrt(variance));
  return result;
}

Features BuildFeatures(std::span<const size_t> items, std::span<const std::string> item_ids,
                       std::span<const ItemContent> content, std::span<const ExternalVectors> externals,
                       std::span<const Standardisation> standards, const ContentTowerData& tower) {
  Features result;
  const ContentTable table{.hash_bits = tower.hash_bits,
                           .unknown_idf = tower.unknown_idf,
                           .buckets = tower.buckets,
                           .idf = tower.idf};
  result.intercept = tower.buckets.size();
  for (const uint32_t bucket : tower.buckets) {
    result.blocks.push_back(static_cast<uint8_t>(bucket >> tower.hash_bits));
  }
  result.blocks.push_back(kInterceptBlock);
  for (size_t x = 0; x < externals.size(); ++x) {
    result.blocks.insert(result.blocks.end(), static_cast<size_t>(externals[x].vectors.cols()),
                         static_cast<uint8_t>(kInterceptBlock + 1 + x));
  }
  SparseDesign& design = result.design;
  design.num_columns = result.blocks.size();
  const auto add = [&](size_t column, float value) {
    design.columns.push_back(static_cast<uint32_t>(column));
    design.values.push_back(value);
  };
  ContentScratch scratch;
  for (const size_t i : items) {
    WeighContent(table, content[i], scratch);
    for (const ContentEntry& e : scratch.entries) add(e.row, e.value);
    add(result.intercept, 1);
    size_t column = result.intercept + 1;
    for (size_t x = 0; x < externals.size(); ++x) {
      const MatrixF& vectors = externals[x].vectors;
      if (const auto it = externals[x].rows.find(item_ids[i]); it != externals[x].rows.end()) {
        const auto row = vectors.row(static_cast<Eigen::Index>(it->second));
        for (Eigen::Index j = 0; j < vectors.cols(); ++j) {
          add(column + static_cast<size_t>(j), (row[j] - standards[x].mean[j]) * standards[x].scale);
        }
      }
      column += static_cast<size_t>(vectors.cols());
    }
    design.row_begin.push_back(design.columns.size());
  }
  return result;
}

}  // namespace swiftlet
