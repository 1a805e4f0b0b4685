#include "engine/internal/added_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

namespace swiftlet {
namespace {

// A change copies one chunk: small enough for that, large enough for a scan over chunks to run at full speed.
constexpr size_t kChunkFloats = 32 * 1024;
constexpr size_t kMinChunkRows = 16;
constexpr size_t kMaxChunkRows = 1024;

// 1 / |v|, or 0 for a vector that is zero, or so short that the inverse is no float.
float InverseNorm(std::span<const float> vector) {
  double sum = 0;
  for (const float x : vector) sum += double{x} * double{x};
  if (sum == 0) return 0;
  const auto inverse = static_cast<float>(1.0 / std::sqrt(sum));
  return std::isfinite(inverse) ? inverse : 0.0f;
}

}  // namespace

AddedRows::AddedRows(uint32_t first_row, size_t dim, bool has_bias)
    : first_row_(first_row), dim_(dim), stride_(RowStride(dim)), has_bias_(has_bias) {
  const size_t rows = std::clamp(std::bit_floor(kChunkFloats / stride_), kMinChunkRows, kMaxChunkRows);
  shift_ = static_cast<uint32_t>(std::countr_zero(rows));
  mask_ = static_cast<uint32_t>(rows - 1);
}

AddedRows::AddedRows(const AddedRows& other)
    : first_row_(other.first_row_),
      dim_(other.dim_),
      stride_(other.stride_),
      has_bias_(other.has_bias_),
      shift_(other.shift_),
      mask_(other.mask_),
      size_(other.size_),
      chunks_(other.chunks_),
      metadata_(other.metadata_),
      owned_(other.chunks_.size(), false),
      owned_metadata_(other.chunks_.size(), false),
      free_(other.free_),
      free_shared_(other.free_shared_),
      parts_(other.parts_),
      cosine_parts_(other.cosine_parts_),
      shared_parts_(other.shared_parts_) {}

AddedRows::Chunk& AddedRows::OwnedChunk(uint32_t i) {
  const size_t c = i >> shift_;
  if (!owned_[c]) {
    chunks_[c] = std::make_shared<Chunk>(*chunks_[c]);
    owned_[c] = true;
  }
  return *chunks_[c];
}

void AddedRows::AddChunk(bool shared) {
  // What is left of the chunk before it is given out from the list, lower rows first.
  for (auto i = static_cast<uint32_t>(chunks_.size() * chunk_rows()); i > size_; --i) free_.push_back(i - 1);
  const size_t rows = chunk_rows();
  size_ = static_cast<uint32_t>(chunks_.size() * rows);
  auto chunk = std::make_shared<Chunk>();
  if (shared) {
    chunk->numbers.resize(rows);
    for (size_t i = rows; i > 0; --i) free_shared_.push_back(static_cast<uint32_t>(size_ + i - 1));
    size_ += static_cast<uint32_t>(rows);
  } else {
    chunk->vectors.resize(rows * stride_);
    chunk->inputs.resize(rows * stride_);
    chunk->inverse_norms.resize(rows);
    chunk->bias.resize(rows);
  }
  chunk->attention_logits.resize(rows);
  chunk->popularity.resize(rows);
  chunk->base_rows.resize(rows, kNoRow);
  chunks_.push_back(std::move(chunk));
  owned_.push_back(true);
  static const auto* const kNoMetadata =
      new std::shared_ptr<const ItemMetadata>(std::make_shared<ItemMetadata>());
  metadata_.push_back(std::make_shared<MetadataChunk>(rows, *kNoMetadata));
  owned_metadata_.push_back(true);
}

uint32_t AddedRows::Allocate() {
  if (!free_.empty()) {
    const uint32_t i = free_.back();
    free_.pop_back();
    return i;
  }
  if (size_ == chunks_.size() * chunk_rows()) AddChunk(/*shared=*/false);
  return size_++;
}

uint32_t AddedRows::AllocateShared() {
  if (free_shared_.empty()) AddChunk(/*shared=*/true);
  const uint32_t i = free_shared_.back();
  free_shared_.pop_back();
  return i;
}

void AddedRows::SetVector(uint32_t i, std::span<const float> vector, std::span<const float> input_vector) {
  Chunk& chunk = OwnedChunk(i);
  std::copy(vector.begin(), vector.end(), chunk.vectors.begin() + (i & mask_) * stride_);
  std::copy(input_vector.begin(), input_vector.end(), chunk.inputs.begin() + (i & mask_) * stride_);
  chunk.inverse_norms[i & mask_] = InverseNorm(vector);
}

void AddedRows::SetFacts(uint32_t i, uint32_t base_row, float bias, float attention_logit, float popularity) {
  Chunk& chunk = OwnedChunk(i);
  chunk.base_rows[i & mask_] = base_row;
  chunk.bias[i & mask_] = bias;
  chunk.attention_logits[i & mask_] = attention_logit;
  chunk.popularity[i & mask_] = popularity;
}

void AddedRows::SetMetadata(uint32_t i, std::shared_ptr<const ItemMetadata> metadata) {
  const size_t c = i >> shift_;
  if (!owned_metadata_[c]) {
    metadata_[c] = std::make_shared<MetadataChunk>(*metadata_[c]);
    owned_metadata_[c] = true;
  }
  (*metadata_[c])[i & mask_] = std::move(metadata);
}

void AddedRows::UpdateParts() {
  parts_.clear();
  cosine_parts_.clear();
  shared_parts_.clear();
  for (size_t c = 0; c < chunks_.size(); ++c) {
    const Chunk& chunk = *chunks_[c];
    if (!chunk.numbers.empty()) {
      shared_parts_.push_back({static_cast<uint32_t>(first_row_ + c * chunk_rows()), chunk.numbers});
      continue;
    }
    ItemMatrix part{.vectors = chunk.vectors.data(),
                    .bias = has_bias_ ? chunk.bias.data() : nullptr,
                    .scale = nullptr,
                    .num_items = std::min(chunk_rows(), size_ - c * chunk_rows()),
                    .dim = dim_,
                    .stride = stride_,
                    .first_row = static_cast<uint32_t>(first_row_ + c * chunk_rows())};
    parts_.push_back(part);
    part.bias = nullptr;
    part.scale = chunk.inverse_norms.data();
    cosine_parts_.push_back(part);
  }
}

}  // namespace swiftlet
