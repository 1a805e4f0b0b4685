#include "engine/base/aligned_vector.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace swiftlet {
namespace {

TEST(AlignedVector, DataStaysAlignedWhileItGrows) {
  AlignedVector<float> v;
  for (int i = 0; i < 1000; ++i) {
    v.push_back(static_cast<float>(i));
    ASSERT_EQ(reinterpret_cast<uintptr_t>(v.data()) % kRowAlignment, 0u) << "size " << v.size();
  }
  EXPECT_EQ(v[999], 999.0f);
  const AlignedVector<float> copy = v;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(copy.data()) % kRowAlignment, 0u);
  EXPECT_EQ(copy, v);
}

TEST(RowStride, IsTheNextMultipleOfACacheLine) {
  EXPECT_EQ(RowStride(1), 16u);
  EXPECT_EQ(RowStride(16), 16u);
  EXPECT_EQ(RowStride(17), 32u);
  EXPECT_EQ(RowStride(64), 64u);
  EXPECT_EQ(RowStride(4096), 4096u);
  for (size_t dim = 1; dim < 300; ++dim) EXPECT_EQ(RowStride(dim) * sizeof(float) % kRowAlignment, 0u);
}

}  // namespace
}  // namespace swiftlet
