#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/aligned_vector.h"
#include "engine/base/status_macros.h"
#include "engine/kernels/dot.h"
#include "engine/kernels/row_sums.h"
#include "engine/retrieval/bound_index.h"
#include "engine/retrieval/bound_math.h"

namespace swiftlet {
namespace {

absl::Status Bad(std::string_view array, uint64_t index, std::string_view expected, std::string_view found) {
  return absl::DataLossError(absl::StrCat("tensor \"index.", std::string(array), "\"[", index, "]: expected ",
                                          std::string(expected), ", found ", std::string(found)));
}

absl::Status CheckSize(std::string_view array, uint64_t expected, uint64_t found) {
  if (expected == found) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("tensor \"index.", std::string(array), "\": expected ", expected,
                                          " elements, found ", found));
}

absl::Status CheckFinite(std::string_view array, std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) return Bad(array, i, "a finite number", absl::StrCat(values[i]));
  }
  return absl::OkStatus();
}

// A coordinate of a vector of length 1, rounded.
constexpr float kMaxUnit = 1.001f;
static_assert(kMaxUnit > 1 + 2 * BoundSlack(kMaxIndexedDim));

// Coordinates of vectors of length 1. With them, and with lengths as an index may have, no product of a query
// in the range that is searched overflows, and nothing of the search becomes NaN.
absl::Status CheckUnit(std::string_view array, std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(std::fabs(values[i]) <= kMaxUnit))
      return Bad(array, i, "a number in [-1, 1]", absl::StrCat(values[i]));
  }
  return absl::OkStatus();
}

absl::Status CheckFacts(const BoundIndexView& index) {
  constexpr float kMaxNorm = kMaxIndexedNorm * kMaxUnit;
  for (size_t g = 0; g < index.num_groups(); ++g) {
    const GroupFacts& f = index.groups[g];
    for (const float scale : {f.coarse_scale, f.fine_scale}) {
      if (!(scale > 0)) return Bad("groups", g, "a scale above 0", absl::StrCat(scale));
    }
    for (const float x : {f.coarse_scale, f.fine_scale, f.coarse_error, f.fine_error, f.max_norm,
                          f.min_inverse_norm, f.max_inverse_norm}) {
      if (!(x >= 0 && std::isfinite(x)))
        return Bad("groups", g, "finite numbers of at least 0", absl::StrCat(x));
    }
    if (f.max_norm > kMaxNorm) {
      return Bad("groups", g, absl::StrCat("a length of at most ", kMaxNorm), absl::StrCat(f.max_norm));
    }
    if (!(std::fabs(f.max_bias) <= kMaxIndexedNorm)) {
      return Bad("groups", g, absl::StrCat("a bias of at most ", kMaxIndexedNorm), absl::StrCat(f.max_bias));
    }
  }
  for (const BoxRow row : {kAlong, kAcross, kCosineAlong, kCosineAcross}) {
    for (size_t g = 0; g < index.num_groups(); ++g) {
      if (!(index.box(row)[g] >= 0)) {
        return Bad("boxes", row * index.num_groups() + g, "at least 0", absl::StrCat(index.box(row)[g]));
      }
    }
  }
  return absl::OkStatus();
}

// R R^T = 1 but for rounding.
absl::Status CheckRotation(const BoundIndexView& index) {
  const float* const rotation = index.rotation.data();
  double square = 0;
  for (size_t a = 0; a < index.dim; ++a) {
    for (size_t b = 0; b <= a; ++b) {
      const double difference =
          DotDouble(rotation + a * index.stride, rotation + b * index.stride, 0, index.dim) -
          (a == b ? 1 : 0);
      square += (a == b ? 1 : 2) * difference * difference;
    }
  }
  if (std::sqrt(square) <= double{BoundSlack(index.dim)}) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "tensor \"index.rotation\": expected orthonormal rows, found them off by ", std::sqrt(square)));
}

// Recomputes the bounds of one row after another, those of one cluster together.
class RowChecker {
 public:
  RowChecker(const BoundIndexView& index, const ItemMatrix& items, std::span<const float> inverse_norms)
      : index_(index),
        items_(items),
        inverse_norms_(inverse_norms),
        buffer_(index.dim),
        rotated_(index.stride) {}

  void BeginCluster(size_t cluster) {
    const size_t coarse_axes = std::min(kCoarseAxes, index_.dim);
    centre_ = index_.centres.data() + cluster * index_.stride;
    centre_square_ = SumSquares(centre_, 0, index_.dim);
    tail_square_ = SumSquares(centre_, coarse_axes, index_.dim);
    inverse_tail_ = double{InverseTailNorm(centre_, coarse_axes, index_.dim)};
  }

  // Asks for the rows of a group, which lie anywhere in memory, ahead of their check.
  void Prefetch(size_t group) const {
    for (size_t slot = 0; slot < kGroupRows; ++slot) {
      const uint32_t row = index_.rows[group * kGroupRows + slot];
      if (row == kNoSlotRow) continue;
      items_.Prefetch(row);
      __builtin_prefetch(&inverse_norms_[row]);
      if (items_.bias != nullptr) __builtin_prefetch(&items_.bias[row]);
    }
  }

  // Returns the name of the array whose bound does not hold, or null.
  const char* FirstBroken(size_t group, size_t slot) {
    const uint32_t row = index_.rows[group * kGroupRows + slot];
    const float* const vector = items_.Row(row).Floats(buffer_.data());
    const GroupFacts& facts = index_.groups[group];
    const uint8_t* const fine = index_.fine.data() + FinePosition(group, slot, index_.dim);
    DotRows(vector, index_.rotation.data(), index_.dim, index_.dim, index_.stride, rotated_.data());
    const RowSums sums = SumRow(vector, rotated_.data(), centre_, fine, facts.fine_scale, index_.dim);
    const double norm = std::sqrt(sums.square);
    const double slack = norm * double{BoundSlack(index_.dim)} + 1e-37;
    const double inverse = double{inverse_norms_[row]};
    const float bias = items_.bias == nullptr ? 0.0f : items_.bias[row];
    const double across = Across(sums.rotated_square, sums.along, centre_square_, 1);
    const auto box = [&](BoxRow r) { return double{index_.box(r)[group]}; };
    if (!(sums.along >= -slack && box(kAlong) >= sums.along - slack && box(kAcross) >= across - slack &&
          index_.box(kMaxBias)[group] >= bias && box(kCosineAlong) >= (sums.along - slack) * inverse &&
          box(kCosineAcross) >= (across - slack) * inverse)) {
      return "boxes";
    }
    if (!(double{facts.max_norm} >= norm - slack && facts.max_bias >= bias &&
          facts.min_inverse_norm <= inverse_norms_[row] && facts.max_inverse_norm >= inverse_norms_[row])) {
      return "groups";
    }
    const auto missed = [&](double value, uint8_t code) {
      const double difference = value - double{facts.coarse_scale} * (int{code} - 128);
      return difference * difference;
    };
    const size_t coarse_axes = std::min(kCoarseAxes, index_.dim);
    const auto coarse = [&](size_t j) { return index_.coarse[CoarsePosition(group, slot, j)]; };
    double tail_square = sums.rotated_square, tail_along = sums.along, lost = 0;
    for (size_t j = 0; j < coarse_axes; ++j) {
      const double x = double{rotated_[j]};
      tail_square -= x * x;
      tail_along -= x * double{centre_[j]};
      lost += missed(x, coarse(j));
    }
    const double tail_across = Across(tail_square, tail_along, tail_square_, inverse_tail_);
    lost += missed(tail_along * inverse_tail_, coarse(kCoarseAxes));
    if (!(std::sqrt(lost) <= double{facts.coarse_error} + slack &&
          double{facts.coarse_scale} * coarse(kCoarseAxes + 1) >= tail_across - slack)) {
      return "coarse";
    }
    if (!(std::sqrt(sums.lost) <= double{facts.fine_error} + slack)) return "fine";
    // The query has zeros there, but a code that should be zero and is not is damage.
    for (size_t j = index_.dim; j < FineBytes(index_.dim); ++j) {
      if (fine[j] != 128) return "fine";
    }
    return nullptr;
  }

 private:
  // |x - <x, d> d|, d = c * scale, from |x|^2, <x, c> and |c|^2. What cancels is about 1e-8 |x|, far less
  // than the slack.
  static double Across(double square, double product, double centre_square, double scale) {
    const double along = product * scale, direction_square = centre_square * scale * scale;
    return std::sqrt(std::max(0.0, square - along * along * (2 - direction_square)));
  }

  const BoundIndexView& index_;
  const ItemMatrix& items_;
  const std::span<const float> inverse_norms_;
  AlignedVector<float> buffer_, rotated_;
  // Of the cluster.
  const float* centre_ = nullptr;
  double centre_square_ = 0, tail_square_ = 0, inverse_tail_ = 0;
};

}  // namespace

absl::Status CheckBoundIndexStructure(const BoundIndexView& index, size_t num_items) {
  if (index.dim == 0 || index.dim > kMaxIndexedDim || index.stride < index.dim) {
    return absl::DataLossError(
        absl::StrCat("index: expected a dim of at most ", kMaxIndexedDim, ", found ", index.dim));
  }
  const size_t num_groups = index.num_groups();
  if (index.cluster_groups.size() < 2) return CheckSize("cluster_groups", 2, index.cluster_groups.size());
  SWIFTLET_RETURN_IF_ERROR(CheckSize("rotation", index.dim * index.stride, index.rotation.size()));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("centres", index.num_clusters() * index.stride, index.centres.size()));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("rows", num_groups * kGroupRows, index.rows.size()));
  SWIFTLET_RETURN_IF_ERROR(
      CheckSize("coarse", num_groups * kGroupRows * kCoarseQuads * 4, index.coarse.size()));
  SWIFTLET_RETURN_IF_ERROR(
      CheckSize("fine", num_groups * kGroupRows * FineBytes(index.dim), index.fine.size()));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("boxes", num_groups * kNumBoxRows, index.boxes.size()));

  if (index.cluster_groups.front() != 0) {
    return Bad("cluster_groups", 0, "0", absl::StrCat(index.cluster_groups.front()));
  }
  for (size_t c = 1; c < index.cluster_groups.size(); ++c) {
    if (index.cluster_groups[c] < index.cluster_groups[c - 1] || index.cluster_groups[c] > num_groups) {
      return Bad("cluster_groups", c,
                 absl::StrCat("in [", index.cluster_groups[c - 1], ", ", num_groups, "]"),
                 absl::StrCat(index.cluster_groups[c]));
    }
  }
  if (index.cluster_groups.back() != num_groups) {
    return Bad("cluster_groups", index.cluster_groups.size() - 1, absl::StrCat(num_groups),
               absl::StrCat(index.cluster_groups.back()));
  }
  std::vector<bool> seen(num_items);
  size_t num_rows = 0;
  for (size_t i = 0; i < index.rows.size(); ++i) {
    const uint32_t row = index.rows[i];
    if (row == kNoSlotRow) continue;
    if (row >= num_items || seen[row]) {
      return Bad("rows", i, absl::StrCat("a row below ", num_items, " that did not occur before"),
                 absl::StrCat(row));
    }
    seen[row] = true;
    ++num_rows;
  }
  if (num_rows != num_items) {
    return absl::DataLossError(
        absl::StrCat("tensor \"index.rows\": expected ", num_items, " rows, found ", num_rows));
  }
  SWIFTLET_RETURN_IF_ERROR(CheckUnit("rotation", index.rotation));
  SWIFTLET_RETURN_IF_ERROR(CheckUnit("centres", index.centres));
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("boxes", index.boxes));
  return CheckFacts(index);
}

absl::Status CheckBoundIndexValues(const BoundIndexView& index, const ItemMatrix& items,
                                   std::span<const float> inverse_norms) {
  SWIFTLET_RETURN_IF_ERROR(CheckBoundIndexAxes(index));
  return CheckBoundIndexGroups(index, items, inverse_norms, 0, index.num_groups());
}

absl::Status CheckBoundIndexAxes(const BoundIndexView& index) {
  SWIFTLET_RETURN_IF_ERROR(CheckRotation(index));
  for (size_t c = 0; c < index.num_clusters(); ++c) {
    const double length = std::sqrt(SumSquares(index.centres.data() + c * index.stride, 0, index.dim));
    if (length != 0 && !(std::fabs(length - 1) <= double{BoundSlack(index.dim)})) {
      return Bad("centres", c, "a direction of length 1, or 0", absl::StrCat(length));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBoundIndexGroups(const BoundIndexView& index, const ItemMatrix& items,
                                   std::span<const float> inverse_norms, size_t begin, size_t end) {
  RowChecker checker(index, items, inverse_norms);
  // The cluster of group `begin`: the last one that begins there or before.
  const auto next = std::upper_bound(index.cluster_groups.begin(), index.cluster_groups.end(), begin);
  size_t cluster = static_cast<size_t>(next - index.cluster_groups.begin()) - 1;
  if (begin < end) checker.BeginCluster(cluster);
  for (size_t g = begin; g < end; ++g) {
    if (g >= index.cluster_groups[cluster + 1]) {
      while (g >= index.cluster_groups[cluster + 1]) ++cluster;
      checker.BeginCluster(cluster);
    }
    if (g + 1 < end) checker.Prefetch(g + 1);
    for (size_t slot = 0; slot < kGroupRows; ++slot) {
      const uint32_t row = index.rows[g * kGroupRows + slot];
      if (row == kNoSlotRow) continue;
      if (const char* array = checker.FirstBroken(g, slot); array != nullptr) {
        return absl::DataLossError(absl::StrCat("tensor \"index.", array, "\": the bounds of group ", g,
                                                " do not hold for item row ", row));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace swiftlet
