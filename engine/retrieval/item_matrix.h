// A borrowed matrix of item vectors, in float32 or bf16.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_ITEM_MATRIX_H_
#define SWIFTLET_ENGINE_RETRIEVAL_ITEM_MATRIX_H_

#include <cstddef>
#include <cstdint>

#include "engine/base/bf16.h"
#include "engine/kernels/dot.h"
#include "engine/kernels/vector_view.h"

namespace swiftlet {

// score(q, i) = scale[i] * <q, row i> + bias[i]. Rows of bf16 score as their values widened to float32 do, to
// the last bit.
struct ItemMatrix {
  const float* vectors = nullptr;      // [num_items, dim] with row stride `stride`
  const Bf16* bf16_vectors = nullptr;  // the same in bf16, where `vectors` is null
  const float* bias = nullptr;         // [num_items], or null: 0
  const float* scale = nullptr;        // [num_items], or null: 1 (SimilarItems passes inverse norms: cosine)
  size_t num_items = 0;
  size_t dim = 0;
  size_t stride = 0;  // elements from a row to the next
  uint32_t first_row =
      0;  // row number of row 0 in results and filters (an overlay starts after the snapshot)

  VectorView Row(size_t i) const {
    return vectors != nullptr ? VectorView(vectors + i * stride, dim)
                              : VectorView(bf16_vectors + i * stride, dim);
  }
  // Bytes of a row, padding aside.
  size_t row_bytes() const { return dim * (vectors != nullptr ? sizeof(float) : sizeof(Bf16)); }

  // scores[i] = <query, row begin + i>, i in [0, n). query: [dim].
  void DotRange(const float* query, size_t begin, size_t n, float* scores) const {
    if (vectors != nullptr) {
      DotRows(query, vectors + begin * stride, n, dim, stride, scores);
    } else {
      DotRows(query, bf16_vectors + begin * stride, n, dim, stride, scores);
    }
  }
  // scores[i] = <query, row rows[i]>, i in [0, n). rows: [n].
  void DotRowsOf(const float* query, const uint32_t* rows, size_t n, float* scores) const {
    if (vectors != nullptr) {
      DotGather(query, vectors, rows, n, dim, stride, scores);
    } else {
      DotGather(query, bf16_vectors, rows, n, dim, stride, scores);
    }
  }
  // Asks for row i to be in the cache soon.
  void Prefetch(size_t i) const {
    const char* const row = vectors != nullptr ? reinterpret_cast<const char*>(vectors + i * stride)
                                               : reinterpret_cast<const char*>(bf16_vectors + i * stride);
    for (size_t offset = 0; offset < row_bytes(); offset += 64) __builtin_prefetch(row + offset);
  }
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_ITEM_MATRIX_H_
