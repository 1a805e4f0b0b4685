// The content tower: from what is known about an item to its place in the item space of a model, for items
// that had no event when the model was trained. A linear map over sparse features of texts and categories
// (content_features.h) and over vectors from elsewhere, such as embeddings of texts or images.
//
//   (v, x, bias, logit) = sum over entries e of value_e * row_e + row_intercept
//                         + for each external block that is known: row_presence + sum_j z_j row_j
#ifndef SWIFTLET_ENGINE_ENCODERS_CONTENT_TOWER_H_
#define SWIFTLET_ENGINE_ENCODERS_CONTENT_TOWER_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/encoders/content_features.h"

namespace swiftlet {

// Vectors of one source.
struct ExternalBlock {
  std::string_view name;
  uint32_t dim = 0;
  uint32_t first_row = 0;  // the presence row; those of z_0, z_1, .. follow
};

// A vector of one source for one item. Borrowed for the call.
struct ExternalVector {
  std::string_view name;
  std::span<const float> values;
};

// The item as the tower places it.
struct ContentPlace {
  std::vector<float> vector, input_vector;  // [dim]; input_vector empty where the model has no input table
  float bias = 0, attention_logit = 0;
};

// Immutable and thread-safe. Borrows the tables, which must outlive it. Rows: [0, F) of the features, F the
// intercept, then the external blocks'.
struct ContentTower {
  ContentTable table;
  uint32_t dim = 0, stride = 0;
  std::span<const float> output_weights;  // [rows, stride], columns dim.. are zero
  std::span<const float> input_weights;   // the same, or empty
  std::span<const float> fact_weights;    // [rows, 2]: bias, attention logit
  std::vector<ExternalBlock> externals;

  size_t num_rows() const { return fact_weights.size() / 2; }

  // False, *place being unspecified, where nothing is known that the tower knows: no feature with a row and
  // no vector of one of its sources with that source's dim; and where a number of the result is not finite.
  // Vectors of other sources, or of another dim, are passed over.
  bool Place(const ItemContent& content, std::span<const ExternalVector> vectors, ContentScratch& scratch,
             ContentPlace* place) const;
};

// A tower and its tables.
struct ContentTowerData {
  struct External {
    std::string name;
    uint32_t dim = 0;
  };

  uint32_t hash_bits = 17;
  float unknown_idf = 1;
  std::vector<uint32_t> buckets;        // [F]
  std::vector<float> idf;               // [F]
  AlignedVector<float> output_weights;  // [rows, RowStride(dim)]
  AlignedVector<float> input_weights;   // the same, or empty
  std::vector<float> fact_weights;      // [rows, 2]
  std::vector<External> externals;      // in the order of their rows

  // Borrows from this. dim: of the model.
  ContentTower View(uint32_t dim) const;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_CONTENT_TOWER_H_
