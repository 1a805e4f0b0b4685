// An index over item vectors that answers exactly, from upper bounds on what it does not look at.
//
// Vectors are turned to their principal axes (v' = R v). Rows are split into clusters around unit vectors c,
// and each cluster into groups of sixteen rows that lie close together in (a, r): a = <v', c>, the length
// along the cluster's direction, and r = |v' - a c|, the rest. For a query q, with x = <q', c> and
// y^2 = |q|^2 - x^2,
//
//     <q, v> = a x + <q', v' - a c>  <=  a x + r y                                          (box of a group)
//
// which leaves a few per cent of the rows. Each row then has two codes of 8-bit coordinates. The coarse code
// holds the first axes v'_1..v'_h, h = 14, where most energy is, the length a_t along the tail of the
// cluster's direction, and r_t, the rest of the tail, so that
//
//     <q, v> <= <q'_h, v'_h> + a_t x_t + r_t y_t + what rounding to 8 bits may have lost    (coarse code)
//
// The fine code holds all axes, so that only rounding is left to be bounded:
//
//     <q, v> <= <q', v^> + |q| |v' - v^|,  v^ the rounded v'                                (fine code)
//
// What still may reach the k-th best score is scored by the float kernel. Every bound counts the
// quantisation error, the rounding of rotation and of float arithmetic: the answer is the one that a scan of
// all rows gives, to the last bit.
//
// Rotation and codes follow LEMP (Teflioudi, Gemulla, SIGMOD 2015) and FEXIPRO (Li et al., SIGMOD 2017).
#ifndef SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_H_
#define SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "engine/kernels/code_match.h"
#include "engine/retrieval/retriever.h"

namespace swiftlet {

inline constexpr size_t kCoarseAxes = 14;  // and two bytes for the tail
inline constexpr size_t kCoarseQuads = 4;
// Bytes of a row's fine code: its coordinates, then codes of zero up to a multiple of 16.
constexpr size_t FineBytes(size_t dim) { return (dim + 15) / 16 * 16; }
inline constexpr uint32_t kNoSlotRow = ~uint32_t{0};  // a slot that pads the last group of a cluster
// Longer vectors, biases that are larger in absolute value, and dims above the second get no index: their
// bounds would mean nothing in float, or cost too much to verify.
inline constexpr float kMaxIndexedNorm = 1e15f;
inline constexpr size_t kMaxIndexedDim = 512;

// What the bounds of a group need besides its box. All >= 0 but max_bias.
struct GroupFacts {
  float coarse_scale = 0;  // a coordinate is coarse_scale * (code - 128), the rest of the tail scale * code
  float coarse_error = 0;  // what the coarse codes of its rows miss of head and a_t, at most, as a length
  float fine_scale = 0;    // a coordinate is fine_scale * (code - 128)
  float fine_error = 0;    // what the fine codes of its rows miss, at most, as a length
  float max_norm = 0;      // the largest |v|
  float max_bias = 0;      // 0 without biases
  float min_inverse_norm = 0, max_inverse_norm = 0;
};
static_assert(sizeof(GroupFacts) == 32);

// Rows of BoundIndexView::boxes.
enum BoxRow : size_t { kAlong, kAcross, kMaxBias, kCosineAlong, kCosineAcross, kNumBoxRows };

// The index as borrowed arrays, which a snapshot maps. C clusters, G groups.
struct BoundIndexView {
  size_t dim = 0, stride = 0;
  std::span<const float> rotation;  // [dim, stride]: R, zero-padded
  std::span<const float> centres;   // [C, stride]: in rotated coordinates; each of length 1 or 0
  std::span<const uint32_t>
      cluster_groups;                  // [C + 1]: groups of cluster c are [cluster_groups[c], .. [c + 1])
  std::span<const uint32_t> rows;      // [G, 16]: item row of a slot, or kNoSlotRow; each row stands once
  std::span<const uint8_t> coarse;     // [G, kCoarseQuads, 16, 4]
  std::span<const uint8_t> fine;       // [G, 16, FineBytes(dim)]
  std::span<const float> boxes;        // [kNumBoxRows, G]: upper ends of a, r, bias, a / |v|, r / |v|
  std::span<const GroupFacts> groups;  // [G]

  size_t num_clusters() const { return cluster_groups.size() - 1; }
  size_t num_groups() const { return groups.size(); }
  const float* box(BoxRow row) const { return boxes.data() + row * num_groups(); }
  uint64_t size_bytes() const {
    return rotation.size_bytes() + centres.size_bytes() + cluster_groups.size_bytes() + rows.size_bytes() +
           coarse.size_bytes() + fine.size_bytes() + boxes.size_bytes() + groups.size_bytes();
  }
};

// Relative error that bounds allow for: rotating, summing up to 512 products in float, directions that are
// almost unit vectors. Several times the worst case (dim + a few) * 2^-24.
constexpr float BoundSlack(size_t dim) { return 3e-7f * static_cast<float>(dim + 32); }

// Where memory safety and the end of a search rest on: shapes, offsets, rows that stand once each, finite
// numbers, unit vectors with coordinates in [-1, 1], lengths and biases of at most kMaxIndexedNorm. One pass
// over the small arrays. DATA_LOSS names array,
// element, expected and found.
absl::Status CheckBoundIndexStructure(const BoundIndexView& index, size_t num_items);

// That every bound holds for every row, so that answers are exact: recomputes them from the vectors. Costs
// about num_items * dim * dim multiplications. Requires CheckBoundIndexStructure, finite items.
absl::Status CheckBoundIndexValues(const BoundIndexView& index, const ItemMatrix& items,
                                   std::span<const float> inverse_norms);
// The same in parts: what all rows share, and then the groups [begin, end).
absl::Status CheckBoundIndexAxes(const BoundIndexView& index);
absl::Status CheckBoundIndexGroups(const BoundIndexView& index, const ItemMatrix& items,
                                   std::span<const float> inverse_norms, size_t begin, size_t end);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_H_
