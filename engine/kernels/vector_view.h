// A borrowed vector of float32 or bf16 values.
//
//   AlignedVector<float> buffer(v.size());
//   const float* x = v.Floats(buffer.data());
#ifndef SWIFTLET_ENGINE_KERNELS_VECTOR_VIEW_H_
#define SWIFTLET_ENGINE_KERNELS_VECTOR_VIEW_H_

#include <cstddef>
#include <span>
#include <vector>

#include "engine/base/bf16.h"
#include "engine/kernels/dot.h"

namespace swiftlet {

class VectorView {
 public:
  VectorView(const float* values, size_t size) : floats_(values), size_(size) {}
  VectorView(const Bf16* values, size_t size) : bf16_(values), size_(size) {}
  VectorView(std::span<const float> values)  // NOLINT(google-explicit-constructor)
      : VectorView(values.data(), values.size()) {}

  size_t size() const { return size_; }
  float operator[](size_t i) const { return floats_ != nullptr ? floats_[i] : ToFloat(bf16_[i]); }

  // The values as float32: where they lie, or, of bf16, `buffer` ([size()]) filled with them. Borrows from
  // either.
  const float* Floats(float* buffer) const {
    if (floats_ != nullptr) return floats_;
    Widen(bf16_, size_, buffer);
    return buffer;
  }
  // As they lie in memory.
  std::span<const std::byte> Bytes() const {
    return floats_ != nullptr ? std::as_bytes(std::span(floats_, size_))
                              : std::as_bytes(std::span(bf16_, size_));
  }
  // A copy.
  std::vector<float> Values() const {
    std::vector<float> values(size_);
    for (size_t i = 0; i < size_; ++i) values[i] = (*this)[i];
    return values;
  }
  // Whether these are `values` ([size()]) as they would be stored here: rounded to bf16 where this is bf16.
  bool Holds(std::span<const float> values) const {
    for (size_t i = 0; i < size_; ++i) {
      if ((*this)[i] != (floats_ != nullptr ? values[i] : ToFloat(ToBf16(values[i])))) return false;
    }
    return true;
  }

 private:
  const float* floats_ = nullptr;  // this or the next
  const Bf16* bf16_ = nullptr;
  size_t size_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_VECTOR_VIEW_H_
