// The rows of a catalogue view that the snapshot does not have: vectors and what belongs to them, in chunks
// that successive views share. A row has a vector of its own, or the number of one that it shares with
// others.
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
  bool vector_from_content = false;
};

// Consecutive rows that share vectors: row first_row + i has the vector numbers[i].
struct SharedVectorRows {
  uint32_t first_row = 0;
  std::span<const uint32_t> numbers;
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

  // A new row, or one that was released; its values are unspecified until they are set. size() may grow by
  // more than one: the caller masks the others, which have empty metadata until they are given out.
  uint32_t Allocate();
  // The same for a row that shares its vector: no base_row, bias of its own, attention logit or popularity.
  uint32_t AllocateShared();
  // The row may be given out again, to the same use. The caller masks it meanwhile.
  void Release(uint32_t i) { (IsShared(i) ? free_shared_ : free_).push_back(i); }
  bool IsShared(uint32_t i) const { return !chunk(i).numbers.empty(); }
  // Of rows that share vectors.
  void SetSharedVector(uint32_t i, uint32_t number) { OwnedChunk(i).numbers[i & mask_] = number; }
  uint32_t shared_vector(uint32_t i) const { return chunk(i).numbers[i & mask_]; }

  // Of rows with vectors of their own. vector, input_vector: [dim]. base_row: the snapshot row that this one
  // stands in for, or kNoRow.
  void SetVector(uint32_t i, std::span<const float> vector, std::span<const float> input_vector);
  void SetFacts(uint32_t i, uint32_t base_row, float bias, float attention_logit, float popularity);
  void SetMetadata(uint32_t i, std::shared_ptr<const ItemMetadata> metadata);
  // Makes parts(), cosine_parts() and shared_parts() true again after changes.
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

  // All rows with vectors of their own, released ones included, in ascending order; by dot product with bias,
  // and by cosine.
  std::span<const ItemMatrix> parts() const { return parts_; }
  std::span<const ItemMatrix> cosine_parts() const { return cosine_parts_; }
  // All others, in ascending order.
  std::span<const SharedVectorRows> shared_parts() const { return shared_parts_; }

 private:
  struct Chunk {
    AlignedVector<float> vectors, inputs;  // [chunk rows, stride], padding is zero
    AlignedVector<float> inverse_norms, bias, attention_logits, popularity;
    std::vector<uint32_t> base_rows;
    std::vector<uint32_t> numbers;  // of shared vectors; then the first four are empty
  };
  // Apart from the vectors, so that a new title does not copy them.
  using MetadataChunk = std::vector<std::shared_ptr<const ItemMetadata>>;

  const Chunk& chunk(uint32_t i) const { return *chunks_[i >> shift_]; }
  Chunk& OwnedChunk(uint32_t i);
  void AddChunk(bool shared);
  size_t chunk_rows() const { return size_t{mask_} + 1; }

  const uint32_t first_row_;
  const size_t dim_, stride_;
  const bool has_bias_;
  uint32_t shift_ = 0, mask_ = 0;  // rows of a chunk: mask_ + 1 = 1 << shift_
  uint32_t size_ = 0;
  std::vector<std::shared_ptr<Chunk>> chunks_;
  std::vector<std::shared_ptr<MetadataChunk>> metadata_;
  std::vector<bool> owned_, owned_metadata_;  // chunks that no other AddedRows has
  std::vector<uint32_t> free_, free_shared_;
  std::vector<ItemMatrix> parts_, cosine_parts_;
  std::vector<SharedVectorRows> shared_parts_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_INTERNAL_ADDED_ROWS_H_
