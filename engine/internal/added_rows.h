// The rows of a catalogue view that the snapshot does not have: vectors and what belongs to them, in chunks
// that successive views share.
#ifndef SWIFTLET_ENGINE_INTERNAL_ADDED_ROWS_H_
#define SWIFTLET_ENGINE_INTERNAL_ADDED_ROWS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/retrieval/retriever.h"

namespace swiftlet {

inline constexpr uint32_t kNoRow = ~uint32_t{0};

struct ItemMetadata {
  std::string item_id;
  bool has_metadata = false;  // the next two are known
  std::string title;
  std::vector<uint32_t> categories;  // ids
};

// Thread-compatible. Copies share chunks; a copy copies a chunk when it changes a row of it. Rows that have
// been copied from must not be changed any more. Indices are relative to first_row.
class AddedRows {
 public:
  // has_bias: whether parts() carry biases.
  AddedRows(uint32_t first_row, size_t dim, bool has_bias);
  AddedRows(const AddedRows& other);
  AddedRows& operator=(const AddedRows&) = delete;

  uint32_t size() const { return size_; }

  // A new row, or one that was released; its values are unspecified until they are set.
  uint32_t Allocate();
  // The row may be given out again. The caller masks it meanwhile.
  void Release(uint32_t i) { free_.push_back(i); }

  // vector, input_vector: [dim]. base_row: the snapshot row that this one stands in for, or kNoRow.
  void SetVector(uint32_t i, std::span<const float> vector, std::span<const float> input_vector);
  void SetFacts(uint32_t i, uint32_t base_row, float bias, float attention_logit, float popularity);
  void SetMetadata(uint32_t i, std::shared_ptr<const ItemMetadata> metadata);
  // Makes parts() and cosine_parts() true again after changes.
  void UpdateParts();

  std::span<const float> vector(uint32_t i) const {
    return {chunk(i).vectors.data() + (i & mask_) * stride_, dim_};
  }
  const float* input_vector(uint32_t i) const { return chunk(i).inputs.data() + (i & mask_) * stride_; }
  uint32_t base_row(uint32_t i) const { return chunk(i).base_rows[i & mask_]; }
  float bias(uint32_t i) const { return chunk(i).bias[i & mask_]; }
  float attention_logit(uint32_t i) const { return chunk(i).attention_logits[i & mask_]; }
  float popularity(uint32_t i) const { return chunk(i).popularity[i & mask_]; }
  float inverse_norm(uint32_t i) const { return chunk(i).inverse_norms[i & mask_]; }
  const ItemMetadata& metadata(uint32_t i) const { return *(*metadata_[i >> shift_])[i & mask_]; }

  // All rows, released ones included, in ascending order; by dot product with bias, and by cosine.
  std::span<const ItemMatrix> parts() const { return parts_; }
  std::span<const ItemMatrix> cosine_parts() const { return cosine_parts_; }

 private:
  struct Chunk {
    AlignedVector<float> vectors, inputs;  // [chunk rows, stride], padding is zero
    AlignedVector<float> inverse_norms, bias, attention_logits, popularity;
    std::vector<uint32_t> base_rows;
  };
  // Apart from the vectors, so that a new title does not copy them.
  using MetadataChunk = std::vector<std::shared_ptr<const ItemMetadata>>;

  const Chunk& chunk(uint32_t i) const { return *chunks_[i >> shift_]; }
  Chunk& OwnedChunk(uint32_t i);
  size_t chunk_rows() const { return size_t{mask_} + 1; }

  const uint32_t first_row_;
  const size_t dim_, stride_;
  const bool has_bias_;
  uint32_t shift_ = 0, mask_ = 0;  // rows of a chunk: mask_ + 1 = 1 << shift_
  uint32_t size_ = 0;
  std::vector<std::shared_ptr<Chunk>> chunks_;
  std::vector<std::shared_ptr<MetadataChunk>> metadata_;
  std::vector<bool> owned_, owned_metadata_;  // chunks that no other AddedRows has
  std::vector<uint32_t> free_;
  std::vector<ItemMatrix> parts_, cosine_parts_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_INTERNAL_ADDED_ROWS_H_
