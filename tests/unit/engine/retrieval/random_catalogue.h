// Small catalogues with everything that makes an index stumble.
#ifndef SWIFTLET_TESTS_UNIT_ENGINE_RETRIEVAL_RANDOM_CATALOGUE_H_
#define SWIFTLET_TESTS_UNIT_ENGINE_RETRIEVAL_RANDOM_CATALOGUE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/retrieval/retriever.h"

namespace swiftlet {

// Owns its numbers.
struct Catalogue {
  AlignedVector<float> vectors, bias, inverse_norms;
  AlignedVector<Bf16> bf16_vectors;  // after RoundToBf16
  ItemMatrix items;
};

enum class CatalogueKind {
  kNormal,      // normal coordinates, log-normal norms
  kTies,        // few values, many equal scores
  kEqualNorms,  // all of length 1
  kDuplicates,  // few distinct vectors
  kZeros,       // a third zero vectors, the rest normal
  kClusters,    // around a few directions
  kTiny,        // of length about 1e-12
  kHuge,        // of length about 1e+12
  kOneAxis,     // all on one line, both directions
  kNumKinds,
};

// Makes bf16 of the rows that c.items stands for; c.vectors then holds the rounded values.
inline void RoundToBf16(Catalogue& c) {
  const size_t dim = c.items.dim, stride = c.items.stride;
  c.bf16_vectors.resize(c.vectors.size());
  for (size_t i = 0; i < c.vectors.size(); ++i) {
    c.bf16_vectors[i] = ToBf16(c.vectors[i]);
    c.vectors[i] = ToFloat(c.bf16_vectors[i]);
  }
  for (size_t row = 0; row < c.items.num_items; ++row) {
    double square = 0;
    for (size_t j = 0; j < dim; ++j) square += std::pow(double{c.vectors[row * stride + j]}, 2);
    c.inverse_norms[row] = square > 0 ? static_cast<float>(1 / std::sqrt(square)) : 0.0f;
  }
  c.items.vectors = nullptr;
  c.items.bf16_vectors = c.bf16_vectors.data();
}

inline Catalogue MakeCatalogue(CatalogueKind kind, size_t n, size_t dim, bool has_bias,
                               std::mt19937& random) {
  Catalogue c;
  const size_t stride = RowStride(dim);
  c.vectors.resize(n * stride);
  std::normal_distribution<float> normal;
  std::vector<float> centres(5 * dim);
  for (float& x : centres) x = normal(random);
  for (size_t i = 0; i < n; ++i) {
    float* const v = &c.vectors[i * stride];
    const float norm = std::exp(0.5f * normal(random));
    const bool is_copy = kind == CatalogueKind::kDuplicates && i >= 7;
    for (size_t j = 0; j < dim; ++j) {
      v[j] = norm * normal(random);
      if (kind == CatalogueKind::kTies) v[j] = static_cast<float>(static_cast<int>(random() % 5) - 2) / 4;
      if (kind == CatalogueKind::kClusters) v[j] = norm * (centres[i % 5 * dim + j] + 0.3f * normal(random));
      if (kind == CatalogueKind::kTiny) v[j] *= 1e-12f;
      if (kind == CatalogueKind::kHuge) v[j] *= 1e12f;
      if (kind == CatalogueKind::kZeros && i % 3 == 0) v[j] = 0;
      if (is_copy) v[j] = c.vectors[i % 7 * stride + j];
      if (kind == CatalogueKind::kOneAxis) v[j] = j == dim / 2 ? norm * (i % 2 == 0 ? 1.0f : -1.0f) : 0.0f;
    }
    double square = 0;
    for (size_t j = 0; j < dim; ++j) square += double{v[j]} * double{v[j]};
    if (kind == CatalogueKind::kEqualNorms && square > 0) {
      for (size_t j = 0; j < dim; ++j) v[j] = static_cast<float>(double{v[j]} / std::sqrt(square));
      square = 1;
    }
    c.inverse_norms.push_back(square > 0 ? static_cast<float>(1 / std::sqrt(square)) : 0.0f);
    c.bias.push_back(kind == CatalogueKind::kTies ? static_cast<float>(random() % 3) / 4 : normal(random));
  }
  c.items = {.vectors = c.vectors.data(),
             .bias = has_bias ? c.bias.data() : nullptr,
             .num_items = n,
             .dim = dim,
             .stride = stride};
  return c;
}

}  // namespace swiftlet

#endif  // SWIFTLET_TESTS_UNIT_ENGINE_RETRIEVAL_RANDOM_CATALOGUE_H_
